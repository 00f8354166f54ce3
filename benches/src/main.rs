//! `csf-bench bus|time|guard|runtime|journal|workflow`: the fabric's parts beside their peers, in one run, on one machine.
//!
//! Progress goes to stderr, the table (or one JSON object per row) to stdout. A goal missed is a result, not an error: the exit
//! status is 0 unless the bench itself fails.

mod clock;
mod command;
mod experiment;
mod floor;
mod load;
mod machine;
mod neighbours;
mod ours;
mod payload;
mod peer;
mod plot;
mod row;
mod stats;
mod suite;
mod table;

use std::process::ExitCode;

fn main() -> ExitCode {
    match command::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
