//! The component graph as data and as text, dot and Mermaid. The layout is computed here, so the console and the command line agree.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::Topology;
use super::layout::place;

/// What a node of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeKind {
    /// A service.
    Service,
    /// A component.
    Component,
}

/// A box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GraphNode {
    /// Name in the node, unique.
    pub id: String,
    /// Service or component.
    pub kind: NodeKind,
    /// Shown text.
    pub label: String,
    /// Its type.
    pub detail: String,
    /// Left edge, abstract pixels.
    pub x: f64,
    /// Top edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

/// An arrow for one topic from a writer to a reader.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Writer.
    pub from: String,
    /// Reader.
    pub to: String,
    /// Topic.
    pub topic: String,
    /// Closes a cycle on purpose.
    pub feedback: bool,
    /// Polyline from the writer's right edge to the reader's left edge.
    pub points: Vec<[f64; 2]>,
}

/// The graph with its layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Graph {
    /// Extent.
    pub width: f64,
    /// Extent.
    pub height: f64,
    /// Boxes, layer by layer.
    pub nodes: Vec<GraphNode>,
    /// Arrows.
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Lays out a topology, sources left.
    #[must_use]
    pub fn of(topology: &Topology) -> Self {
        let mut nodes = Vec::new();
        for service in &topology.services {
            nodes.push(bare_node(&service.settings.name.value, NodeKind::Service, &service.kind.name));
        }
        for component in &topology.components {
            nodes.push(bare_node(&component.settings.name.value, NodeKind::Component, &component.kind.name));
        }
        let mut edges = Vec::new();
        for component in &topology.components {
            let settings = &component.settings;
            for topic in &settings.reads {
                let feedback = settings.feedback.iter().any(|f| f.value == topic.value);
                for writer in topology.writers(&topic.value) {
                    edges.push(Edge {
                        from: writer.to_owned(),
                        to: settings.name.value.clone(),
                        topic: topic.value.clone(),
                        feedback,
                        points: Vec::new(),
                    });
                }
            }
        }
        place(nodes, edges)
    }

    /// Graphviz text.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut out = String::from("digraph csf {\n  rankdir=LR;\n  node [fontname=\"sans-serif\"];\n");
        for node in &self.nodes {
            let shape = if node.kind == NodeKind::Service { "cds" } else { "box" };
            let _ = writeln!(
                out,
                "  {:?} [shape={shape}, label={:?}];",
                node.id,
                format!("{}\n{}", node.label, node.detail)
            );
        }
        for edge in &self.edges {
            let style = if edge.feedback { ", style=dashed" } else { "" };
            let _ = writeln!(out, "  {:?} -> {:?} [label={:?}{style}];", edge.from, edge.to, edge.topic);
        }
        out.push_str("}\n");
        out
    }

    /// Mermaid text.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart LR\n");
        for node in &self.nodes {
            let (open, close) = if node.kind == NodeKind::Service { ("([", "])") } else { ("[", "]") };
            let _ = writeln!(out, "  {}{open}\"{}<br/>{}\"{close}", identifier(&node.id), node.label, node.detail);
        }
        for edge in &self.edges {
            let arrow = if edge.feedback { "-.->" } else { "-->" };
            let _ = writeln!(out, "  {} {arrow}|{}| {}", identifier(&edge.from), edge.topic, identifier(&edge.to));
        }
        out
    }

    /// Plain text: each node with what it reads from whom.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for node in &self.nodes {
            let mark = if node.kind == NodeKind::Service { "○" } else { "■" };
            let _ = writeln!(out, "{mark} {:<14} {}", node.label, node.detail);
            for edge in self.edges.iter().filter(|e| e.to == node.id) {
                let back = if edge.feedback { " (feedback)" } else { "" };
                let _ = writeln!(out, "    ← {:<18} from {}{back}", edge.topic, edge.from);
            }
        }
        out
    }
}

fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn bare_node(name: &str, kind: NodeKind, detail: &str) -> GraphNode {
    GraphNode {
        id: name.to_owned(),
        kind,
        label: name.to_owned(),
        detail: detail.to_owned(),
        x: 0.0,
        y: 0.0,
        w: 0.0,
        h: 0.0,
    }
}
