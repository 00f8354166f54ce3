//! The checked topology: who reads and writes what, in which order things start, and how it looks as a graph.

mod check;
mod graph;
mod guards;
mod layout;
mod offers;
mod order;

pub use check::{ComponentNode, ServiceNode, Topology};
pub use graph::{Edge, Graph, GraphNode, NodeKind};
pub use offers::NOT_PROMISED;
pub use order::{CycleError, start_levels};
