//! The configurations a node ran with, as its journal tells them: one chapter per start and per reload.
//!
//! Invariant: at a chapter's position every delivery under the configuration before is in the journal, and none under the new one. So a
//! replay changes configurations exactly where the node did.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_core::port::{JournalError, JournalReader, NewEvent, StoredEvent};
use csf_core::{LaneId, Stamp};
use serde::{Deserialize, Serialize};

use crate::config::{Item, Settings, Source};
use crate::topology::Topology;
use crate::{Catalogue, ReplayError};

/// Stream of a node's starts and reloads.
pub const RUN_STREAM: &str = "csf.run";
/// Kind of the event of a start.
const STARTED: &str = "started";
/// Kind of the event of a reload.
const RECONFIGURED: &str = "reconfigured";
/// Chapters read from the journal at most.
const CHAPTERS_MAX: usize = 1_000_000;

/// First sequences, by lane, of what a component reads newly.
pub(crate) type Begins = BTreeMap<LaneId, u64>;

/// A configuration and from where on it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// Of its event in the journal.
    pub position: u64,
    /// When.
    pub stamp: Stamp,
    /// Which start of the node.
    pub incarnation: u32,
    /// The build that ran.
    pub build_id: String,
    /// The resolved configuration, TOML. Secrets are in it by reference.
    pub config: String,
    /// Component names by their numbers in the delivery log.
    pub components: BTreeMap<u16, String>,
    /// Whether the node started here; otherwise it went on with another configuration.
    pub is_start: bool,
    /// Where components that read a lane newly begin, by component.
    pub(crate) begins: BTreeMap<String, Begins>,
}

/// A chapter's event. Lists of pairs, because lanes are no keys in JSON.
#[derive(Serialize, Deserialize)]
struct Told {
    incarnation: u32,
    build_id: String,
    /// Names by number; of a reload the numbers are in `numbers`.
    components: Vec<String>,
    config: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    numbers: Vec<u16>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    begins: BTreeMap<String, Vec<(LaneId, u64)>>,
}

impl Chapter {
    /// The first chapter of a start.
    pub(crate) fn start(topology: &Topology, incarnation: u32, build_id: &str, stamp: Stamp) -> Self {
        Self {
            position: 0,
            stamp,
            incarnation,
            build_id: build_id.to_owned(),
            config: topology.settings.text.clone(),
            components: (0..).zip(topology.component_names()).collect(),
            is_start: true,
            begins: BTreeMap::new(),
        }
    }

    /// The event that tells it.
    pub(crate) fn event(&self) -> NewEvent {
        let begins = self.begins.iter().map(|(name, lanes)| (name.clone(), lanes.clone().into_iter().collect()));
        let told = Told {
            incarnation: self.incarnation,
            build_id: self.build_id.clone(),
            components: self.components.values().cloned().collect(),
            config: self.config.clone(),
            numbers: if self.is_start { Vec::new() } else { self.components.keys().copied().collect() },
            begins: begins.collect(),
        };
        let kind = if self.is_start { STARTED } else { RECONFIGURED };
        NewEvent::new(RUN_STREAM, kind, self.stamp, serde_json::json!(told))
    }

    /// `None` for an event that begins no chapter.
    fn of(event: StoredEvent) -> Option<Self> {
        let is_start = event.kind == STARTED;
        if !is_start && event.kind != RECONFIGURED {
            return None;
        }
        let told: Told = event.parse().ok()?;
        let numbers = if is_start { (0..).take(told.components.len()).collect() } else { told.numbers };
        Some(Self {
            position: event.position,
            stamp: event.stamp,
            incarnation: told.incarnation,
            build_id: told.build_id,
            config: told.config,
            components: numbers.into_iter().zip(told.components).collect(),
            is_start,
            begins: told.begins.into_iter().map(|(name, lanes)| (name, lanes.into_iter().collect())).collect(),
        })
    }

    /// The configuration, checked against what this build has.
    ///
    /// # Errors
    /// [`ReplayError::Mismatch`] with the first problem.
    pub fn topology(&self, catalogue: &Catalogue) -> Result<Topology, ReplayError> {
        let name = format!("configuration of position {}", self.position);
        let source = Arc::new(Source { name, text: self.config.clone() });
        let refuse = |problems: Vec<crate::config::Problem>| {
            let first = problems.first().map_or_else(String::new, |problem| problem.message.clone());
            ReplayError::Mismatch {
                reason: format!(
                    "this build cannot run the configuration recorded at position {}: {first}",
                    self.position
                ),
            }
        };
        let item = Item::parse(&source).map_err(refuse)?;
        let (settings, problems) = Settings::read(&item);
        if !problems.is_empty() {
            return Err(refuse(problems));
        }
        Topology::check(settings, catalogue).map_err(refuse)
    }
}

/// The chapters of a journal, oldest first.
///
/// # Errors
/// When it cannot be read.
pub fn chapters(reader: &mut dyn JournalReader) -> Result<Vec<Chapter>, JournalError> {
    Ok(reader.events(RUN_STREAM, 1, CHAPTERS_MAX)?.into_iter().filter_map(Chapter::of).collect())
}
