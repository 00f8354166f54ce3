//! A row of the result: what is asked for, what came out, whether the goal is met; and its JSON.
//!
//! A row compares medians over rounds: `ratio` is ours over theirs, whatever is better. A goal missed stays `met: false`.

use std::fmt;

use serde_json::{Value, json};

use crate::stats::{Metric, median, spread};

/// One side of a goal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(limit) => value <= limit,
            Self::AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "<={limit}"),
            Self::AtLeast(limit) => write!(f, ">={limit}"),
        }
    }
}

/// What a row must reach: a ratio to its peer, a figure of its own, or both.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Goal {
    ratio: Option<Bound>,
    value: Option<Bound>,
}

impl Goal {
    /// Ours over theirs.
    pub fn ratio(bound: Bound) -> Self {
        Self { ratio: Some(bound), value: None }
    }

    /// Our own figure.
    pub fn value(bound: Bound) -> Self {
        Self { ratio: None, value: Some(bound) }
    }

    /// Adds a bound of our own figure.
    pub fn and_value(self, bound: Bound) -> Self {
        Self { value: Some(bound), ..self }
    }

    /// `None` when there is no ratio to judge by.
    fn is_met(self, ours: f64, ratio: Option<f64>) -> Option<bool> {
        let by_ratio = match self.ratio {
            Some(bound) => bound.holds(ratio?),
            None => true,
        };
        Some(by_ratio && self.value.is_none_or(|bound| bound.holds(ours)))
    }

    /// For people and scripts.
    pub fn text(self, unit: &str) -> String {
        let ratio = self.ratio.map(|bound| bound.to_string());
        let value = self.value.map(|bound| format!("{bound} {unit}"));
        ratio.into_iter().chain(value).collect::<Vec<_>>().join(" and ")
    }
}

/// What a row asks for.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name in `--only`.
    pub id: String,
    /// In words.
    pub what: String,
    /// The figure compared.
    pub metric: Metric,
    /// Key of our side.
    pub ours: String,
    /// Keys of their sides; the best of them counts.
    pub peers: Vec<String>,
    /// Key of the floor's side.
    pub floor: Option<String>,
    /// What must hold.
    pub goal: Option<Goal>,
    /// What we would like to hold.
    pub beyond: Option<Goal>,
    /// What a reader must know to read it rightly.
    pub note: Option<&'static str>,
}

impl Spec {
    /// A row that stands alone.
    pub fn new(id: impl Into<String>, what: impl Into<String>, metric: Metric, ours: &str) -> Self {
        Self {
            id: id.into(),
            what: what.into(),
            metric,
            ours: ours.to_owned(),
            peers: Vec::new(),
            floor: None,
            goal: None,
            beyond: None,
            note: None,
        }
    }

    /// Beside the best of these.
    pub fn peers(mut self, keys: &[&str]) -> Self {
        self.peers = keys.iter().map(|key| (*key).to_owned()).collect();
        self
    }

    /// Above this floor.
    pub fn floor(mut self, key: &str) -> Self {
        self.floor = Some(key.to_owned());
        self
    }

    /// Must reach this.
    pub fn goal(mut self, goal: Goal) -> Self {
        self.goal = Some(goal);
        self
    }

    /// Should reach this.
    pub fn beyond(mut self, goal: Goal) -> Self {
        self.beyond = Some(goal);
        self
    }

    /// To be read with this in mind.
    pub fn note(self, note: &'static str) -> Self {
        Self { note: Some(note), ..self }
    }

    /// Keys of all sides it needs.
    pub fn sides(&self) -> impl Iterator<Item = &str> {
        [&self.ours].into_iter().chain(&self.peers).chain(&self.floor).map(String::as_str)
    }

    /// Unit of the figure.
    pub fn unit(&self) -> &'static str {
        match self.metric {
            Metric::Rate => "M/s",
            Metric::Bandwidth => "GB/s",
            Metric::PerSecond => "/s",
            Metric::Memory => "MB",
            Metric::Seconds => "s",
            Metric::Misses | Metric::FirstMisses => "misses",
            _ => "ns",
        }
    }
}

/// One side's rounds.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Name and version.
    pub label: String,
    /// The compared figure of each round.
    pub rounds: Vec<f64>,
    /// The medians of all its figures.
    pub detail: Vec<(Metric, f64)>,
}

impl Measured {
    /// The figure that counts.
    pub fn median(&self) -> Option<f64> {
        median(&self.rounds)
    }
}

/// A finished row.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was asked for.
    pub spec: Spec,
    /// Our side, or why it has no figure.
    pub ours: Result<Measured, String>,
    /// The best peer that has figures.
    pub theirs: Option<Measured>,
    /// The other peers that have.
    pub others: Vec<Measured>,
    /// Peers without figures, with the reason.
    pub peers_unavailable: Vec<String>,
    /// Median of the floor.
    pub floor: Option<f64>,
}

impl Row {
    /// Picks the best peer.
    pub fn new(
        spec: Spec,
        ours: Result<Measured, String>,
        theirs: Vec<Measured>,
        peers_unavailable: Vec<String>,
        floor: Option<f64>,
    ) -> Self {
        let is_more_better = spec.metric.is_more_better();
        let rank = |side: &Measured| side.median().map_or(f64::INFINITY, |m| if is_more_better { -m } else { m });
        let mut others = theirs;
        others.sort_by(|a, b| rank(a).total_cmp(&rank(b)));
        let theirs = (!others.is_empty()).then(|| others.remove(0));
        Self { spec, ours, theirs, others, peers_unavailable, floor }
    }

    /// Our figure.
    pub fn figure(&self) -> Option<f64> {
        self.ours.as_ref().ok().and_then(Measured::median)
    }

    /// Their figure.
    pub fn their_figure(&self) -> Option<f64> {
        self.theirs.as_ref().and_then(Measured::median)
    }

    /// Ours over theirs.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.figure()? / self.their_figure()?)
    }

    /// Whether the goal is met; `None` without a goal or without what it is judged by.
    pub fn is_met(&self) -> Option<bool> {
        self.spec.goal?.is_met(self.figure()?, self.ratio())
    }

    /// The same of what we would like.
    pub fn is_beyond(&self) -> Option<bool> {
        self.spec.beyond?.is_met(self.figure()?, self.ratio())
    }

    /// How far above the floor we are; 1 is at the floor, whichever way is better.
    pub fn over_floor(&self) -> Option<f64> {
        let (ours, floor) = (self.figure()?, self.floor?);
        Some(if self.spec.metric.is_more_better() { floor / ours } else { ours / floor })
    }

    /// What a missing figure is: an error, or a counter that this machine lacks.
    pub fn absence(&self) -> &'static str {
        if self.spec.metric.is_counted() { "unavailable" } else { "error" }
    }

    /// One object, the fields that others script against first.
    pub fn json(&self) -> Value {
        let spec = &self.spec;
        let mut row = json!({ "id": spec.id, "what": spec.what, "unit": spec.unit() });
        let ours = match &self.ours {
            Ok(ours) => ours,
            Err(reason) => {
                row[self.absence()] = json!(reason);
                return row;
            }
        };
        row["ours"] = number(self.figure());
        row["peer"] = json!(self.theirs.as_ref().map(|side| &side.label));
        row["theirs"] = number(self.their_figure());
        row["ratio"] = number(self.ratio());
        row["goal"] = json!(spec.goal.map(|goal| goal.text(spec.unit())));
        row["met"] = json!(self.is_met());
        row["beyond"] = json!(spec.beyond.map(|goal| goal.text(spec.unit())));
        row["beyond_met"] = json!(self.is_beyond());
        row["runs"] = json!(ours.rounds.len());
        row["spread"] = range(&ours.rounds);
        row["their_spread"] = self.theirs.as_ref().map_or(Value::Null, |side| range(&side.rounds));
        row["floor"] = number(self.floor);
        row["over_floor"] = number(self.over_floor());
        row["detail"] = json!({
            "ours": detail(ours),
            "theirs": self.theirs.as_ref().map(detail),
        });
        if !self.others.is_empty() {
            let others = self.others.iter().map(|side| (side.label.clone(), number(side.median())));
            row["other_peers"] = Value::Object(others.collect());
        }
        if let Some(note) = spec.note {
            row["note"] = json!(note);
        }
        if !self.peers_unavailable.is_empty() {
            row["peer_unavailable"] = json!(self.peers_unavailable.join("; "));
        }
        row
    }
}

fn detail(side: &Measured) -> Value {
    let figures = side.detail.iter().map(|(metric, value)| (metric.name().to_owned(), number(Some(*value))));
    Value::Object(figures.collect())
}

fn range(rounds: &[f64]) -> Value {
    spread(rounds).map_or(Value::Null, |[least, greatest]| json!([rounded(least), rounded(greatest)]))
}

fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, |value| json!(rounded(value)))
}

/// Four significant digits: more would be noise.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(3 - value.abs().log10().floor() as i32);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(label: &str, rounds: &[f64]) -> Measured {
        Measured { label: label.to_owned(), rounds: rounds.to_vec(), detail: Vec::new() }
    }

    fn row(metric: Metric, goal: Goal) -> Row {
        let spec = Spec::new("G0", "a test", metric, "ours").peers(&["a", "b"]).goal(goal);
        let ours = Ok(side("ours", &[110.0, 90.0, 100.0]));
        Row::new(spec, ours, vec![side("a", &[100.0]), side("b", &[50.0])], Vec::new(), Some(80.0))
    }

    #[test]
    fn the_best_peer_has_the_least_latency_and_the_most_throughput() {
        let latency = row(Metric::P50, Goal::ratio(Bound::AtMost(1.5)));
        assert_eq!((latency.ratio(), latency.is_met()), (Some(2.0), Some(false)));
        let rate = row(Metric::Rate, Goal::ratio(Bound::AtLeast(1.0)));
        assert_eq!((rate.ratio(), rate.is_met()), (Some(1.0), Some(true)));
    }

    #[test]
    fn a_goal_of_two_parts_needs_both() {
        let goal = Goal::ratio(Bound::AtMost(2.0)).and_value(Bound::AtMost(99.0));
        assert_eq!(row(Metric::Cost, goal).is_met(), Some(false));
        assert_eq!(goal.text("ns"), "<=2 and <=99 ns");
    }

    #[test]
    fn a_missing_measurement_is_an_error_and_no_number() {
        let spec = Spec::new("G0", "a test", Metric::P50, "ours");
        let json = Row::new(spec, Err("no end".to_owned()), Vec::new(), Vec::new(), None).json();
        assert_eq!(json["error"], "no end");
        assert!(json.get("ours").is_none());
        let counted = Spec::new("G0", "a test", Metric::Misses, "ours");
        let json = Row::new(counted, Err("no counter".to_owned()), Vec::new(), Vec::new(), None).json();
        assert_eq!(json["unavailable"], "no counter");
    }

    #[test]
    fn a_row_says_what_others_script_against() {
        let json = row(Metric::P50, Goal::ratio(Bound::AtMost(1.5))).json();
        let keys: Vec<&str> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        assert_eq!(keys[..9], ["id", "what", "unit", "ours", "peer", "theirs", "ratio", "goal", "met"]);
        assert_eq!((&json["runs"], &json["spread"]), (&json!(3), &json!([90.0, 110.0])));
        assert_eq!(json["over_floor"], json!(1.25));
    }
}
