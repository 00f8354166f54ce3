//! Any bytes as a message of a journal in JetStream: its parts, or what is wrong. What is read is written alike and read again.
//!
//! Asked three times: as they are, under a valid checksum, and as the commit of a valid message, for no fuzzer guesses one.
#![no_main]

use libfuzzer_sys::fuzz_target;

fn sealed(mut message: Vec<u8>) -> Vec<u8> {
    let checksum = crc32fast::hash(&message);
    message.extend_from_slice(&checksum.to_le_bytes());
    message
}

fuzz_target!(|bytes: &[u8]| {
    // The last part of a commit, its only one.
    let mut framed = b"csfm\x01\x03".to_vec();
    framed.resize(30, 0);
    framed.extend_from_slice(bytes);
    for message in [bytes.to_vec(), sealed(bytes.to_vec()), sealed(framed)] {
        // A refusal is as good as a commit.
        let _ = csf_data::fuzzing::jetstream_message(&message);
    }
});
