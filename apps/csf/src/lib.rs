//! `csf` as a library: the one binary of ChronoFabric, open to packs of one's own.
//!
//! The composition root: it alone sees every crate, lists the packs, talks to people. Data goes to stdout, talk to stderr.
//! A project made by `csf new` calls [`main_with`] with its pack and has every command for it.
#![expect(clippy::print_stdout, reason = "the binary is the one place that prints")]

mod bench;
mod cli;
mod client;
mod commands;
mod demo;
mod diagnostic;
mod fault;
mod interrupts;
mod node;
mod packs;
mod paths;
mod reload;
mod sim;
mod summary;

use std::process::ExitCode;

use clap::Parser;
pub use csf_runtime::Pack;

/// Runs the command line with the built-in packs and `own` ones.
#[must_use]
pub fn main_with(own: Vec<Box<dyn Pack>>) -> ExitCode {
    let started = paths::process_start();
    packs::add(own);
    let cli = cli::Cli::parse();
    start_logging(&cli);
    match commands::run(cli.command, started) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start_logging(cli: &cli::Cli) {
    use tracing_subscriber::EnvFilter;
    // What goes wrong in a simulation is meant to, and told by its trace.
    let is_simulation = matches!(cli.command, cli::Command::Sim(_));
    let default = match (cli.verbose, is_simulation) {
        (true, _) => "info",
        (false, true) => "off",
        (false, false) => "warn",
    };
    let filter = EnvFilter::try_from_env("CSF_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    builder.with_ansi(diagnostic::colours()).init();
}
