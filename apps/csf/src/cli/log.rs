//! The words of `csf events` and `csf dlq`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Remote;

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsCommand {
    #[command(subcommand)]
    pub(crate) action: EventsAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum EventsAction {
    /// List events: of one stream by version, or of the log by position
    Ls(EventsLs),
    /// Show a stream's version, and what of it is kept
    Head(EventsHead),
    /// Append one event to a stream of a running node
    Append(EventsAppend),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsLs {
    /// Of these streams
    #[arg(long, short, value_name = "STREAM")]
    pub(crate) stream: Vec<String>,
    /// Of streams of these categories: what stands before the first `-`
    #[arg(long, value_name = "CATEGORY")]
    pub(crate) category: Vec<String>,
    /// Of these types
    #[arg(long, short, value_name = "TYPE")]
    pub(crate) kind: Vec<String>,
    /// With all of these tags
    #[arg(long, short, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// From this version (one stream) or position on
    #[arg(long, value_name = "N")]
    pub(crate) from: Option<u64>,
    /// At most this many, up to 1000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
    /// The newest first
    #[arg(long)]
    pub(crate) backward: bool,
    /// Read this journal (a directory or a URL) instead of a running node
    #[arg(long, value_name = "JOURNAL", conflicts_with = "node")]
    pub(crate) journal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsHead {
    /// Stream
    pub(crate) stream: String,
    /// Read this journal (a directory or a URL) instead of a running node
    #[arg(long, value_name = "JOURNAL", conflicts_with = "node")]
    pub(crate) journal: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct EventsAppend {
    /// Stream
    pub(crate) stream: String,
    /// Type of the event
    pub(crate) kind: String,
    /// Content as JSON; `-` reads it from stdin
    pub(crate) data: String,
    /// The stream must have this many events, `none`, `some`, or `any`
    #[arg(long, value_name = "VERSION", default_value = "any", value_parser = parse_expected)]
    pub(crate) expected: csf_core::port::ExpectedVersion,
    /// Name of the event, a UUID: an append that is repeated under it is done once
    #[arg(long, value_name = "UUID")]
    pub(crate) id: Option<csf_core::port::EventId>,
    /// Tags
    #[arg(long, short, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

fn parse_expected(text: &str) -> Result<csf_core::port::ExpectedVersion, String> {
    use csf_core::port::ExpectedVersion;
    match text {
        "any" => Ok(ExpectedVersion::Any),
        "none" => Ok(ExpectedVersion::NoStream),
        "some" => Ok(ExpectedVersion::Exists),
        number => number
            .parse()
            .map(ExpectedVersion::Exactly)
            .map_err(|_| format!("`{number}` is neither a number of events nor none, some or any")),
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DlqCommand {
    #[command(subcommand)]
    pub(crate) action: DlqAction,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DlqAction {
    /// List events that were set aside: by consumer groups, and by components that failed on them for good
    Ls(DlqLs),
    /// Show an event that was set aside, with its content and the reason
    Show(DlqOne),
    /// Bring an event back to its group
    Redrive(DlqRedrive),
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DlqLs {
    /// Only those of this group
    #[arg(long, short, value_name = "NAME")]
    pub(crate) group: Option<String>,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DlqOne {
    /// The group
    pub(crate) group: String,
    /// Position of the event
    pub(crate) position: u64,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DlqRedrive {
    /// The group
    pub(crate) group: String,
    /// Position of the event; without it, all that the group has set aside
    pub(crate) position: Option<u64>,
    /// Say what would come back, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) remote: Remote,
}
