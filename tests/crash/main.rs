//! Kills processes that append to a log, follow it and carry out orders on it, again and again, and counts what was lost.
//!
//! `cargo xtask crash --backend NAME` runs it. A process is killed with SIGKILL at moments that the seed draws, in its start too; its server
//! is killed and cut off now and then. Acknowledged is what has come out of the process's pipe, and nothing else. In the end the log is
//! read from outside and judged.
//! Invariant: the judge ([`judge`]) knows only what was told and what is found.
#![expect(clippy::print_stdout, reason = "a command line tool, and a process whose pipe is the world outside")]

mod arguments;
mod backend;
mod judge;
mod killer;
mod random;
mod shop;
mod told;
mod victim;
mod work;

use std::process::ExitCode;

use arguments::Task;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments::read(&words) {
        Ok(Task::Live(place, life)) => victim::run(&place, &life),
        Ok(Task::Kill(plan)) => killer::run(&plan).and_then(|outcome| {
            println!("{}", outcome.json);
            if outcome.verdict.is_clean() { Ok(()) } else { Err("the log is not as it was told".to_owned()) }
        }),
        Err(reason) => Err(reason),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
