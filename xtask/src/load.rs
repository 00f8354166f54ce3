//! The load test by hand (FRM-097): the release binary under the program `load` of `csf-tests`.

use crate::Outcome;
use crate::exec::{self, command};

/// `--users`, `--seconds`, `--ramp`, `--rate` and `--json` go to the program.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    exec::build_csf()?;
    let load = ["run", "--release", "--quiet", "--package", "csf-tests", "--bin", "load", "--"];
    let mut load = command("cargo", &load);
    load.args(arguments).env("CSF_BIN", exec::csf());
    let status = load.status().map_err(|e| format!("{load:?} cannot be run: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("the load test ended with {status}")) }
}
