//! The coordination hub: subsystems, their dependencies, and their common life (FRM-010, FRM-011, FRM-062).
//!
//! Invariant: no lock is held while a subsystem works, so it may call the hub at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::service::BoxFuture;
use crate::topology::{CycleError, start_levels};

/// How a subsystem is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status", content = "message")]
pub enum HealthStatus {
    /// Works.
    Healthy,
    /// Works with a restriction.
    Degraded(String),
    /// Does not work.
    Unhealthy(String),
}

/// A subsystem's failure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[{code}] {message}")]
pub struct SubsystemError {
    /// `CSF-nnnn`.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: String,
}

/// A part of the fabric with a life: the recorder, the dispatchers, the API.
pub trait Subsystem: Send + Sync {
    /// Unique name.
    fn id(&self) -> &str;

    /// Names of the subsystems that must run first.
    fn dependencies(&self) -> Vec<String>;

    /// Gets ready; may call the hub.
    fn initialize<'a>(&'a self, hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>>;

    /// Starts working.
    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// Stops working; nothing accepted is lost. Called again, or after a start that failed or was dropped half way, it does what is
    /// left to do.
    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>>;

    /// How it is.
    fn health_check(&self) -> HealthStatus;
}

/// A failed registration or start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CoordinationError {
    /// The name is taken.
    #[error("subsystem `{id}` is registered already")]
    Duplicate {
        /// The name.
        id: String,
    },
    /// A dependency that nobody registered.
    #[error("subsystem `{id}` needs `{dependency}`, which is not registered")]
    UnknownDependency {
        /// Who needs it.
        id: String,
        /// What is needed.
        dependency: String,
    },
    /// They wait for each other.
    #[error(transparent)]
    Cycle(#[from] CycleError),
    /// One failed; everything started before it was stopped again.
    #[error("subsystem `{component}` failed to start: {error}")]
    InitializationFailed {
        /// Which.
        component: String,
        /// Why.
        error: SubsystemError,
    },
    /// One took too long; everything started before it was stopped again.
    #[error("subsystem `{component}` did not start within {limit_ms} ms")]
    Timeout {
        /// Which.
        component: String,
        /// The limit.
        limit_ms: u128,
    },
    /// Somebody asked for the stop meanwhile; everything started was stopped again.
    #[error("the start was interrupted")]
    Interrupted,
}

/// Holds the subsystems and moves them through their life together.
#[derive(Default)]
pub struct CoordinationHub {
    subsystems: RwLock<BTreeMap<String, Arc<dyn Subsystem>>>,
}

impl CoordinationHub {
    pub(super) fn snapshot(&self) -> BTreeMap<String, Arc<dyn Subsystem>> {
        self.subsystems.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn edges(subsystems: &BTreeMap<String, Arc<dyn Subsystem>>) -> BTreeMap<String, BTreeSet<String>> {
        subsystems.iter().map(|(id, s)| (id.clone(), s.dependencies().into_iter().collect())).collect()
    }

    /// Adds a subsystem; dependencies must be there already or come before the start. A refused one leaves no trace.
    ///
    /// # Errors
    /// [`CoordinationError::Duplicate`] or [`CoordinationError::Cycle`].
    pub fn register(&self, subsystem: Arc<dyn Subsystem>) -> Result<(), CoordinationError> {
        let mut subsystems = self.subsystems.write().unwrap_or_else(PoisonError::into_inner);
        let id = subsystem.id().to_owned();
        if subsystems.contains_key(&id) {
            return Err(CoordinationError::Duplicate { id });
        }
        let mut with_new = subsystems.clone();
        with_new.insert(id, subsystem);
        start_levels(&Self::edges(&with_new))?;
        *subsystems = with_new;
        Ok(())
    }

    /// A registered subsystem.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<Arc<dyn Subsystem>> {
        self.snapshot().get(id).cloned()
    }

    pub(super) fn levels(&self) -> Result<Vec<Vec<String>>, CoordinationError> {
        let edges = Self::edges(&self.snapshot());
        for (id, needs) in &edges {
            if let Some(dependency) = needs.iter().find(|n| !edges.contains_key(*n)) {
                return Err(CoordinationError::UnknownDependency { id: id.clone(), dependency: dependency.clone() });
            }
        }
        Ok(start_levels(&edges)?)
    }

    /// How every subsystem is.
    #[must_use]
    pub fn health(&self) -> BTreeMap<String, HealthStatus> {
        self.snapshot().iter().map(|(id, s)| (id.clone(), s.health_check())).collect()
    }
}
