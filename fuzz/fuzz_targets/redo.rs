//! Any bytes as a file of the redo log: its records, up to the first that is not whole.
//!
//! Asked twice: as they are, and as what follows the magic of a record under a valid length and checksum, for no fuzzer guesses one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn sealed(bytes: &[u8]) -> Vec<u8> {
    let len = u32::try_from(bytes.len()).expect("a fuzzer's input is short").to_le_bytes();
    [b"csfr", &len[..], &crc32fast::hash(bytes).to_le_bytes(), bytes].concat()
}

fuzz_target!(|bytes: &[u8]| {
    for file in [bytes.to_vec(), sealed(bytes)] {
        // No record is as good as one.
        let _ = csf_data::fuzzing::redo_log(&file);
    }
});
