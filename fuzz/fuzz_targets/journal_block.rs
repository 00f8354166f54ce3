//! A block of packed packets, as the journal holds it: any bytes give packets or an error.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| csf_data::fuzz_unpack(data));
