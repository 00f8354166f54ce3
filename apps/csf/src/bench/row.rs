//! A row of a bench: what is asked for, what came out, whether the goal is met; and its JSON.

use std::fmt;

use serde_json::{Value, json};

use super::experiment::Samples;
use super::stats::{median, percentile, rounded};

/// What a row is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds; less is better.
    Ns,
    /// Millions of messages per second; more is better.
    MessagesPerUs,
    /// Bytes written for one message; less is better.
    Bytes,
    /// Share of all cores, percent; less is better.
    Percent,
}

impl Unit {
    pub(super) fn is_more_better(self) -> bool {
        self == Self::MessagesPerUs
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ns => "ns",
            Self::MessagesPerUs => "M/s",
            Self::Bytes => "B",
            Self::Percent => "%",
        })
    }
}

/// One side of a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    Below(f64),
    Above(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::Below(limit) => value < limit,
            Self::Above(limit) => value > limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(limit) => write!(f, "<{limit}"),
            Self::Above(limit) => write!(f, ">{limit}"),
            Self::AtMost(limit) => write!(f, "<={limit}"),
        }
    }
}

/// What a row must reach: a figure of its own, or a ratio to its peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Goal {
    Value(Bound),
    Ratio(Bound),
}

impl Goal {
    fn text(self, unit: Unit) -> String {
        match self {
            Self::Value(bound) => format!("{bound} {unit}"),
            Self::Ratio(bound) => format!("{bound} of the peer"),
        }
    }
}

/// What a row asks for.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    /// `subject.detail`.
    pub(crate) id: &'static str,
    /// In words.
    pub(crate) what: &'static str,
    pub(super) unit: Option<Unit>,
    /// Our side, or why nothing here can be measured.
    pub(super) source: Result<&'static str, &'static str>,
    pub(super) peers: Vec<&'static str>,
    /// The side of the physical limit, and what it is.
    pub(super) floor: Option<(&'static str, &'static str)>,
    pub(super) goal: Option<Goal>,
    /// Which share of a round's samples the figure bounds; 0.5 is the median.
    pub(super) share: f64,
    pub(super) note: Option<&'static str>,
}

impl Spec {
    pub(super) fn new(id: &'static str, what: &'static str, unit: Unit, ours: &'static str) -> Self {
        let (peers, source) = (Vec::new(), Ok(ours));
        Self { id, what, unit: Some(unit), source, peers, floor: None, goal: None, share: 0.5, note: None }
    }

    /// A row that nothing in the binary serves.
    pub(super) fn unavailable(id: &'static str, what: &'static str, reason: &'static str) -> Self {
        Self { unit: None, source: Err(reason), ..Self::new(id, what, Unit::Ns, "") }
    }

    pub(super) fn peers(self, sides: &[&'static str]) -> Self {
        Self { peers: sides.to_vec(), ..self }
    }

    pub(super) fn floor(self, side: &'static str, what: &'static str) -> Self {
        Self { floor: Some((side, what)), ..self }
    }

    pub(super) fn goal(self, goal: Goal) -> Self {
        Self { goal: Some(goal), ..self }
    }

    pub(super) fn share(self, share: f64) -> Self {
        Self { share, ..self }
    }

    pub(super) fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }
}

/// One side's rounds.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(super) side: &'static str,
    pub(super) rounds: Vec<Samples>,
}

impl Measured {
    /// The figure of each round.
    fn figures(&self, share: f64) -> Vec<f64> {
        let of = |round: &Samples| if share == 0.5 { median(round) } else { percentile(round, share) };
        self.rounds.iter().filter_map(of).collect()
    }

    /// The median of the rounds' figures.
    fn figure(&self, share: f64) -> Option<f64> {
        median(&self.figures(share))
    }
}

/// A finished row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) spec: Spec,
    pub(super) ours: Result<Measured, String>,
    /// Those that have figures, the best first.
    pub(super) peers: Vec<Measured>,
    peers_unavailable: Vec<String>,
    pub(super) floor: Option<Result<Measured, String>>,
}

impl Row {
    /// Ranks the peers.
    pub(super) fn new(
        spec: Spec,
        ours: Result<Measured, String>,
        mut peers: Vec<Measured>,
        peers_unavailable: impl Iterator<Item = String>,
        floor: Option<Result<Measured, String>>,
    ) -> Self {
        let sign = if spec.unit.is_some_and(Unit::is_more_better) { -1.0 } else { 1.0 };
        let rank = |side: &Measured| side.figure(spec.share).map_or(f64::INFINITY, |figure| sign * figure);
        peers.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        Self { spec, ours, peers, peers_unavailable: peers_unavailable.collect(), floor }
    }

    /// Our figure.
    pub(crate) fn figure(&self) -> Option<f64> {
        self.ours.as_ref().ok()?.figure(self.spec.share)
    }

    /// Why there is none.
    pub(crate) fn unavailable(&self) -> Option<&str> {
        self.ours.as_ref().err().map(String::as_str)
    }

    /// Unit of its figures.
    pub(crate) fn unit(&self) -> Option<Unit> {
        self.spec.unit
    }

    pub(super) fn note(&self) -> Option<&'static str> {
        self.spec.note
    }

    /// The best peer and its figure.
    pub(super) fn best_peer(&self) -> Option<(&'static str, f64)> {
        let peer = self.peers.first()?;
        Some((peer.side, peer.figure(self.spec.share)?))
    }

    /// Ours over theirs.
    pub(super) fn ratio(&self) -> Option<f64> {
        Some(self.figure()? / self.best_peer()?.1)
    }

    /// The physical limit here.
    pub(super) fn floor(&self) -> Option<f64> {
        self.floor.as_ref()?.as_ref().ok()?.figure(0.5)
    }

    /// How far from the physical limit we are; 1 is at it, whichever way is better.
    pub(super) fn over_floor(&self) -> Option<f64> {
        let (ours, floor) = (self.figure()?, self.floor()?);
        let is_more_better = self.spec.unit?.is_more_better();
        Some(if is_more_better { floor / ours } else { ours / floor }).filter(|ratio| ratio.is_finite())
    }

    /// Whether the goal is met; `None` without a goal or without what it is judged by.
    pub(super) fn is_met(&self) -> Option<bool> {
        match self.spec.goal? {
            Goal::Value(bound) => Some(bound.holds(self.figure()?)),
            Goal::Ratio(bound) => Some(bound.holds(self.ratio()?)),
        }
    }

    pub(super) fn goal(&self) -> Option<String> {
        Some(self.spec.goal?.text(self.spec.unit?))
    }

    /// The share of all our samples that a figure bounds.
    pub(super) fn percentile(&self, share: f64) -> Option<f64> {
        percentile(&self.ours.as_ref().ok()?.rounds.concat(), share)
    }

    /// One object.
    pub(crate) fn json(&self) -> Value {
        let mut row = json!({ "id": self.spec.id, "what": self.spec.what, "unit": self.unit().map(|u| u.to_string()) });
        let ours = match &self.ours {
            Ok(ours) => ours,
            Err(reason) => {
                row["unavailable"] = json!(reason);
                return row;
            }
        };
        let rounds = ours.figures(self.spec.share);
        let ends = [percentile(&rounds, 0.0), percentile(&rounds, 1.0)];
        row["ours"] = number(self.figure());
        row["peer"] = json!(self.best_peer().map(|(side, _)| side));
        row["theirs"] = number(self.best_peer().map(|(_, figure)| figure));
        row["ratio"] = number(self.ratio());
        row["goal"] = json!(self.goal());
        row["met"] = json!(self.is_met());
        row["runs"] = json!(rounds.len());
        row["spread"] = json!(ends.map(number));
        row["floor"] = number(self.floor());
        row["floor_what"] = json!(self.spec.floor.map(|(_, what)| what));
        row["over_floor"] = number(self.over_floor());
        row["figure"] = json!(if self.spec.share == 0.5 { "p50" } else { "p99" });
        row["samples"] = json!(ours.rounds.iter().map(Vec::len).sum::<usize>());
        for (name, share) in [("min", 0.0), ("p1", 0.01), ("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
            row[name] = number(self.percentile(share));
        }
        if self.peers.len() > 1 {
            let others =
                self.peers[1..].iter().map(|peer| (peer.side.to_owned(), number(peer.figure(self.spec.share))));
            row["other_peers"] = Value::Object(others.collect());
        }
        if !self.peers_unavailable.is_empty() {
            row["peer_unavailable"] = json!(self.peers_unavailable.join("; "));
        }
        if let Some(Err(reason)) = &self.floor {
            row["floor_unavailable"] = json!(reason);
        }
        if let Some(note) = self.spec.note {
            row["note"] = json!(note);
        }
        row
    }

    /// Every sample of every side: side, round, values.
    pub(super) fn sides(&self) -> impl Iterator<Item = (&'static str, usize, &Samples)> {
        let floor = self.floor.as_ref().and_then(|floor| floor.as_ref().ok());
        let sides = self.ours.as_ref().ok().into_iter().chain(&self.peers).chain(floor);
        sides.flat_map(|side| side.rounds.iter().enumerate().map(|(round, samples)| (side.side, round, samples)))
    }
}

fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!(rounded(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(side: &'static str, rounds: &[&[f64]]) -> Measured {
        Measured { side, rounds: rounds.iter().map(|round| round.to_vec()).collect() }
    }

    fn row(unit: Unit, goal: Goal) -> Row {
        let spec = Spec::new("a.b", "a test", unit, "ours").peers(&["p", "q"]).floor("f", "a limit").goal(goal);
        let ours = Ok(side("ours", &[&[90.0, 100.0, 400.0], &[110.0]]));
        let peers = vec![side("p", &[&[210.0]]), side("q", &[&[105.0]])];
        Row::new(spec, ours, peers, std::iter::empty(), Some(Ok(side("f", &[&[21.0]]))))
    }

    #[test]
    fn the_best_peer_has_the_least_latency_and_the_greatest_throughput() {
        let latency = row(Unit::Ns, Goal::Ratio(Bound::AtMost(1.0)));
        assert_eq!(
            (latency.figure(), latency.best_peer(), latency.is_met()),
            (Some(105.0), Some(("q", 105.0)), Some(true))
        );
        assert_eq!(latency.over_floor(), Some(5.0));
        let rate = row(Unit::MessagesPerUs, Goal::Ratio(Bound::Above(0.5)));
        assert_eq!((rate.best_peer(), rate.ratio(), rate.is_met()), (Some(("p", 210.0)), Some(0.5), Some(false)));
        assert_eq!(rate.over_floor(), Some(0.2));
    }

    #[test]
    fn a_row_says_first_what_others_script_against_and_its_distribution() {
        let json = row(Unit::Ns, Goal::Value(Bound::Below(105.0))).json();
        for (key, value) in
            [("ours", 105.0), ("theirs", 105.0), ("min", 90.0), ("p50", 100.0), ("max", 400.0), ("floor", 21.0)]
        {
            assert_eq!(json[key], value, "{key}");
        }
        assert_eq!((&json["met"], &json["goal"], &json["samples"]), (&false.into(), &"<105 ns".into(), &4.into()));
        assert_eq!((&json["spread"], &json["other_peers"]["p"]), (&json!([100.0, 110.0]), &210.0.into()));
    }
}
