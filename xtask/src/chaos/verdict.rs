//! What an experiment supposed, did and counted.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Checks that are known not to hold, each with its reason. They stay `held: false`; the step of `cargo xtask test` does not fail for them
/// alone, and says so when one of them holds.
const KNOWN: [(&str, &str); 2] = [
    (
        "a request damaged in any bit is refused",
        "HTTP without TLS has no check of a body's content, and the API asks for none (RFC 9530 has one)",
    ),
    (
        "a full bus is answered as exhaustion",
        "the API takes every refusal of the publisher for a payload that does not fit, and answers 422 CSF-0305",
    ),
];

/// One experiment's claim and what came of it.
pub(super) struct Verdict {
    name: &'static str,
    hypothesis: &'static str,
    faults: Vec<Injected>,
    acknowledged: u64,
    lost: u64,
    counted: Map<String, Value>,
    held: Vec<&'static str>,
    broken: Vec<(&'static str, String)>,
    skipped: Vec<String>,
}

/// A fault, and how long after its end everything was served again.
struct Injected {
    fault: String,
    recovery: Option<Duration>,
}

impl Verdict {
    pub(super) fn new(name: &'static str, hypothesis: &'static str) -> Self {
        Self {
            name,
            hypothesis,
            faults: Vec::new(),
            acknowledged: 0,
            lost: 0,
            counted: Map::new(),
            held: Vec::new(),
            broken: Vec::new(),
            skipped: Vec::new(),
        }
    }

    /// Notes a part of the claim; `said` is asked for only where it does not hold.
    pub(super) fn check(&mut self, name: &'static str, is_held: bool, said: impl FnOnce() -> String) {
        if is_held {
            self.held.push(name);
        } else {
            self.broken.push((name, said()));
        }
    }

    /// Notes a fault and how long recovery took, `None` when there was none in time.
    pub(super) fn recovered(&mut self, fault: impl Into<String>, recovery: Option<Duration>) {
        let fault = fault.into();
        self.check("recovers", recovery.is_some(), || format!("not served again after `{fault}`"));
        self.faults.push(Injected { fault, recovery });
    }

    pub(super) fn count(&mut self, name: &str, value: impl Into<Value>) {
        self.counted.insert(name.to_owned(), value.into());
    }

    /// Adds to a count of before.
    pub(super) fn add(&mut self, name: &str, more: u64) {
        let before = self.counted.get(name).and_then(Value::as_u64).unwrap_or(0);
        self.count(name, before + more);
    }

    pub(super) fn skip(&mut self, what: &str, reason: &str) {
        println!("skipped: {what}: {reason}");
        self.skipped.push(format!("{what}: {reason}"));
    }

    /// Adds acknowledged packets and how many of them the journal does not hold.
    pub(super) fn ledger(&mut self, acknowledged: usize, lost: &[String]) {
        self.acknowledged += acknowledged as u64;
        self.lost += lost.len() as u64;
        self.check("nothing acknowledged is lost", lost.is_empty(), || {
            format!("{} lost: {}", lost.len(), lost.iter().take(5).cloned().collect::<Vec<_>>().join(", "))
        });
    }

    pub(super) fn is_held(&self) -> bool {
        self.broken.is_empty()
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped.len() as u64
    }

    /// What does not hold and is not known.
    pub(super) fn surprises(&self) -> Vec<String> {
        let is_known = |name: &str| KNOWN.iter().any(|(known, _)| *known == name);
        self.broken.iter().filter(|(name, _)| !is_known(name)).map(|(name, said)| format!("{name}: {said}")).collect()
    }

    /// Known findings that hold after all: their line in `KNOWN` is out of date.
    pub(super) fn outdated(&self) -> Vec<&'static str> {
        let is_broken = |name: &str| self.broken.iter().any(|(broken, _)| *broken == name);
        KNOWN.iter().map(|(name, _)| *name).filter(|name| self.held.contains(name) && !is_broken(name)).collect()
    }

    fn recoveries_ms(&self) -> Vec<f64> {
        let mut all: Vec<f64> = self
            .faults
            .iter()
            .filter_map(|f| Some(f.recovery?.as_secs_f64() * 1e3))
            .map(|ms| (ms * 10.0).round() / 10.0)
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    pub(super) fn json(&self) -> Value {
        let each: Vec<Value> = self
            .faults
            .iter()
            .map(|f| json!({ "fault": f.fault, "recovery_ms": f.recovery.map(|r| (r.as_secs_f64() * 1e4).round() / 10.0) }))
            .collect();
        let reason = |name: &str| KNOWN.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason);
        let broken: Vec<Value> = self
            .broken
            .iter()
            .map(|(name, said)| json!({ "check": name, "said": said, "known": reason(name) }))
            .collect();
        let recoveries = self.recoveries_ms();
        let fault = self.faults.iter().map(|f| f.fault.as_str()).collect::<Vec<_>>().join("; ");
        json!({
            "experiment": self.name, "hypothesis": self.hypothesis, "fault": fault, "faults": each,
            "recovery_ms": recoveries.last(), "recovery_p50_ms": middle(&recoveries), "acknowledged": self.acknowledged,
            "lost": self.lost, "held": self.is_held(), "counted": self.counted, "broken": broken, "skipped": self.skipped,
        })
    }

    /// The same for people.
    pub(super) fn print(&self) {
        println!("\n{}\n  hypothesis    {}", self.name, self.hypothesis);
        for fault in &self.faults {
            let recovery =
                fault.recovery.map_or_else(|| "none".to_owned(), |r| format!("{:.1} ms", r.as_secs_f64() * 1e3));
            println!("  {:<62} recovery {recovery:>10}", fault.fault);
        }
        let recoveries = self.recoveries_ms();
        if let (Some(p50), Some(most)) = (middle(&recoveries), recoveries.last()) {
            println!("  recovery      p50 {p50:.1} ms, max {most:.1} ms, of {}", recoveries.len());
        }
        println!("  acknowledged  {}, lost {}", self.acknowledged, self.lost);
        for (name, value) in &self.counted {
            println!("  {name:<30} {value}");
        }
        for (name, said) in &self.broken {
            let known = KNOWN
                .iter()
                .find(|(known, _)| known == name)
                .map_or(String::new(), |(_, why)| format!(" (known: {why})"));
            println!("  BROKEN        {name}: {said}{known}");
        }
        println!("  held          {}", self.is_held());
    }
}

fn middle(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}
