//! `csf` as a library: the one binary of ChronoFabric, open to packs of one's own.
//!
//! The composition root: it alone sees every crate, lists the packs, talks to people. Data goes to stdout, talk to stderr.
//! A project made by `csf new` calls [`main_with`] with its pack and has every command for it.
#![expect(clippy::print_stdout, reason = "the binary is the one place that prints")]

mod agent;
mod bench;
mod cli;
mod client;
mod commands;
mod database;
mod demo;
mod diagnostic;
mod fault;
mod interrupts;
mod logging;
mod node;
mod packs;
mod paths;
mod reload;
mod sim;
mod store;
mod summary;
mod workflows;

use std::process::ExitCode;

use clap::Parser;
pub use csf_runtime::Pack;
pub use csf_workflow::{Activity, Workflow};
pub use database::DatabaseCleanupHandler;

/// What a project of one's own adds to the binary.
#[derive(Default)]
pub struct Extensions {
    /// Domains.
    pub packs: Vec<Box<dyn Pack>>,
    /// Durable workflows that every node runs. The name `agent-task` is taken.
    pub workflows: Vec<Workflow>,
    /// What they do in the world.
    pub activities: Vec<Activity>,
}

/// Runs the command line with the built-in packs and `own` ones.
#[must_use]
pub fn main_with(own: Vec<Box<dyn Pack>>) -> ExitCode {
    main_extended(Extensions { packs: own, ..Extensions::default() })
}

/// Runs the command line with what is built in and all of this.
#[must_use]
pub fn main_extended(own: Extensions) -> ExitCode {
    let started = paths::process_start();
    logging::begin();
    packs::add(own.packs);
    workflows::add(own.workflows, own.activities);
    let cli = cli::Cli::parse();
    let outcome = logging::configure(&cli).and_then(|()| commands::run(cli.command, started));
    // A node that never came to its configuration says here what it said until then.
    logging::hand_over();
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.exit_code())
        }
    }
}
