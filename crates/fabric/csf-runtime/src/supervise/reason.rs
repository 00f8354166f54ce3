//! Why a process ended.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// Why a process ended. [`ExitReason::is_orderly`] decides whether a transient child is restarted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// Its work was done.
    Normal,
    /// It was asked to stop, or a supervisor stopped itself.
    Shutdown,
    /// As [`ExitReason::Shutdown`], with words of its own.
    ShutdownWith(Arc<str>),
    /// It was ended without being asked.
    Killed,
    /// It failed: an error it returned.
    Failed(Arc<str>),
    /// It panicked.
    Panicked(Arc<str>),
    /// It was killed and did not end within [`super::Env::kill_grace`]: its thread is in code that never returns.
    Abandoned,
}

impl ExitReason {
    /// Normal, shutdown, or shutdown with words: a transient child is not restarted after these.
    #[must_use]
    pub const fn is_orderly(&self) -> bool {
        matches!(self, Self::Normal | Self::Shutdown | Self::ShutdownWith(_))
    }

    /// A failure, from anything that says what happened.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string().into())
    }
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Shutdown => f.write_str("shutdown"),
            Self::ShutdownWith(words) => write!(f, "shutdown: {words}"),
            Self::Killed => f.write_str("killed"),
            Self::Failed(words) => f.write_str(words),
            Self::Panicked(words) => write!(f, "panicked: {words}"),
            Self::Abandoned => f.write_str("abandoned: it was killed and never ended"),
        }
    }
}
