//! Any bytes as an ANSFL flight: as gzip when they begin like it, else as the truth's table and, after a zero byte,
//! the inertial unit's, which are packed here so that the fuzzer gets past the checksum.
#![no_main]

use std::io::Write;

use csf_avionics::recording::Recording;
use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;

const TRUTH: &[u8] = b"time,North,East,Down\n0.0,0,0,0\n0.1,1,0,0\n";
const IMU: &[u8] = b"time,Euler_X,Euler_Y,Euler_Z,Acc_X,Acc_Y,Acc_Z,Gyr_X,Gyr_Y,Gyr_Z\n0.0,1,2,3,1,2,9.8,180,0,-180\n";

fn pack(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(text).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn read(truth: &[u8], imu: Vec<u8>) {
    if let Ok(recording) = Recording::from_ansfl("x_path5", ("t", truth), &[("i".into(), imu)]) {
        csf_fuzz::check(&recording);
    }
}

fuzz_target!(|bytes: &[u8]| {
    if bytes.starts_with(&[0x1f, 0x8b]) {
        read(bytes, pack(IMU));
        read(&pack(TRUTH), bytes.to_vec());
    } else {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let imu = bytes.get(end + 1..).unwrap_or(IMU);
        read(&pack(&bytes[..end]), pack(imu));
    }
});
