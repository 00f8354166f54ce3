//! The state of a [`Node`]'s components beyond its end: persisted by an orderly stop, and proof at the next start.
//!
//! The journal is the truth: a start repeats it. What was persisted must then equal what the repetition led to, so a build that repeats
//! differently, or a disk that lies, is found before the node says anything.

use std::sync::{Arc, PoisonError};

use csf_core::Stamp;
use serde_json::{Value, json};

use super::handle::Node;
use crate::exec::ComponentStats;
use crate::persist::{PersistableComponent, PersistenceError, StatePersistence, calculate_checksum, hex};

/// Name of the file that says up to which packet the states go.
const NEWEST: &str = "csf.newest";

/// What the newest persisted set says of the states that a start came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// Time of the set, RFC 3339.
    pub time: String,
    /// Whether the journal ends where the set was taken: otherwise nothing was compared, since states went on since then.
    pub is_current: bool,
    /// Components compared.
    pub compared: usize,
    /// Components whose state differs.
    pub different: Vec<String>,
}

/// What a start came to, for [`Node::keep_state`].
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) newest: Stamp,
    /// Checksum of each component's snapshot, by index.
    pub(super) checksums: Vec<String>,
}

impl Node {
    /// Compares the newest persisted set with what this start came to, and lets the node's orderly stop write the next one.
    ///
    /// # Errors
    /// [`PersistenceError`] when the newest set cannot be read; the next one is written all the same.
    pub fn keep_state(&self, persistence: Arc<StatePersistence>) -> Result<Option<StateProof>, PersistenceError> {
        let names: Vec<String> = self.topology().component_names().collect();
        let newest = persistence.read_newest();
        *self.ending.persistence.lock().unwrap_or_else(PoisonError::into_inner) = Some(persistence);
        let Some((report, states)) = newest? else { return Ok(None) };
        let state = |id: &str| states.iter().find(|(name, _)| name == id).map(|(_, state)| state);
        let is_current = state(NEWEST) == Some(&json!(self.replayed.newest.to_string()));
        let mut proof = StateProof { time: report.time.clone(), is_current, compared: 0, different: Vec::new() };
        for (name, checksum) in names.iter().zip(&self.replayed.checksums).filter(|_| is_current) {
            let Some(persisted) = state(name).and_then(snapshot) else { continue };
            proof.compared += 1;
            if calculate_checksum(&persisted) != *checksum {
                proof.different.push(name.clone());
            }
        }
        Ok(Some(proof))
    }

    /// Writes the set of this node's end; says what it wrote, or nothing when no state is kept.
    pub(super) fn persist_state(&self) -> Result<Option<String>, PersistenceError> {
        let persistence = self.ending.persistence.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(persistence) = persistence else { return Ok(None) };
        for (node, component) in self.live().components() {
            let (name, stats) = (node.settings.name.value.clone(), component.stats.clone());
            persistence.register(Arc::new(ComponentState { name, stats }));
        }
        let packets = self.feed().last_values();
        let newest = packets.values().map(|p| p.packet.header.stamp).max().unwrap_or_default();
        persistence.register(Arc::new(Newest(newest.max(self.replayed.newest))));
        let report = persistence.persist_all(Stamp(self.now_ns()))?;
        Ok(Some(format!("{} states sealed at {}", report.files.len() - 1, report.time)))
    }
}

fn snapshot(state: &Value) -> Option<Vec<u8>> {
    hex::decode(state["snapshot"].as_str()?)
}

/// A component's state as its dispatcher left it.
struct ComponentState {
    name: String,
    stats: Arc<ComponentStats>,
}

impl PersistableComponent for ComponentState {
    fn component_id(&self) -> &str {
        &self.name
    }

    fn extract_state(&self) -> Result<Value, String> {
        let snapshot = self.stats.last_snapshot().ok_or("it has not stopped, or has no state to show")?;
        Ok(json!({ "snapshot": hex::encode(&snapshot) }))
    }

    fn restore_state(&self, _state: &Value) -> Result<(), String> {
        Err("components come to their state by repeating the journal".to_owned())
    }
}

/// Up to which packet the states go.
struct Newest(Stamp);

impl PersistableComponent for Newest {
    fn component_id(&self) -> &str {
        NEWEST
    }

    fn extract_state(&self) -> Result<Value, String> {
        Ok(json!(self.0.to_string()))
    }

    fn restore_state(&self, _state: &Value) -> Result<(), String> {
        Ok(())
    }
}
