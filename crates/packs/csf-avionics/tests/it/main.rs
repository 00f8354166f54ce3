//! The pack against recorded flights, simulated flights and bad input.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "what is skipped is said aloud")]

mod bad_input;
mod mutation;
mod recorded;
mod simulated;

#[path = "../../../../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "public in the fuzzer's own package")]
mod promises;

use std::path::{Path, PathBuf};

/// The fuzzer's seeds for a target, in order of their names.
fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../fuzz/seeds").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| (f.display().to_string(), std::fs::read(f).unwrap())).collect()
}
