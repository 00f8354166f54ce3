//! The rows for people.

use super::row::Row;
use super::stats::rounded;

const HEADINGS: [&str; 11] =
    ["row", "unit", "ours", "p50", "p99", "max", "best peer", "ratio", "limit", "x limit", "goal"];
/// Columns whose cells are numbers.
const IS_RIGHT: [bool; 11] = [false, false, true, true, true, true, false, true, true, true, false];

type Cells = [String; HEADINGS.len()];

/// All rows, aligned; below them what a cell has no room for.
pub(crate) fn table(rows: &[Row]) -> String {
    let measured: Vec<&Row> = rows.iter().filter(|row| row.unavailable().is_none()).collect();
    let cells: Vec<Cells> = measured.iter().map(|row| cells(row)).collect();
    let mut widths = HEADINGS.map(|heading| heading.chars().count());
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = line(&HEADINGS.map(str::to_owned), &widths);
    cells.iter().for_each(|row| text.push_str(&line(row, &widths)));
    text.push('\n');
    for row in rows {
        let what = row.spec.what;
        match row.unavailable() {
            Some(reason) => text.push_str(&format!("{}: {what}\n    unavailable: {reason}\n", row.spec.id)),
            None => text.push_str(&format!("{}: {what}\n", row.spec.id)),
        }
        if let Some((_, limit)) = row.spec.floor.filter(|_| row.unavailable().is_none()) {
            text.push_str(&format!("    limit: {limit}\n"));
        }
        if let Some(note) = row.note().filter(|_| row.unavailable().is_none()) {
            text.push_str(&format!("    {note}\n"));
        }
    }
    text
}

fn cells(row: &Row) -> Cells {
    let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
    let goal = match (row.goal(), row.is_met()) {
        (Some(goal), Some(true)) => format!("{goal}: met"),
        (Some(goal), Some(false)) => format!("{goal}: MISSED"),
        (Some(goal), None) => format!("{goal}: not judged"),
        (None, _) => "-".to_owned(),
    };
    let peer = row.best_peer().map_or_else(|| "-".to_owned(), |(side, figure)| format!("{} {side}", short(figure)));
    [
        row.spec.id.to_owned(),
        row.unit().map(|unit| unit.to_string()).unwrap_or_default(),
        number(row.figure()),
        number(row.percentile(0.5)),
        number(row.percentile(0.99)),
        number(row.percentile(1.0)),
        peer,
        number(row.ratio()),
        number(row.floor()),
        number(row.over_floor()),
        goal,
    ]
}

fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{:.2}", rounded(value)),
    }
}

fn line(cells: &Cells, widths: &[usize; HEADINGS.len()]) -> String {
    let mut text = String::new();
    for ((cell, width), is_right) in cells.iter().zip(widths).zip(IS_RIGHT) {
        let blank = " ".repeat(width - cell.chars().count());
        let cell = if is_right { format!("{blank}{cell}  ") } else { format!("{cell}{blank}  ") };
        text.push_str(&cell);
    }
    format!("{}\n", text.trim_end())
}
