//! Layered left-to-right layout: longest path gives the layer, barycentres the order inside it.
//!
//! Reference: Sugiyama, Tagawa, Toda, "Methods for Visual Understanding of Hierarchical System Structures" (1981), without dummy nodes.

use std::collections::BTreeMap;

use super::{Edge, Graph, GraphNode};

const WIDTH: f64 = 168.0;
const HEIGHT: f64 = 48.0;
const GAP_X: f64 = 150.0;
const GAP_Y: f64 = 28.0;
const MARGIN: f64 = 24.0;
/// Sweeps of the ordering; it settles after two or three on graphs of this size.
const SWEEPS: usize = 4;

pub(super) fn place(nodes: Vec<GraphNode>, mut edges: Vec<Edge>) -> Graph {
    let index: BTreeMap<String, usize> = nodes.iter().enumerate().map(|(i, n)| (n.id.clone(), i)).collect();
    let links: Vec<(usize, usize)> =
        edges.iter().filter(|e| !e.feedback).map(|e| (index[&e.from], index[&e.to])).collect();
    let layer = layers(nodes.len(), &links);
    let mut columns = vec![Vec::new(); layer.iter().max().map_or(0, |m| m + 1)];
    for (node, &layer) in layer.iter().enumerate() {
        columns[layer].push(node);
    }
    for _ in 0..SWEEPS {
        for column in 1..columns.len() {
            order_column(&mut columns, column, &links);
        }
    }
    let tallest = columns.iter().map(Vec::len).max().unwrap_or(0) as f64;
    let height = 2.0 * MARGIN + tallest * HEIGHT + (tallest - 1.0).max(0.0) * GAP_Y;
    let width = 2.0 * MARGIN + columns.len() as f64 * WIDTH + (columns.len() as f64 - 1.0).max(0.0) * GAP_X;
    let mut placed: Vec<Option<GraphNode>> = nodes.into_iter().map(Some).collect();
    let mut ordered = Vec::new();
    for (x, column) in columns.iter().enumerate() {
        let own = column.len() as f64 * HEIGHT + (column.len() as f64 - 1.0) * GAP_Y;
        for (y, &node) in column.iter().enumerate() {
            if let Some(mut node) = placed[node].take() {
                node.x = MARGIN + x as f64 * (WIDTH + GAP_X);
                node.y = (height - own) / 2.0 + y as f64 * (HEIGHT + GAP_Y);
                (node.w, node.h) = (WIDTH, HEIGHT);
                ordered.push(node);
            }
        }
    }
    route(&ordered, &mut edges);
    Graph { width, height, nodes: ordered, edges }
}

/// Longest path from a source. The links have no cycle (checked); the bound only guards against a bug.
fn layers(count: usize, links: &[(usize, usize)]) -> Vec<usize> {
    let mut layer = vec![0; count];
    for _ in 0..count {
        for &(from, to) in links {
            layer[to] = layer[to].max(layer[from] + 1);
        }
    }
    layer
}

fn order_column(columns: &mut [Vec<usize>], column: usize, links: &[(usize, usize)]) {
    let row_of: BTreeMap<usize, f64> = columns[..column]
        .iter()
        .flat_map(|c| c.iter().enumerate().map(move |(row, &n)| (n, (row as f64 + 0.5) / c.len() as f64)))
        .collect();
    let centre = |node: usize| {
        let rows: Vec<f64> = links.iter().filter(|l| l.1 == node).filter_map(|l| row_of.get(&l.0)).copied().collect();
        if rows.is_empty() { 0.5 } else { rows.iter().sum::<f64>() / rows.len() as f64 }
    };
    columns[column].sort_by(|&a, &b| centre(a).total_cmp(&centre(b)).then(a.cmp(&b)));
}

/// Spreads the ends of a box's arrows over its edge so that parallel arrows stay apart.
fn route(nodes: &[GraphNode], edges: &mut [Edge]) {
    let find = |id: &str| nodes.iter().find(|n| n.id == id);
    let ends: Vec<(String, String)> = edges.iter().map(|e| (e.from.clone(), e.to.clone())).collect();
    for (i, edge) in edges.iter_mut().enumerate() {
        let (Some(from), Some(to)) = (find(&edge.from), find(&edge.to)) else {
            continue;
        };
        let share = |is_mine: &dyn Fn(&(String, String)) -> bool| {
            let mine = ends.iter().filter(|e| is_mine(e)).count() as f64;
            let before = ends[..i].iter().filter(|e| is_mine(e)).count() as f64;
            (before + 1.0) / (mine + 1.0)
        };
        let start = [from.x + from.w, from.y + from.h * share(&|e| e.0 == edge.from)];
        let end = [to.x, to.y + to.h * share(&|e| e.1 == edge.to)];
        edge.points = vec![start, end];
    }
}
