//! The rows as a table, and all figures behind them.

use crate::row::{Goal, Row};
use crate::stats::spread;

const HEADINGS: [&str; 13] =
    ["id", "what", "unit", "ours", "spread", "theirs", "peer", "ratio", "goal", "met", "beyond", "met", "x floor"];
/// Columns whose cells are numbers.
const IS_RIGHT: [bool; 13] = [false, false, false, true, false, true, false, true, false, false, false, false, true];

type Cells = [String; HEADINGS.len()];

/// All rows, aligned; below them what a cell has no room for.
pub fn table(rows: &[Row]) -> String {
    let notes = notes(rows);
    let cells: Vec<Cells> = rows.iter().map(|row| cells(row, &notes)).collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADINGS.map(str::to_owned), &widths);
    text.push_str(&widths.map(|width| "-".repeat(width)).join("  "));
    text.push('\n');
    for row in &cells {
        text.push_str(&line(row, &widths));
    }
    text.push_str(&remarks(rows, &notes));
    text
}

fn cells(row: &Row, notes: &[&str]) -> Cells {
    let spec = &row.spec;
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let verdict = |met: Option<bool>| match met {
        Some(true) => "yes",
        Some(false) => "NO",
        None => "-",
    };
    let goal = |goal: Option<Goal>| goal.map_or_else(|| "-".to_owned(), |g| g.text(spec.unit()));
    let ours_spread = match &row.ours {
        Ok(ours) => spread(&ours.rounds).map_or_else(String::new, |[a, b]| format!("{}..{}", short(a), short(b))),
        Err(_) => row.absence().to_owned(),
    };
    let peer = match &row.theirs {
        Some(side) => side.label.clone(),
        None if row.peers_unavailable.is_empty() => "-".to_owned(),
        None => "unavailable".to_owned(),
    };
    [
        format!("{}{}", spec.id, mark(spec.note, notes)),
        spec.what.clone(),
        spec.unit().to_owned(),
        number(row.figure()),
        ours_spread,
        number(row.their_figure()),
        peer,
        number(row.ratio()),
        goal(spec.goal),
        verdict(row.is_met()).to_owned(),
        goal(spec.beyond),
        verdict(row.is_beyond()).to_owned(),
        number(row.over_floor()),
    ]
}

fn line(cells: &Cells, widths: &[usize; HEADINGS.len()]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .zip(IS_RIGHT)
        .map(|((cell, width), is_right)| if is_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
        .collect();
    format!("{}\n", padded.join("  ").trim_end())
}

/// Each note once.
fn notes(rows: &[Row]) -> Vec<&'static str> {
    let mut notes = Vec::new();
    for note in rows.iter().filter_map(|row| row.spec.note) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    notes
}

/// A star for the first note, two for the second, and so on.
fn mark(note: Option<&str>, notes: &[&str]) -> String {
    let number = note.and_then(|note| notes.iter().position(|n| *n == note));
    number.map_or_else(String::new, |number| format!(" {}", "*".repeat(number + 1)))
}

/// Notes, errors and missing peers.
fn remarks(rows: &[Row], notes: &[&str]) -> String {
    let mut text = String::new();
    for note in notes {
        text.push_str(&format!("{}  {note}\n", mark(Some(note), notes).trim_start()));
    }
    for row in rows {
        let id = &row.spec.id;
        let error = row.ours.as_ref().err().map(|reason| format!("{id}: {}: {reason}\n", row.absence()));
        let peers = row.peers_unavailable.iter().map(|reason| format!("{id}: peer unavailable: {reason}\n"));
        text.extend(error.into_iter().chain(peers));
    }
    text
}

/// Every figure of each side: the medians' cross-check and the tails. Our side is not repeated for rows that only name a peer.
pub fn details(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let is_overview = row.spec.goal.is_none() && row.spec.beyond.is_none() && row.theirs.is_some();
        let ours = row.ours.as_ref().ok().filter(|_| !is_overview);
        for side in ours.into_iter().chain(&row.theirs).chain(&row.others) {
            let figures: Vec<String> = side.detail.iter().map(|(m, v)| format!("{} {}", m.name(), short(*v))).collect();
            text.push_str(&format!("{:<24} {:<40} {}\n", row.spec.id, side.label, figures.join("  ")));
        }
    }
    text
}

/// Digits that mean something.
pub fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => format!("{value:.0}"),
        v if v >= 100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
