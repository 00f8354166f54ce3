//! The words of `csf workflow`.

use clap::{Args, Subcommand};
use csf_core::port::EventId;

use super::{Remote, parse_time};

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowCommand {
    #[command(subcommand)]
    pub(crate) action: WorkflowAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum WorkflowAction {
    /// List runs, the newest first
    Ls(WorkflowLs),
    /// Show how a run is
    Show(WorkflowOne),
    /// Show what happened to a run and what its code decided
    History(WorkflowOne),
    /// Start a run
    Start(WorkflowStart),
    /// Tell a run something
    Signal(WorkflowSignal),
    /// Ask a run something; it leaves no trace
    Query(WorkflowQuery),
    /// Ask a run to change something, and wait for its answer; it may refuse
    Update(WorkflowUpdate),
    /// Ask a run to end; its code decides how
    Cancel(WorkflowEnd),
    /// End a run where it stands
    Terminate(WorkflowEnd),
    /// Let a run go on from an earlier entry of its history, with the code of today
    Reset(WorkflowReset),
    /// Replay recorded histories against the code of the node, and show where they part
    Diff(WorkflowDiff),
}

/// A name and its value: JSON, or else the word that it is.
fn parse_attribute(text: &str) -> Result<(String, serde_json::Value), String> {
    let (name, value) = text.split_once('=').ok_or("an attribute is NAME=VALUE")?;
    Ok((name.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into())))
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowLs {
    /// Only those: running, blocked, completed or failed
    #[arg(long, short, value_name = "STATUS", value_parser = ["running", "blocked", "completed", "failed"])]
    pub(crate) status: Option<String>,
    /// Only those of this workflow
    #[arg(long, short, value_name = "NAME")]
    pub(crate) workflow: Option<String>,
    /// Only those whose search attribute is so, such as customer=acme or amount>=100; may be repeated, and all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) conditions: Vec<String>,
    /// At most this many, up to 10000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowOne {
    /// Id of the run
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowStart {
    /// Name of the workflow
    pub(crate) workflow: String,
    /// Id of the run
    pub(crate) id: String,
    /// Input as JSON; `-` reads it from stdin
    #[arg(default_value = "null")]
    pub(crate) input: String,
    /// End it when it takes longer, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Option<std::time::Duration>,
    /// A search attribute to begin with, such as customer=acme or amount=150; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_attribute)]
    pub(crate) attribute: Vec<(String, serde_json::Value)>,
    /// Name of the request, a UUID: a start that is repeated under it is done once
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<EventId>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowSignal {
    /// Id of the run
    pub(crate) id: String,
    /// Name of the signal
    pub(crate) name: String,
    /// What it is told, as JSON; `-` reads it from stdin
    #[arg(default_value = "null")]
    pub(crate) payload: String,
    /// Name of the request, a UUID: a signal that is repeated under it is told once
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<EventId>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowQuery {
    /// Id of the run
    pub(crate) id: String,
    /// Name of the query
    pub(crate) name: String,
    /// What is asked, as JSON; `-` reads it from stdin
    #[arg(default_value = "null")]
    pub(crate) input: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowUpdate {
    /// Id of the run
    pub(crate) id: String,
    /// Name of the update
    pub(crate) name: String,
    /// What is to be changed, as JSON; `-` reads it from stdin
    #[arg(default_value = "null")]
    pub(crate) input: String,
    /// Name of the request, a UUID: an update that is repeated under it is carried out once, and answered as the first time
    #[arg(long, value_name = "UUID")]
    pub(crate) request: Option<EventId>,
    /// Wait this long for the answer, up to 1m
    #[arg(long, value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub(crate) wait: std::time::Duration,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowEnd {
    /// Id of the run
    pub(crate) id: String,
    /// Why, for its history
    #[arg(long, short, value_name = "TEXT", default_value = "asked for with csf")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowReset {
    /// Id of the run
    pub(crate) id: String,
    /// The last entry that is kept; `csf workflow history ID` numbers them
    #[arg(long, value_name = "ENTRY")]
    pub(crate) to: u64,
    /// Why, for the history of the run that is given up
    #[arg(long, short, value_name = "TEXT", default_value = "asked for with csf")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct WorkflowDiff {
    /// Ids of the runs [default: all that --status and --workflow let through]
    pub(crate) ids: Vec<String>,
    /// Without ids: only runs that are running, blocked, completed or failed
    #[arg(long, short, value_name = "STATUS", value_parser = ["running", "blocked", "completed", "failed"])]
    pub(crate) status: Option<String>,
    /// Without ids: only runs of this workflow
    #[arg(long, short, value_name = "NAME")]
    pub(crate) workflow: Option<String>,
    /// Without ids: at most this many of the newest, up to 10000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1000)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
