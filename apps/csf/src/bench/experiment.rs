//! Sides that are measured together, in rounds: each round runs every side once, and begins with another one.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::Duration;

use super::row::{Measured, Row, Spec};

/// A load that takes longer hangs, and ends the bench.
const PATIENCE: Duration = Duration::from_secs(120);

/// How much work a load does; 1 is a full round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort(pub(crate) f64);

impl Effort {
    /// `full` scaled, at least `least`.
    pub(super) fn of(self, full: u64, least: u64) -> u64 {
        ((full as f64 * self.0) as u64).max(least)
    }
}

/// What one round of one side gave, in the row's unit.
pub(super) type Samples = Vec<f64>;

/// Samples of every side of a load, or why there are none.
type Outcome = Result<Vec<Samples>, String>;

/// Something to run; it may measure several sides at once.
pub(super) struct Load {
    /// Who is measured, in the order of the samples.
    sides: Vec<&'static str>,
    run: Box<dyn Fn(Effort) -> Outcome>,
}

impl Load {
    /// One side.
    pub(super) fn new(side: &'static str, run: impl Fn(Effort) -> Result<Samples, String> + 'static) -> Self {
        Self { sides: vec![side], run: Box::new(move |effort| Ok(vec![run(effort)?])) }
    }

    /// Several sides, measured in the same seconds.
    pub(super) fn together(sides: &[&'static str], run: impl Fn(Effort) -> Outcome + 'static) -> Self {
        Self { sides: sides.to_vec(), run: Box::new(run) }
    }
}

/// Rows that are measured together.
pub(crate) struct Experiment {
    name: &'static str,
    loads: Vec<Load>,
    specs: Vec<Spec>,
}

impl Experiment {
    pub(super) fn new(name: &'static str, loads: Vec<Load>, specs: Vec<Spec>) -> Self {
        Self { name, loads, specs }
    }

    /// What rows it has.
    pub(crate) fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Runs all rounds; says on stderr what it does.
    pub(crate) fn run(&self, rounds: u32, effort: Effort) -> Vec<Row> {
        let mut results: BTreeMap<&str, Result<Vec<Samples>, String>> = BTreeMap::new();
        if !self.loads.is_empty() {
            let sides: Vec<&str> = self.loads.iter().flat_map(|load| load.sides.iter().copied()).collect();
            eprintln!("{}: {rounds} rounds of {}", self.name, sides.join(", "));
        }
        for round in 0..rounds as usize {
            for turn in 0..self.loads.len() {
                let load = &self.loads[(turn + round) % self.loads.len()];
                let outcome = watched(self.name, || (load.run)(effort));
                for (index, side) in load.sides.iter().enumerate() {
                    let rounds = results.entry(side).or_insert_with(|| Ok(Vec::new()));
                    match (&outcome, rounds.as_mut()) {
                        (Ok(samples), Ok(rounds)) => rounds.push(samples[index].clone()),
                        (Err(reason), Ok(_)) => *rounds = Err(reason.clone()),
                        (_, Err(_)) => {}
                    }
                }
            }
        }
        self.specs.iter().map(|spec| row(spec, &results)).collect()
    }
}

fn row(spec: &Spec, results: &BTreeMap<&str, Result<Vec<Samples>, String>>) -> Row {
    let of = |side: &'static str| match results.get(side) {
        Some(Ok(rounds)) if rounds.iter().any(|round| !round.is_empty()) => {
            Ok(Measured { side, rounds: rounds.clone() })
        }
        Some(Ok(_)) => Err(format!("{side} gave no sample")),
        Some(Err(reason)) => Err(format!("{side}: {reason}")),
        None => Err(format!("{side} was not run")),
    };
    let ours = match spec.source {
        Ok(side) => of(side),
        Err(reason) => Err(reason.to_owned()),
    };
    let (peers, failed): (Vec<_>, Vec<_>) = spec.peers.iter().map(|side| of(side)).partition(Result::is_ok);
    let floor = spec.floor.map(|(side, _)| of(side));
    Row::new(
        spec.clone(),
        ours,
        peers.into_iter().flatten().collect(),
        failed.into_iter().filter_map(Result::err),
        floor,
    )
}

/// Runs `work`; when it does not end in time, which only a fault of a load can cause, the process does.
fn watched<R>(name: &'static str, work: impl FnOnce() -> R) -> R {
    let (done, ends) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ends.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!(
                "error: {name} did not end within {} s; this is a fault of the bus or of the bench",
                PATIENCE.as_secs()
            );
            std::process::exit(1);
        }
    });
    let result = work();
    drop(done);
    result
}

#[cfg(test)]
mod tests {
    use super::super::row::{Bound, Goal, Unit};
    use super::*;

    #[test]
    fn a_side_without_samples_is_unavailable_with_its_reason_and_the_others_are_compared() {
        let loads = vec![
            Load::new("ours", |_| Ok(vec![20.0, 10.0, 30.0])),
            Load::new("peer", |_| Ok(vec![5.0])),
            Load::new("absent", |_| Err("is not here".to_owned())),
        ];
        let spec = |id, side| Spec::new(id, "a test", Unit::Ns, side).peers(&["peer", "absent"]);
        let specs = vec![spec("a", "ours").goal(Goal::Value(Bound::Below(21.0))), spec("b", "absent")];
        let rows = Experiment::new("test", loads, specs).run(3, Effort(1.0));
        let (a, b) = (rows[0].json(), rows[1].json());
        assert_eq!(
            (&a["ours"], &a["ratio"], &a["runs"], &a["samples"]),
            (&20.0.into(), &4.0.into(), &3.into(), &9.into())
        );
        assert_eq!((&a["met"], &a["peer_unavailable"]), (&true.into(), &"absent: is not here".into()));
        assert_eq!(b["unavailable"], "absent: is not here");
        assert!(b.get("ours").is_none() && b.get("met").is_none());
    }

    #[test]
    fn each_round_begins_with_another_side() {
        let (told, order) = mpsc::channel();
        let load = |side: &'static str| {
            let told = told.clone();
            Load::new(side, move |_| told.send(side).map(|()| vec![1.0]).map_err(|e| e.to_string()))
        };
        Experiment::new("test", vec![load("a"), load("b")], Vec::new()).run(2, Effort(1.0));
        assert_eq!(order.try_iter().collect::<Vec<_>>(), ["a", "b", "b", "a"]);
    }
}
