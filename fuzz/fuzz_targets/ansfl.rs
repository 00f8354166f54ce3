//! An ANSFL flight: truth and inertial table, parted by a zero byte, packed by us or (after a leading zero) as they come.
#![no_main]

use std::io::Write;

use csf_avionics::recording::Recording;
use flate2::{Compression, write::GzEncoder};
use libfuzzer_sys::fuzz_target;

fn pack(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).expect("memory takes all");
    encoder.finish().expect("memory takes all")
}

fuzz_target!(|data: &[u8]| {
    if let [0, raw @ ..] = data {
        let _ = Recording::from_ansfl("fuzz_path5", ("truth", raw), &[("imu".into(), raw.to_vec())]);
        return;
    }
    let middle = data.iter().position(|b| *b == 0).unwrap_or(data.len());
    let (truth, imu) = data.split_at(middle);
    let imu = pack(imu.get(1..).unwrap_or_default());
    let _ = Recording::from_ansfl("fuzz_path5", ("truth", &pack(truth)), &[("imu".into(), imu)]);
});
