//! What a node runs now: replaced as a whole when its configuration changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_bus::Doorbell;
use csf_core::LaneId;

use crate::exec::{ComponentStats, RunState, ServiceStats, Tie};
use crate::topology::{ComponentNode, Graph, ServiceNode, Topology};

/// The configuration in force and who carries it out.
pub(super) struct Live {
    pub(super) topology: Arc<Topology>,
    pub(super) graph: Arc<Graph>,
    /// As the topology's.
    pub(super) components: Vec<LiveComponent>,
    /// As the topology's.
    pub(super) services: Vec<Arc<ServiceStats>>,
    /// Changes since the start.
    pub(super) generation: u64,
}

/// A component's place.
#[derive(Clone)]
pub(super) struct LiveComponent {
    /// Its number in the delivery log.
    pub(super) number: u16,
    /// Index of its dispatcher.
    pub(super) dispatcher: usize,
    pub(super) stats: Arc<ComponentStats>,
    /// To its supervisor, where it has one.
    pub(super) tie: Arc<Tie>,
}

impl LiveComponent {
    /// Whether it was given up.
    pub(super) fn is_down(&self) -> bool {
        self.stats.state() == RunState::Failed || self.tie.is_given_up()
    }
}

/// A dispatcher as who wires it sees it.
#[derive(Clone)]
pub(super) struct Desk {
    /// Its delivery log.
    pub(super) log: LaneId,
    /// How often its thread was replaced.
    pub(super) generation: u32,
    /// Rings for everything its components read.
    pub(super) bell: Arc<Doorbell>,
}

impl Live {
    pub(super) fn new(
        topology: Topology,
        components: Vec<LiveComponent>,
        services: Vec<Arc<ServiceStats>>,
        generation: u64,
    ) -> Self {
        let graph = Arc::new(Graph::of(&topology));
        Self { topology: Arc::new(topology), graph, components, services, generation }
    }

    pub(super) fn components(&self) -> impl Iterator<Item = (&ComponentNode, &LiveComponent)> {
        self.topology.components.iter().zip(&self.components)
    }

    pub(super) fn services(&self) -> impl Iterator<Item = (&ServiceNode, &Arc<ServiceStats>)> {
        self.topology.services.iter().zip(&self.services)
    }

    pub(super) fn component(&self, name: &str) -> Option<(&ComponentNode, &LiveComponent)> {
        self.components().find(|(node, _)| node.settings.name.value == name)
    }

    pub(super) fn service(&self, name: &str) -> Option<(&ServiceNode, &Arc<ServiceStats>)> {
        self.services().find(|(node, _)| node.settings.name.value == name)
    }

    /// Names by number in the delivery log.
    pub(super) fn numbers(&self) -> BTreeMap<u16, String> {
        self.components().map(|(node, live)| (live.number, node.settings.name.value.clone())).collect()
    }
}
