//! The workspace's own commands. `cargo xtask help` lists them.
#![expect(clippy::print_stdout, reason = "a command line tool")]

mod asm;
mod bench;
mod chaos;
mod coverage;
mod crash;
mod exec;
mod fuzz;
mod load;
mod new_pack;
mod otp;
mod repeat;
mod shots;
mod storm;
mod test;
mod tidy;

use std::process::ExitCode;

/// What every command returns: an explanation when it failed.
pub(crate) type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rest = arguments.get(1..).unwrap_or_default();
    let outcome = match arguments.first().map(String::as_str) {
        Some("tidy") => tidy::run(),
        Some("test") => test::run(rest),
        Some("coverage") => coverage::run(rest),
        Some("asm") => asm::run(rest),
        Some("shots") => shots::run(rest),
        Some("fuzz") => fuzz::run(rest),
        Some("bench") => bench::run(rest),
        Some("crash") => crash::run(rest),
        Some("chaos") => chaos::run(rest),
        Some("load") => load::run(rest),
        Some("otp") => otp::run(rest),
        Some("repeat") => repeat::run(rest),
        Some("reload-storm") => storm::run(rest),
        Some("new-pack") => new_pack::run(rest),
        _ => {
            println!(
                "cargo xtask COMMAND\n\n  \
                 tidy                      layers, manifests, error pages, traceability, links\n  \
                 test [--only STEP]        everything CI runs; prints what took how long\n  \
                 coverage [--group G] [--html] [--json] [--counted]   which lines the tests run, by groups of crates; the last runs no test\n  \
                 asm [--bless]             the bus's hot path as compiled, against docs/formats/hot-path-asm.txt\n  \
                 shots [DIR]               pictures of the console, checked for faults\n  \
                 fuzz [TARGET] [--seconds N]   fuzz the parsers of outside bytes, all of them or one\n  \
                 bench bus|time [--only G1,G3] [--quick] [--json]   the heart beside its peers; `--list` shows the rows\n  \
                 crash --demo --kills N --seed S [--json]   kill -9 in mid flight, count what was lost\n  \
                 crash --backend sqlite|postgres|postgres-spool|jetstream --kills N --seed S [--json]   kill -9 processes on a log, and its server\n  \
                 chaos [--only NAME] [--seed S] [--rounds N] [--json]   faults of network, parts and resources: recovery, losses\n  \
                 load [--users 10,50] [--seconds N] [--ramp N] [--rate R] [--json]   more and more users of a node, until too much fails\n  \
                 otp [--scenarios N] [--seed S] [--only N] [--json]   our supervisors beside Erlang/OTP's\n  \
                 reload-storm [--changes N] [--seed S] [--rate N] [--json]   random changes of a node's configuration under load\n  \
                 repeat [--times N] [--seed S]   the unit tests N (50) times under random scheduling\n  \
                 new-pack NAME             a working pack: crate, registration, test"
            );
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}
