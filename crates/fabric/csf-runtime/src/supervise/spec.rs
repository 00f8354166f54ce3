//! What a supervisor is told: its flags and its children.

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::process::{Body, ChildContext, Start, Starting};
use super::{Backoff, ExitReason, StartError};

/// Which children a failure concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The failed one.
    #[default]
    OneForOne,
    /// All: they are stopped in reverse order and started in order.
    OneForAll,
    /// The failed one and those started after it.
    RestForOne,
    /// The failed one, of any number of alike children that are added and removed while running.
    SimpleOneForOne,
}

/// Whether a supervisor stops when its significant children have ended by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AutoShutdown {
    /// It does not; no child may be significant.
    #[default]
    Never,
    /// When the first has.
    AnySignificant,
    /// When the last has.
    AllSignificant,
}

/// A supervisor's own settings. The defaults are OTP's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flags {
    /// Which children a failure concerns.
    pub strategy: Strategy,
    /// Restarts allowed within the period; one more and the supervisor stops.
    pub intensity: u32,
    /// The period, whole seconds, from 1.
    pub period_s: u64,
    /// Whether it stops after its significant children.
    pub auto_shutdown: AutoShutdown,
    /// Pauses before restarts; without it a restart follows at once, as in OTP.
    pub backoff: Option<Backoff>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            strategy: Strategy::OneForOne,
            intensity: 1,
            period_s: 5,
            auto_shutdown: AutoShutdown::Never,
            backoff: None,
        }
    }
}

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended orderly: normal, shutdown, shutdown with words.
    Transient,
    /// Never; its specification is forgotten when it ends, and when a sibling's failure stops it.
    Temporary,
}

/// How a child is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shutdown {
    /// It is killed at once.
    BrutalKill,
    /// It is asked, and killed after this long.
    Within(Duration),
    /// It is asked and waited for: for supervisors, which bound their own children.
    Infinity,
}

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It works.
    Worker,
    /// It supervises.
    Supervisor,
}

/// Starts instances of a child.
pub trait StartChild: Send + Sync {
    /// Starts one.
    fn start(&self, cx: ChildContext) -> Starting;
}

/// One child's specification.
#[derive(Clone)]
pub struct ChildSpec {
    /// Its name, unique in its supervisor.
    pub id: Arc<str>,
    /// When it is started again.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// What it is.
    pub work: Work,
    /// Whether its own end can stop the supervisor ([`AutoShutdown`]).
    pub significant: bool,
    pub(super) start: Arc<dyn StartChild>,
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, restart, shutdown, work, significant, start: _ } = self;
        write!(f, "{work:?} {id}: {restart:?}, {shutdown:?}{}", if *significant { ", significant" } else { "" })
    }
}

/// OTP's default: a worker has five seconds to stop.
const WORKER_SHUTDOWN: Duration = Duration::from_secs(5);

impl ChildSpec {
    /// A permanent worker with five seconds to stop, started by `start`.
    pub fn new(id: impl Into<Arc<str>>, start: impl StartChild + 'static) -> Self {
        Self {
            id: id.into(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Within(WORKER_SHUTDOWN),
            work: Work::Worker,
            significant: false,
            start: Arc::new(start),
        }
    }

    /// A worker that runs at once: its start cannot fail, its end can.
    pub fn task<F, W>(id: impl Into<Arc<str>>, work: F) -> Self
    where
        F: Fn(ChildContext) -> W + Send + Sync + 'static,
        W: Future<Output = ExitReason> + Send + 'static,
    {
        Self::new(id, TaskStart(work))
    }

    /// A worker that gets ready first: `start` returns what runs, or why it cannot.
    pub fn prepared<F, W>(id: impl Into<Arc<str>>, start: F) -> Self
    where
        F: Fn(ChildContext) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Start, StartError>> + Send + 'static,
    {
        Self::new(id, PreparedStart(start))
    }

    /// With another restart rule.
    #[must_use]
    pub const fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// With another way to stop.
    #[must_use]
    pub const fn shutdown(mut self, shutdown: Shutdown) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// As a significant one.
    #[must_use]
    pub const fn significant(mut self) -> Self {
        self.significant = true;
        self
    }

    pub(super) fn check(&self, flags: &Flags) -> Result<(), SpecError> {
        if !self.significant {
            return Ok(());
        }
        let child = self.id.to_string();
        if flags.auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantWithoutAutoShutdown { child });
        }
        if self.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent { child });
        }
        Ok(())
    }
}

/// Whether a supervisor of these flags would take these children; [`super::Supervisor::start`] asks the same before it starts any.
///
/// # Errors
/// [`SpecError`]: the first contradiction.
pub fn check(flags: &Flags, specs: &[ChildSpec]) -> Result<(), SpecError> {
    if flags.period_s == 0 {
        return Err(SpecError::NoPeriod);
    }
    if flags.strategy == Strategy::SimpleOneForOne && specs.len() != 1 {
        return Err(SpecError::NotOneTemplate { count: specs.len() });
    }
    let mut ids = HashSet::new();
    for spec in specs {
        spec.check(flags)?;
        if !ids.insert(&spec.id) {
            return Err(SpecError::Duplicate { child: spec.id.to_string() });
        }
    }
    Ok(())
}

/// A specification that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Restarts cannot be counted in no time.
    #[error("the restart period of a supervisor must be at least 1 s")]
    NoPeriod,
    /// Two children of one name.
    #[error("two children are called `{child}`; names are unique in a supervisor")]
    Duplicate {
        /// The name.
        child: String,
    },
    /// Nothing would ever look at it.
    #[error("child `{child}` is significant, but its supervisor's auto_shutdown is never")]
    SignificantWithoutAutoShutdown {
        /// The child.
        child: String,
    },
    /// It never ends for good.
    #[error("child `{child}` is significant and permanent: it is always restarted, so its end means nothing")]
    SignificantPermanent {
        /// The child.
        child: String,
    },
    /// Its children are of one kind.
    #[error("a simple_one_for_one supervisor has one specification, not {count}")]
    NotOneTemplate {
        /// How many there are.
        count: usize,
    },
}

struct TaskStart<F>(F);

impl<F, W> StartChild for TaskStart<F>
where
    F: Fn(ChildContext) -> W + Send + Sync,
    W: Future<Output = ExitReason> + Send + 'static,
{
    fn start(&self, cx: ChildContext) -> Starting {
        let body: Body = Box::pin((self.0)(cx));
        Starting::Now(Ok(Start::Run(body)))
    }
}

struct PreparedStart<F>(F);

impl<F, W> StartChild for PreparedStart<F>
where
    F: Fn(ChildContext) -> W + Send + Sync,
    W: Future<Output = Result<Start, StartError>> + Send + 'static,
{
    fn start(&self, cx: ChildContext) -> Starting {
        Starting::Later(Box::pin((self.0)(cx)))
    }
}
