//! What a machine has reached before, and how much worse it may get: the budget of FAB-101.
//!
//! A budget is a file of figures with the machine they were taken on. It judges that machine in that build and no other.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::machine::Identity;
use super::row::Row;

/// Figures of one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Budget {
    /// Where they were taken.
    machine: Identity,
    /// By row.
    rows: BTreeMap<String, Limit>,
}

/// How good a row was, and how much worse it may get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    /// The figure, in `unit`.
    ours: f64,
    /// `ns`, `M/s`, `B` or `%`.
    unit: String,
    /// Whether more is better.
    is_more_better: bool,
    /// Share of `ours` by which a figure may be worse; 0.25 allows a quarter.
    tolerance: f64,
}

impl Limit {
    /// The worst figure that is still within the budget.
    pub(crate) fn worst(&self) -> f64 {
        if self.is_more_better { self.ours / (1.0 + self.tolerance) } else { self.ours * (1.0 + self.tolerance) }
    }

    fn allows(&self, figure: f64) -> bool {
        if self.is_more_better { figure >= self.worst() } else { figure <= self.worst() }
    }
}

impl Budget {
    /// The budget that these rows set.
    pub(crate) fn of(machine: Identity, rows: &[Row], tolerance: f64) -> Self {
        let limit = |row: &Row| {
            let unit = row.unit()?;
            let (ours, is_more_better) = (row.figure()?, unit.is_more_better());
            Some((row.spec.id.to_owned(), Limit { ours, unit: unit.to_string(), is_more_better, tolerance }))
        };
        Self { machine, rows: rows.iter().filter_map(limit).collect() }
    }

    /// Reads a budget, and refuses one of another machine or build.
    ///
    /// # Errors
    /// In words: what is wrong with the file, or what differs.
    pub(crate) fn read(path: &Path, here: &Identity) -> Result<Self, String> {
        let place = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("the budget {place} cannot be read: {error}"))?;
        let budget: Self =
            serde_json::from_str(&text).map_err(|error| format!("{place} is no budget of `csf bench`: {error}"))?;
        if let Some((row, limit)) =
            budget.rows.iter().find(|(_, limit)| !(limit.tolerance >= 0.0 && limit.ours.is_finite()))
        {
            let tolerance = limit.tolerance;
            return Err(format!("{place}: `tolerance` of {row} is {tolerance}; it must be 0 or more, such as 0.25"));
        }
        let differences = budget.machine.differences(here);
        if differences.is_empty() {
            return Ok(budget);
        }
        Err(format!(
            "the budget {place} was taken elsewhere ({}) and says nothing about this machine; take one here with --save-budget",
            differences.join("; ")
        ))
    }

    /// Writes it.
    ///
    /// # Errors
    /// In words.
    pub(crate) fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        let place = path.display();
        std::fs::write(path, text + "\n").map_err(|error| format!("the budget cannot be written to {place}: {error}"))
    }

    /// Every row that got worse than it may, in words; a row that has no figure any more is one.
    pub(crate) fn regressions(&self, rows: &[Row]) -> Vec<String> {
        let regression = |(id, limit): (&String, &Limit)| {
            let (ours, unit, worst) = (limit.ours, &limit.unit, limit.worst());
            let row = rows.iter().find(|row| row.spec.id == id);
            let figure = match row.map(|row| (row.figure(), row.unavailable())) {
                Some((Some(figure), _)) if limit.allows(figure) => return None,
                Some((Some(figure), _)) => format!("{figure:.4} {unit}"),
                Some((None, reason)) => format!("unavailable ({})", reason.unwrap_or("no figure")),
                None => "not measured".to_owned(),
            };
            let percent = limit.tolerance * 100.0;
            let side = if limit.is_more_better { "at least" } else { "at most" };
            Some(format!(
                "{id} is {figure}; the budget has {ours:.4} {unit} and allows {side} {worst:.4} ({percent} % worse)"
            ))
        };
        self.rows.iter().filter_map(regression).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Measured, Spec, Unit};
    use super::*;

    fn rows(latency: f64, rate: f64) -> Vec<Row> {
        let row = |id, unit, figure| {
            let ours = Ok(Measured { side: "ours", rounds: vec![vec![figure]] });
            Row::new(Spec::new(id, "a test", unit, "ours"), ours, Vec::new(), std::iter::empty(), None)
        };
        vec![row("l", Unit::Ns, latency), row("r", Unit::MessagesPerUs, rate)]
    }

    fn identity() -> Identity {
        Identity { cpu: "c".to_owned(), cores: 2, architecture: "a".to_owned(), profile: "release".to_owned() }
    }

    #[test]
    fn a_row_may_be_worse_by_its_tolerance_and_no_more() {
        let budget = Budget::of(identity(), &rows(100.0, 50.0), 0.25);
        assert_eq!(budget.regressions(&rows(125.0, 40.0)), Vec::<String>::new());
        assert_eq!(budget.regressions(&rows(1.0, 5_000.0)), Vec::<String>::new());
        let worse = budget.regressions(&rows(125.1, 39.9));
        assert_eq!(worse[0], "l is 125.1000 ns; the budget has 100.0000 ns and allows at most 125.0000 (25 % worse)");
        assert_eq!(worse[1], "r is 39.9000 M/s; the budget has 50.0000 M/s and allows at least 40.0000 (25 % worse)");
    }

    #[test]
    fn a_row_that_has_no_figure_any_more_is_a_regression() {
        let budget = Budget::of(identity(), &rows(100.0, 50.0), 0.25);
        let gone = Row::new(
            Spec::unavailable("l", "a test", "it is gone"),
            Err("it is gone".to_owned()),
            Vec::new(),
            std::iter::empty(),
            None,
        );
        let worse = budget.regressions(&[gone]);
        assert!(
            worse[0].starts_with("l is unavailable (it is gone);") && worse[1].starts_with("r is not measured;"),
            "{worse:?}"
        );
    }
}
