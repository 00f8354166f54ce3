//! Any bytes as a PX4 ULog: a recording that keeps its invariants, or an error.
#![no_main]

use csf_avionics::recording::{Place, Recording};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(recording) = Recording::from_ulog("x", "x.ulg", bytes) {
        csf_fuzz::check(&recording);
        if let Some(damage) = &recording.damage {
            let Place::Byte(byte) = damage.place else { panic!("a ULog is damaged at a byte") };
            assert!(byte <= bytes.len() as u64, "damage at {byte} of {}", bytes.len());
        }
    }
});
