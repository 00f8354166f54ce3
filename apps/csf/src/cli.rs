//! The command line: every command, every flag, with the words people read in `--help`.

mod log;
mod task;
mod workflow;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use log::{
    DlqAction, DlqCommand, DlqLs, DlqOne, DlqRedrive, EventsAction, EventsAppend, EventsCommand, EventsHead, EventsLs,
};
pub(crate) use task::{TaskAction, TaskCancel, TaskCommand, TaskLs, TaskOne, TaskSubmit, TaskWork};
pub(crate) use workflow::{
    WorkflowAction, WorkflowCommand, WorkflowDiff, WorkflowEnd, WorkflowLs, WorkflowOne, WorkflowQuery, WorkflowReset,
    WorkflowSignal, WorkflowStart, WorkflowUpdate,
};

/// One bus where every message has a provable time, a provable cause and a provable author.
#[derive(Debug, Parser)]
#[command(name = "csf", version, propagate_version = true, max_term_width = 100)]
pub(crate) struct Cli {
    /// Say more on stderr (`CSF_LOG=debug` says everything)
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    /// Write the log to this file instead of stderr, from the first line of the start on
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) log_file: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node from csf.toml, or the demo with no configuration at all
    Up(Up),
    /// Write a component of your own, ready to build and run
    New(New),
    /// Check a configuration and report everything that is wrong
    Validate(ConfigArgs),
    /// Draw the component graph
    Graph(GraphArgs),
    /// Show how a running node does
    Status(Remote),
    /// Watch who does how much, who falls behind and who was restarted
    Top(Top),
    /// Look at a running node's service registry
    Registry(RegistryCommand),
    /// Publish one packet
    Pub(Pub),
    /// Follow topics of a running node, last value first
    Sub(Sub),
    /// Follow topics by pattern, filtered by the fields of the payload
    Tap(Tap),
    /// Show why a packet exists: its causes, with times and authors
    Why(Why),
    /// Show a packet's way from its sources to its effects
    Trace(Why),
    /// Read and append events in the streams of a node's log
    Events(EventsCommand),
    /// Look at events that were set aside, and bring them back
    Dlq(DlqCommand),
    /// Look at workflow runs and steer them: durable code that goes on after any crash
    Workflow(WorkflowCommand),
    /// Submit tasks, look at them, and do them as an agent
    Task(TaskCommand),
    /// Replay a recorded journal and compare every output bit for bit
    Replay(Replay),
    /// Write a recorded journal in another format
    Export(Export),
    /// Run a whole node in a simulated world, with faults, from one seed or many
    Sim(Sim),
    /// Check this machine, the configuration, and why a node is slow, large or out of time
    Doctor(Doctor),
    /// Measure this machine: latency, throughput, memory, processor, clock, routing
    Bench(Bench),
    /// Explain an error code
    Explain(Explain),
    /// Look at the configuration
    Config(ConfigCommand),
    /// Print a completion script for your shell
    Completions(Completions),
}

/// Which configuration.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigArgs {
    /// Configuration file [default: csf.toml]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Also read csf.{ENVIRONMENT}.toml
    #[arg(long, env = "CSF_ENVIRONMENT", value_name = "NAME")]
    pub(crate) environment: Option<String>,
    /// Override one value, such as --set node.name='"ground"'
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Use the demo's built-in configuration
    #[arg(long)]
    pub(crate) demo: bool,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Fly this recording in the demo: a PX4 .ulg or an ANSFL *_GT.csv.gz
    #[arg(long, value_name = "FILE")]
    pub(crate) flight: Option<PathBuf>,
    /// Pace of the recording: 1, 20, … or max
    #[arg(long, default_value = "1", value_parser = parse_speed)]
    pub(crate) speed: Speed,
    /// Stop after this long, such as 30s
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub(crate) limit: Option<std::time::Duration>,
    /// 1-sigma of the degraded fixes made from RTK, metres (ANSFL only)
    #[arg(long, default_value_t = 1.5)]
    pub(crate) fix_sigma: f64,
    /// Noise seeds averaged over, from 1 (ANSFL only)
    #[arg(long, default_value_t = 1)]
    pub(crate) seeds: u64,
    /// Address of the HTTP API; port 0 picks a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Journal: a directory, postgresql://user@host/database?schema=NAME or nats://host/STREAM; an existing one is continued
    #[arg(long, value_name = "JOURNAL")]
    pub(crate) journal: Option<PathBuf>,
    /// Read the configuration again when its files change; SIGHUP does it at any time
    #[arg(long)]
    pub(crate) watch: bool,
    /// Persist the components' state at the stop, sealed with the last of these keys: NAME=file:PATH or NAME=env:VARIABLE
    #[arg(long = "state-key", value_name = "KEY", env = "CSF_STATE_KEYS", value_delimiter = ',')]
    pub(crate) state_keys: Vec<String>,
    /// Make the node ill on purpose, to see what `csf doctor` says
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) fault: Option<crate::fault::Fault>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Sim {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Run this seed [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Run the seeds from 1 to N
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    pub(crate) seeds: Option<u64>,
    /// Virtual time of a run, such as 20s
    #[arg(long = "for", value_name = "TIME", default_value = "20s", value_parser = parse_time)]
    pub(crate) span: std::time::Duration,
    /// What goes wrong: a list of loss, delay, reorder, partition, crash, torn-write, disk-full, slow-disk, clock-jump,
    /// skew, service-crash, reload; all, or none
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = crate::sim::Faults::parse)]
    pub(crate) faults: crate::sim::Faults,
    /// Print what happens, line by line, and a digest of everything
    #[arg(long)]
    pub(crate) trace: bool,
    /// Put a bug in on purpose, to see it found
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) plant: Option<crate::sim::Planted>,
}

/// Pace of a recording.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// Times real time.
    Times(f64),
    /// As fast as it goes.
    Max,
}

fn parse_speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    match text.parse::<f64>() {
        Ok(times) if times.is_finite() && (0.01..=10_000.0).contains(&times) => Ok(Speed::Times(times)),
        _ => Err("expected a number from 0.01 to 10000, or max".to_owned()),
    }
}

pub(crate) fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    csf_core::span::parse(text).ok_or_else(|| "expected a number with a unit, such as 30s or 5min".to_owned())
}

#[derive(Debug, Clone, Args)]
pub(crate) struct New {
    /// Name of the new project, such as my-detector
    pub(crate) name: String,
    /// Where to put it [default: a folder of that name]
    #[arg(long, value_name = "DIR")]
    pub(crate) path: Option<PathBuf>,
    /// Print what was written as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Only say what would be written
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct GraphArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Form of the drawing
    #[arg(long, value_enum, default_value_t = GraphForm::Text)]
    pub(crate) format: GraphForm,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphForm {
    Text,
    Dot,
    Mermaid,
}

/// Which running node.
#[derive(Debug, Clone, Args)]
pub(crate) struct Remote {
    /// Address of the node [default: the newest one on this machine]
    #[arg(long, env = "CSF_NODE", value_name = "ADDRESS")]
    pub(crate) node: Option<String>,
    /// Print JSON, one document per line where there are several
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) remote: Remote,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = parse_time)]
    pub(crate) interval: std::time::Duration,
    /// Print one table and leave; so does output that is no terminal
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RegistryCommand {
    #[command(subcommand)]
    pub(crate) action: RegistryAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum RegistryAction {
    /// List who is registered: what they offer, how well, and how they do
    Ls(RegistryLs),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RegistryLs {
    /// Only those who offer this, the best choice first
    #[arg(long, short, value_name = "NAME")]
    pub(crate) capability: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Pub {
    /// Topic
    pub(crate) topic: String,
    /// Payload as JSON; `-` reads it from stdin
    pub(crate) payload: String,
    /// Return before the packet is durable
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Only check the payload against the topic's schema
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Sub {
    /// Topics; `*` stands for one segment, `>` for the rest
    #[arg(required = true)]
    pub(crate) topics: Vec<String>,
    /// End after this many packets
    #[arg(long, short = 'n')]
    pub(crate) count: Option<u64>,
    /// At most this many packets per second and topic
    #[arg(long, value_name = "HZ")]
    pub(crate) max_hz: Option<f64>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Tap {
    #[command(flatten)]
    pub(crate) sub: Sub,
    /// Keep packets whose payload fits, such as 'position_ned_m.2 < -1 && mode == "running"'
    #[arg(long = "where", value_name = "EXPR")]
    pub(crate) filter: Option<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Why {
    /// Packet id, such as 1.1.3-42, a topic for its newest packet, or @7 for the event at position 7
    pub(crate) packet: String,
    /// Generations shown
    #[arg(long, default_value_t = 6)]
    pub(crate) depth: usize,
    /// Read this journal (a directory or a URL) instead of asking a running node
    #[arg(long, value_name = "JOURNAL")]
    pub(crate) journal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Replay {
    /// Journal: a directory or a URL [default: the newest demo run]
    pub(crate) journal: Option<PathBuf>,
    /// Stop after this stamp (nanoseconds since the Unix epoch)
    #[arg(long, value_name = "STAMP")]
    pub(crate) until: Option<u64>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    /// Journal: a directory or a URL [default: the newest demo run]
    pub(crate) journal: Option<PathBuf>,
    /// Write MCAP (JSON messages with their schemas) to this file
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) mcap: PathBuf,
    /// Only topics that fit this pattern
    #[arg(long, value_name = "PATTERN", default_value = ">")]
    pub(crate) topics: String,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// What to look at; latency, memory and time ask a running node
    #[arg(value_enum, default_value_t = DoctorScope::All)]
    pub(crate) scope: DoctorScope,
    /// Address of the node [default: the newest one on this machine]
    #[arg(long, env = "CSF_NODE", value_name = "ADDRESS")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DoctorScope {
    /// The machine and the configuration
    All,
    /// Clock, cores, disk
    Machine,
    /// The configuration
    Config,
    /// Why a running node is slow
    Latency,
    /// Where a running node's memory goes
    Memory,
    /// Whether a running node keeps time and cause
    Time,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Bench {
    /// What to measure
    #[arg(value_enum, value_name = "NAME", default_value_t = BenchName::Fabric)]
    pub(crate) name: BenchName,
    /// Print one JSON object per line: the machine, then each row
    #[arg(long)]
    pub(crate) json: bool,
    /// One short round: shows that it runs, not how fast
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only say which rows there are
    #[arg(long)]
    pub(crate) list: bool,
    /// Rounds, of which the median counts [default: 5, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Write every sample to this file, which ends in .json or .csv
    #[arg(long, value_name = "FILE")]
    pub(crate) samples: Option<PathBuf>,
    /// Fail when a row got worse than this budget of the same machine allows
    #[arg(long, value_name = "FILE")]
    pub(crate) budget: Option<PathBuf>,
    /// Write the figures as this machine's budget
    #[arg(long, value_name = "FILE")]
    pub(crate) save_budget: Option<PathBuf>,
    /// Share by which a row may be worse than the budget that is saved
    #[arg(long, value_name = "SHARE", default_value_t = 0.25, value_parser = parse_tolerance, requires = "save_budget")]
    pub(crate) tolerance: f64,
    /// Say whether the bus keeps the performance requirements of this environment
    #[arg(long, value_enum, value_name = "ENVIRONMENT")]
    pub(crate) env: Option<EnvironmentName>,
    /// Fail when the bus breaks a requirement of the environment
    #[arg(long, requires = "env")]
    pub(crate) strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvironmentName {
    /// 10 µs, 10,000 packets per second
    Development,
    /// 5 µs, 100,000 packets per second
    Staging,
    /// 1 µs, 1,000,000 packets per second
    Production,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchName {
    /// The bus and the clocks: the headline goals
    Fabric,
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=100.0).contains(&share) => Ok(share),
        _ => Err("expected a share from 0 to 100, such as 0.25 for a quarter".to_owned()),
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Explain {
    /// Code, such as CSF-0107; without one all codes are listed
    pub(crate) code: Option<String>,
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigCommand {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the configuration as it will be used
    Show(ConfigShow),
    /// Print the JSON Schema of a configuration, for editors: draft-07, with the options of every type in this binary
    Schema,
    /// Let a running node read its configuration again
    Reload(ConfigReload),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigReload {
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigShow {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Say where each value comes from
    #[arg(long)]
    pub(crate) origin: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Completions {
    /// Shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
    /// Print one JSON document with the script in it
    #[arg(long)]
    pub(crate) json: bool,
}
