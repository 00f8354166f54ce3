//! Any bytes as a packed block of the journal: packets, or an error with its place.
//!
//! Asked twice: as they are, and under a valid checksum, for no fuzzer guesses one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn unpack(body: &[u8]) {
    match csf_data::fuzzing::unpack(body) {
        // The smallest packet has five bytes: flags, step, stamp, length, nothing more but a payload.
        Ok(packets) => assert!(packets <= body.len()),
        Err(offset) => assert!(offset <= body.len()),
    }
}

fuzz_target!(|bytes: &[u8]| {
    unpack(bytes);
    let mut body = bytes.to_vec();
    body.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    unpack(&body);
});
