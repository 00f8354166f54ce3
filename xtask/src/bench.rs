//! Builds the bench workspace, where the peers live, and runs one of its tables.

use crate::Outcome;
use crate::exec;

/// The table's name, such as `bus` or `workflow`, and whatever else the bench takes; `cargo xtask bench bus --list` shows the rows.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut all = vec!["run", "--release", "--locked", "--quiet", "--manifest-path", "benches/Cargo.toml", "--"];
    all.extend(arguments.iter().map(String::as_str));
    exec::run("cargo", &all)
}
