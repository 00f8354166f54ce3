//! A PX4 log: any bytes give a recording or an error with its place.
#![no_main]

use csf_avionics::recording::Recording;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(recording) = Recording::from_ulog("fuzz", "fuzz.ulg", data) {
        assert!(recording.events.len() <= data.len(), "more samples than bytes");
    }
});
