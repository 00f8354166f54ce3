//! A store that is away for a while, for whoever watches the node.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a journal's store cannot be reached, and what waits for it on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Away {
    /// In the words of the last try.
    pub reason: String,
    /// What is durable on this machine and not in the store yet, bytes.
    pub spooled_bytes: u64,
    /// How much of it there may be, bytes.
    pub spool_limit: u64,
}

/// Tells whether the store is away. Cheap, from any thread, while a commit is under way too.
pub type OutageWatch = Arc<dyn Fn() -> Option<Away> + Send + Sync>;
