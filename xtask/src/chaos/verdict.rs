//! What an experiment supposed, did and counted.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// Checks that are known not to hold, each with its reason. They stay `held: false`; the step of `cargo xtask test` does not fail for them
/// alone, and says so when one of them holds.
const KNOWN: [(&str, &str); 1] = [(
    "a request damaged in any bit is refused",
    "HTTP without TLS has no check of a body's content, and the API asks for none (RFC 9530 has one)",
)];

/// One experiment's claim and what came of it.
pub(super) struct Verdict {
    name: &'static str,
    hypothesis: &'static str,
    faults: Vec<Injected>,
    acknowledged: u64,
    lost: u64,
    counted: Map<String, Value>,
    held: Vec<&'static str>,
    broken: Vec<Broken>,
    skipped: Vec<String>,
}

/// A fault, and how long after its end everything was served again.
struct Injected {
    fault: String,
    recovery: Option<Duration>,
}

/// A check that did not hold: what was said the first time, and how often.
struct Broken {
    name: &'static str,
    said: String,
    times: u64,
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
        } else if let Some(broken) = self.broken.iter_mut().find(|broken| broken.name == name) {
            broken.times += 1;
        } else {
            self.broken.push(Broken { name, said: said(), times: 1 });
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
        eprintln!("skipped: {what}: {reason}");
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
        let unknown = self.broken.iter().filter(|broken| known(broken.name).is_none());
        unknown.map(|broken| format!("{}: {}", broken.name, broken.said)).collect()
    }

    /// Known findings that held after all: their line in `KNOWN` is out of date, or chance was kind.
    pub(super) fn outdated(&self) -> Vec<&'static str> {
        let is_broken = |name: &str| self.broken.iter().any(|broken| broken.name == name);
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
        let broken: Vec<Value> = self
            .broken
            .iter()
            .map(|b| json!({ "check": b.name, "said": b.said, "times": b.times, "known": known(b.name) }))
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
        for Broken { name, said, times } in &self.broken {
            let known = known(name).map_or(String::new(), |why| format!(" (known: {why})"));
            println!("  BROKEN {times}x     {name}: {said}{known}");
        }
        println!("  held          {}", self.is_held());
    }
}

fn known(name: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason)
}

fn middle(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_hold_is_told_and_only_what_is_not_known_surprises() {
        let (known, _) = KNOWN[0];
        let mut verdict = Verdict::new("name", "claim");
        verdict.check("fine", true, String::new);
        assert!(verdict.is_held() && verdict.surprises().is_empty());
        verdict.check(known, false, || "as ever".to_owned());
        assert!(!verdict.is_held() && verdict.surprises().is_empty(), "known, and still not held");
        verdict.check("new", false, || "once".to_owned());
        verdict.check("new", false, || "twice".to_owned());
        assert_eq!(verdict.surprises(), ["new: once"]);
        let json = verdict.json();
        assert_eq!((&json["held"], &json["broken"][1]["times"]), (&json!(false), &json!(2)));
        assert!(json["broken"][0]["known"].is_string() && json["broken"][1]["known"].is_null());
    }

    #[test]
    fn a_known_finding_that_held_every_time_is_named() {
        let (known, _) = KNOWN[0];
        let mut verdict = Verdict::new("name", "claim");
        verdict.check(known, true, String::new);
        assert_eq!(verdict.outdated(), [known]);
        verdict.check(known, false, String::new);
        assert!(verdict.outdated().is_empty());
    }

    #[test]
    fn recovery_is_the_longest_and_none_at_all_is_no_recovery() {
        let mut verdict = Verdict::new("name", "claim");
        for ms in [30, 10, 20] {
            verdict.recovered("cut", Some(Duration::from_millis(ms)));
        }
        let json = verdict.json();
        assert_eq!((&json["recovery_ms"], &json["recovery_p50_ms"]), (&json!(30.0), &json!(20.0)));
        verdict.recovered("cut", None);
        assert_eq!(verdict.surprises(), ["recovers: not served again after `cut`"]);
    }
}
