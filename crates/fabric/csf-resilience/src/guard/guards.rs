//! The guards of a node, by name.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::{Guard, GuardReport};
use crate::policy::{Policy, PolicyError};
use crate::ports::Ports;

/// A registry of guards.
pub struct Guards {
    ports: Ports,
    guards: RwLock<BTreeMap<String, Guard>>,
}

impl Guards {
    /// No guards yet.
    #[must_use]
    pub fn new(ports: Ports) -> Self {
        Self { ports, guards: RwLock::new(BTreeMap::new()) }
    }

    /// Gives the guard of this name this policy; makes it where there is none.
    ///
    /// # Errors
    /// [`PolicyError`] with every problem; what was there stays.
    pub fn set(&self, name: &str, policy: Policy) -> Result<Guard, PolicyError> {
        let mut guards = self.guards.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(guard) = guards.get(name) {
            guard.reconfigure(policy)?;
            return Ok(guard.clone());
        }
        let guard = Guard::new(name, policy, self.ports.clone())?;
        guards.insert(name.to_owned(), guard.clone());
        Ok(guard)
    }

    /// The guard of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Guard> {
        self.guards.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Takes a guard out; calls that run through it go on.
    pub fn remove(&self, name: &str) -> Option<Guard> {
        self.guards.write().unwrap_or_else(PoisonError::into_inner).remove(name)
    }

    /// All guards at a glance, by name.
    #[must_use]
    pub fn report(&self) -> Vec<GuardReport> {
        let guards: Vec<Guard> = self.guards.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        guards.iter().map(Guard::report).collect()
    }
}
