//! The fuzzer's bounded twin: its seeds, replayed and damaged a fixed number of times, on every machine alike.
//!
//! `cargo xtask fuzz ulog` and `cargo xtask fuzz ansfl` look farther.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use csf_avionics::recording::{Recording, SplitMix64};
use flate2::{Compression, write::GzEncoder};

use crate::{promises, seeds};

/// Damaged copies of each seed.
const COPIES: u64 = 1500;
/// Numbers that break arithmetic.
const ODD: [u64; 8] =
    [0, u64::MAX, 1 << 63, i64::MAX as u64, 0x7ff8_0000_0000_0000, 0x7ff0_0000_0000_0000, 1_000_000, 0x7fc0_0000];

fn below(random: &mut SplitMix64, limit: usize) -> usize {
    (random.next_u64() % limit.max(1) as u64) as usize
}

/// A few changes: a byte, an odd number, a cut, a doubled or a lost stretch.
fn damage(bytes: &mut Vec<u8>, random: &mut SplitMix64) {
    for _ in 0..=below(random, 4) {
        let at = below(random, bytes.len());
        let length = below(random, 40).min(bytes.len() - at);
        match below(random, 6) {
            0 | 1 if at < bytes.len() => bytes[at] = random.next_u64() as u8,
            2 => {
                let odd = ODD[below(random, ODD.len())].to_le_bytes();
                for (to, from) in bytes[at..].iter_mut().zip(odd) {
                    *to = from;
                }
            }
            3 if below(random, 8) == 0 => bytes.truncate(at),
            4 => {
                let stretch = bytes[at..at + length].to_vec();
                bytes.splice(at..at, stretch);
            }
            _ => {
                bytes.drain(at..at + length);
            }
        }
    }
}

/// Hands each seed, and its damaged copies, to `read`; says what to repeat when it panics.
fn replay(target: &str, read: impl Fn(&[u8])) {
    for (name, original) in seeds(target) {
        read(&original);
        for seed in 0..COPIES {
            let mut bytes = original.clone();
            damage(&mut bytes, &mut SplitMix64::new(seed));
            if catch_unwind(AssertUnwindSafe(|| read(&bytes))).is_err() {
                panic!("{name}, damaged with seed {seed}, breaks a promise (see above)");
            }
        }
    }
}

#[test]
fn a_damaged_ulog_is_read_or_refused() {
    replay("ulog", |bytes| {
        if let Ok(recording) = Recording::from_ulog("x", "x.ulg", bytes) {
            promises::check(&recording);
        }
    });
}

fn pack(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(text).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

#[test]
fn a_damaged_table_is_read_or_refused() {
    const TRUTH: &[u8] = b"time,North,East,Down\n0.0,0,0,0\n0.1,1,0,0\n";
    replay("ansfl", |bytes| {
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        let (truth, imu) = if bytes.starts_with(&[0x1f, 0x8b]) {
            (pack(TRUTH), bytes.to_vec())
        } else {
            (pack(&bytes[..end]), pack(bytes.get(end + 1..).unwrap_or_default()))
        };
        if let Ok(recording) = Recording::from_ansfl("x_path5", ("t", &truth), &[("i".into(), imu)]) {
            promises::check(&recording);
        }
    });
}
