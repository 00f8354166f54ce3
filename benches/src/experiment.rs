//! An experiment: sides that are run in turn, round after round, and the rows that compare them.
//!
//! All sides of a row live in one experiment, so that a disturbance of the machine hits them alike; each round starts with another
//! side. Only the sides that a wanted row needs are run.

use std::collections::{BTreeMap, BTreeSet};

use crate::load::{Effort, Missing};
use crate::machine::label;
use crate::row::{Measured, Row, Spec};
use crate::stats::{Figures, Metric, median};

type Run = Box<dyn Fn(Effort) -> Result<Figures, Missing>>;

/// Something that can be measured.
pub struct Side {
    key: String,
    label: String,
    run: Run,
}

impl Side {
    /// What rows call it.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// A side called `key`, which is `package` or `package/mode`; its label has the package's version.
    pub fn new(key: &str, run: impl Fn(Effort) -> Result<Figures, Missing> + 'static) -> Self {
        Self { key: key.to_owned(), label: label(key), run: Box::new(run) }
    }
}

/// Sides and rows that belong together.
pub struct Experiment {
    name: &'static str,
    sides: Vec<Side>,
    specs: Vec<Spec>,
    slices: u32,
}

impl Experiment {
    /// # Panics
    /// When a row names a side that is not there: a fault of the bench.
    pub fn new(name: &'static str, sides: Vec<Side>, specs: Vec<Spec>) -> Self {
        for spec in &specs {
            for key in spec.sides() {
                assert!(sides.iter().any(|side| side.key == key), "{name}: row {} names no side {key}", spec.id);
            }
        }
        Self { name, sides, specs, slices: 1 }
    }

    /// Cuts each round into so many, with as much less work in each: for differences smaller than the machine's drift.
    pub fn in_slices(self, slices: u32) -> Self {
        Self { slices, ..self }
    }

    /// What rows it has.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Measures the rows that are `wanted`; nothing when there are none.
    pub fn run(&self, wanted: &BTreeSet<String>, rounds: u32, effort: Effort) -> Vec<Row> {
        let (rounds, effort) = (rounds * self.slices, Effort(effort.0 / f64::from(self.slices)));
        let specs: Vec<&Spec> = self.specs.iter().filter(|spec| wanted.contains(&spec.id)).collect();
        let needed: BTreeSet<&str> = specs.iter().flat_map(|spec| spec.sides()).collect();
        let sides: Vec<&Side> = self.sides.iter().filter(|side| needed.contains(side.key.as_str())).collect();
        let mut results: BTreeMap<&str, Result<Vec<Figures>, String>> =
            sides.iter().map(|side| (side.key.as_str(), Ok(Vec::new()))).collect();
        if !sides.is_empty() {
            eprintln!("{}: {} sides, {rounds} rounds", self.name, sides.len());
        }
        for round in 0..rounds as usize {
            for turn in 0..sides.len() {
                let side = sides[(turn + round) % sides.len()];
                let Some(Ok(figures)) = results.get_mut(side.key.as_str()) else { continue };
                match (side.run)(effort) {
                    Ok(round) => figures.push(round),
                    Err(Missing(reason)) => {
                        eprintln!("{}: {reason}", side.label);
                        results.insert(&side.key, Err(reason));
                    }
                }
            }
        }
        specs.into_iter().map(|spec| self.row(spec, &results)).collect()
    }

    fn row(&self, spec: &Spec, results: &BTreeMap<&str, Result<Vec<Figures>, String>>) -> Row {
        let of = |key: &str| -> Result<Measured, String> {
            let label = self.sides.iter().find(|side| side.key == key).map_or(key, |side| &side.label);
            match results.get(key) {
                Some(Ok(rounds)) => measured(label, rounds, spec.metric),
                Some(Err(reason)) => Err(format!("{label}: {reason}")),
                None => Err(format!("{label} was not run")),
            }
        };
        let (theirs, failed): (Vec<_>, Vec<_>) = spec.peers.iter().map(|key| of(key)).partition(Result::is_ok);
        let floor = spec.floor.as_deref().and_then(|key| median(&of(key).ok()?.rounds));
        let unavailable = failed.into_iter().filter_map(Result::err).collect();
        Row::new(spec.clone(), of(&spec.ours), theirs.into_iter().flatten().collect(), unavailable, floor)
    }
}

fn measured(label: &str, rounds: &[Figures], metric: Metric) -> Result<Measured, String> {
    let of = |metric: Metric| -> Vec<f64> { rounds.iter().filter_map(|round| round.get(&metric).copied()).collect() };
    let compared = of(metric);
    if compared.is_empty() {
        return Err(format!("{label}: no {}", metric.name()));
    }
    let metrics: BTreeSet<Metric> = rounds.iter().flat_map(|round| round.keys().copied()).collect();
    let detail = metrics.into_iter().filter_map(|metric| Some((metric, median(&of(metric))?))).collect();
    Ok(Measured { label: label.to_owned(), rounds: compared, detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_cannot_be_had_is_named_and_the_others_are_compared() {
        let figure = |value: f64| move |_| Ok(Figures::from([(Metric::P50, value)]));
        let sides = vec![
            Side::new("csf-bus", figure(10.0)),
            Side::new("rtrb", figure(5.0)),
            Side::new("kanal", |_| Err(Missing("is not here".to_owned()))),
        ];
        let spec = Spec::new("G0", "a test", Metric::P50, "csf-bus").peers(&["rtrb", "kanal"]);
        let experiment = Experiment::new("test", sides, vec![spec]);
        let rows = experiment.run(&BTreeSet::from(["G0".to_owned()]), 3, Effort(1.0));
        let json = rows[0].json();
        assert_eq!((&json["peer"], &json["ratio"], &json["runs"]), (&"rtrb 0.4.1".into(), &2.0.into(), &3.into()));
        assert_eq!(json["peer_unavailable"], "kanal 0.1.1: is not here");
    }
}
