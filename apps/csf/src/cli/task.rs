//! The words of `csf task`.

use clap::{Args, Subcommand};

use super::{Remote, parse_time};

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskCommand {
    #[command(subcommand)]
    pub(crate) action: TaskAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TaskAction {
    /// Submit a task for an agent
    Submit(TaskSubmit),
    /// List tasks, the newest first
    Ls(TaskLs),
    /// Show a task: its state, its agent, how far it is, what came of it
    Show(TaskOne),
    /// Say that a task is not wanted any more
    Cancel(TaskCancel),
    /// Be an agent: run a program for each task, with the input on stdin and the output on stdout, as JSON
    Work(TaskWork),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskSubmit {
    /// What agents ask for, such as thumbnail
    pub(crate) kind: String,
    /// Input as JSON; `-` reads it from stdin
    #[arg(default_value = "null")]
    pub(crate) input: String,
    /// Id of the task: under the same id it is submitted once [default: a new one]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// An agent that is not heard of for this long loses the task
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub(crate) lease: std::time::Duration,
    /// Agents that may have it, one after the other; 0 means any number
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) attempts: u32,
    /// 1 to 5: tasks of a lower number go first
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    pub(crate) priority: u8,
    /// Whose share of the agents' time it takes, such as a tenant's name; keys of one priority share it by weight
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub(crate) fairness_key: String,
    /// Weight of the key, 0.001 to 1000
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0)]
    pub(crate) fairness_weight: f64,
    /// End it when it takes longer in all, such as 1h
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskLs {
    /// Only those: queued, running, completed, failed or cancelled
    #[arg(long, short, value_name = "STATE", value_parser = ["queued", "running", "completed", "failed", "cancelled"])]
    pub(crate) state: Option<String>,
    /// Only those of this kind
    #[arg(long, short, value_name = "KIND")]
    pub(crate) kind: Option<String>,
    /// At most this many, up to 1000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskOne {
    /// Id of the task
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskCancel {
    /// Id of the task
    pub(crate) id: String,
    /// Why, for its history
    #[arg(long, short, value_name = "TEXT", default_value = "asked for with csf")]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TaskWork {
    /// Take tasks of this kind; may be repeated
    #[arg(long, short, value_name = "KIND", required = true)]
    pub(crate) kind: Vec<String>,
    /// Name of the agent [default: worker- and the process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// End after this many tasks
    #[arg(long, short = 'n', value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<String>,
}
