//! Kills with -9, counts what was lost: a node in mid flight (`--demo`), or processes on a log in one of its stores (`--backend NAME`).

mod demo;

pub(crate) use demo::held_ids;

use crate::Outcome;
use crate::exec::{command, output};

/// `--demo --kills N --seed S --json`, or `--backend sqlite|postgres|postgres-spool|jetstream` with the same.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    if arguments.iter().any(|argument| argument == "--demo") {
        return demo::run(arguments);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    print!("{}", on_a_log(&arguments)?);
    Ok(())
}

/// Runs the program `crash` of `csf-tests` and returns what it prints. It is built as its tests are: what is waited for here is the disk.
pub(crate) fn on_a_log(arguments: &[&str]) -> Result<String, String> {
    let run = ["run", "--quiet", "--package", "csf-tests", "--bin", "crash", "--"];
    output(command("cargo", &run).args(arguments))
}
