//! One file per command, or per family of commands.

mod bench;
mod config;
mod dlq;
mod doctor;
mod events;
mod explain;
mod export;
mod follow;
mod new;
mod publish;
mod registry;
mod reload;
mod replay;
mod sim;
mod status;
mod task;
mod top;
mod topology;
mod up;
mod why;
mod workflow;

use std::process::ExitCode;

use clap::CommandFactory;
use csf_core::Stamp;

use crate::cli::{Cli, Command, Completions};
use crate::diagnostic::Failure;

pub(crate) use explain::known_code;

/// What every command returns: an exit code, or a failure to render.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// Runs one command.
pub(crate) fn run(command: Command, started: Stamp) -> Outcome {
    match command {
        Command::Up(args) => up::run(args, started),
        Command::New(args) => new::run(&args),
        Command::Validate(args) => topology::validate(&args),
        Command::Graph(args) => topology::graph(&args),
        Command::Status(args) => status::run(&args),
        Command::Registry(args) => registry::run(&args.action),
        Command::Events(args) => events::run(&args.action),
        Command::Dlq(args) => dlq::run(&args.action),
        Command::Workflow(args) => workflow::run(&args.action),
        Command::Task(args) => task::run(&args.action),
        Command::Pub(args) => publish::run(&args),
        Command::Sub(args) => follow::sub(&args, None),
        Command::Tap(args) => follow::sub(&args.sub, args.filter.as_deref()),
        Command::Why(args) => why::why(&args),
        Command::Trace(args) => why::trace(&args),
        Command::Replay(args) => replay::run(args),
        Command::Export(args) => export::run(args),
        Command::Top(args) => top::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Config(args) => config::run(args.action),
        Command::Completions(args) => completions(&args),
    }
}

fn completions(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "csf", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    if args.json {
        println!("{}", serde_json::json!({ "shell": args.shell.to_string(), "script": script }));
    } else {
        print!("{script}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Outcome {
    let text = serde_json::to_string(value).map_err(|e| Failure::new("CSF-0210", e.to_string()))?;
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

/// JSON from an argument, or from stdin for `-`.
pub(crate) fn json_argument(what: &str, text: &str) -> Result<serde_json::Value, Failure> {
    let text = match text {
        "-" => std::io::read_to_string(std::io::stdin())
            .map_err(|e| Failure::new("CSF-0305", format!("stdin cannot be read: {e}")))?,
        text => text.to_owned(),
    };
    serde_json::from_str(&text).map_err(|e| Failure::new("CSF-0305", format!("the {what} is no JSON: {e}")))
}

/// Nanoseconds as people read them.
pub(crate) fn nanos(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", ns as f64 / 1e6),
        _ => format!("{:.3} s", ns as f64 / 1e9),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_024 => format!("{count} B"),
        1_024..1_048_576 => format!("{:.1} KiB", count as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", count as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", count as f64 / 1_073_741_824.0),
    }
}
