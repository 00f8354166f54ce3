//! The reload storm: random changes of the configuration of a node under load (the test program `storm` of `csf`).

use crate::Outcome;
use crate::exec::{command, output};

/// Load and length of the storm by hand; later flags win.
const FULL: [&str; 4] = ["--changes", "1000", "--rate", "3500"];

/// `--changes N --seed S --rate N --json` go to the storm.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let arguments: Vec<&str> = FULL.into_iter().chain(arguments.iter().map(String::as_str)).collect();
    print!("{}", storm(&arguments)?);
    Ok(())
}

/// Runs it and returns what it prints.
pub(crate) fn storm(arguments: &[&str]) -> Result<String, String> {
    let test = ["test", "--quiet", "--release", "--package", "csf", "--test", "storm", "--"];
    output(command("cargo", &test).args(arguments))
}
