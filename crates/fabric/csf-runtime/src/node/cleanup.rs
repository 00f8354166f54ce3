//! What a node takes away when it goes: handlers by priority, each verified, none in the way of another (FRM-081).

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::port::{Timer, within};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;

/// Longest time one handler may take, its verification included.
const LIMIT: Duration = Duration::from_secs(5);

/// A clean-up that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CleanupError {
    /// A file or directory cannot be removed.
    #[error("{} cannot be removed: {source}; remove it by hand", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// Anything else, in the handler's words.
    #[error("{0}")]
    Failed(String),
}

/// Takes something of the node away.
pub trait CleanupHandler: Send + Sync {
    /// Shown name.
    fn name(&self) -> &str;

    /// Lower goes first; equals in the order of their registration.
    fn priority(&self) -> u32;

    /// Takes it away. Only what is the node's own.
    fn cleanup(&self) -> BoxFuture<'_, Result<(), CleanupError>>;

    /// Looks whether it is gone; the reason when it is not.
    fn verify(&self) -> BoxFuture<'_, Result<(), String>>;
}

/// How a handler ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result", content = "reason")]
pub enum CleanupResult {
    /// Done and verified.
    Success,
    /// Done, as it said, but not gone.
    VerificationFailed(String),
    /// Failed, panicked or took too long.
    Failed(String),
}

/// One handler's end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CleanupOutcome {
    /// Whose.
    pub name: String,
    /// How long it took.
    pub ms: f64,
    /// How it ended.
    #[serde(flatten)]
    pub result: CleanupResult,
}

/// Every handler's end, in the order they ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CleanupReport {
    /// In order.
    pub handlers: Vec<CleanupOutcome>,
}

impl CleanupReport {
    /// Those that did not do their work.
    pub fn failures(&self) -> impl Iterator<Item = &CleanupOutcome> {
        self.handlers.iter().filter(|h| h.result != CleanupResult::Success)
    }
}

/// The handlers of a node.
#[derive(Default)]
pub struct ResourceCleanup {
    registry: Mutex<Vec<Arc<dyn CleanupHandler>>>,
    is_completed: AtomicBool,
}

impl ResourceCleanup {
    /// Adds a handler. Register it before making what it takes away, so that a failure in between leaves nothing.
    pub fn register(&self, handler: Arc<dyn CleanupHandler>) {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).push(handler);
    }

    /// Runs every handler once; a second call finds nothing to do.
    pub async fn cleanup_all(&self, timer: &dyn Timer) -> CleanupReport {
        let mut report = CleanupReport::default();
        if self.is_completed.swap(true, Ordering::AcqRel) {
            return report;
        }
        let mut handlers = self.registry.lock().unwrap_or_else(PoisonError::into_inner).clone();
        handlers.sort_by_key(|h| h.priority());
        for handler in handlers {
            let begun = timer.now();
            let work = AssertUnwindSafe(run(handler.as_ref())).catch_unwind();
            let result = match within(timer, LIMIT, work).await {
                Some(Ok(result)) => result,
                Some(Err(panic)) => {
                    CleanupResult::Failed(format!("it panicked: {}", crate::exec::panic_text(panic.as_ref())))
                }
                None => CleanupResult::Failed(format!("it took longer than {} s", LIMIT.as_secs())),
            };
            let name = handler.name().to_owned();
            match &result {
                CleanupResult::Success => tracing::debug!(handler = name, "cleaned up"),
                CleanupResult::VerificationFailed(reason) | CleanupResult::Failed(reason) => {
                    tracing::warn!(handler = name, reason, "could not be cleaned up");
                }
            }
            let ms = (timer.now() - begun).as_secs_f64() * 1e3;
            report.handlers.push(CleanupOutcome { name, ms, result });
        }
        report
    }
}

async fn run(handler: &dyn CleanupHandler) -> CleanupResult {
    if let Err(error) = handler.cleanup().await {
        return CleanupResult::Failed(error.to_string());
    }
    match handler.verify().await {
        Ok(()) => CleanupResult::Success,
        Err(reason) => CleanupResult::VerificationFailed(reason),
    }
}

/// Removes files and directories that the node made for as long as it runs.
pub struct PathCleanup {
    name: &'static str,
    priority: u32,
    paths: Vec<PathBuf>,
}

impl PathCleanup {
    /// Takes `paths` away, directories with everything in them.
    #[must_use]
    pub fn new(name: &'static str, priority: u32, paths: Vec<PathBuf>) -> Self {
        Self { name, priority, paths }
    }
}

impl CleanupHandler for PathCleanup {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn cleanup(&self) -> BoxFuture<'_, Result<(), CleanupError>> {
        Box::pin(async {
            let mut first = Ok(());
            for path in &self.paths {
                let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                match removed {
                    // Gone already is as good.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                    Err(source) => first = first.and(Err(CleanupError::Remove { path: path.clone(), source })),
                    Ok(()) => {}
                }
            }
            first
        })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async {
            match self.paths.iter().find(|path| path.symlink_metadata().is_ok()) {
                Some(path) => Err(format!("{} is still there", path.display())),
                None => Ok(()),
            }
        })
    }
}
