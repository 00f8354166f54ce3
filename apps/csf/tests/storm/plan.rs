//! The configurations of the storm: a stable core, and parts that a seed adds, changes and removes.

use std::collections::BTreeMap;
use std::fmt::Write;

use csf_core::port::Rng;

/// Chains of the core: each a source, a relay of its numbers and a relay of that.
pub(crate) const CHAINS: u64 = 4;
/// Parts beside the core at most.
const EXTRAS: usize = 8;

/// A part that comes and goes.
#[derive(Clone, PartialEq)]
enum Extra {
    Source { rate_hz: u64 },
    Relay { reads: Vec<String>, tag: u64, at_most: u64, out: u64 },
}

/// A configuration.
#[derive(Clone, PartialEq)]
pub(crate) struct Plan {
    rate_hz: u64,
    tags: Vec<u64>,
    /// Whether the core's sources share a supervisor, and its budget.
    budget: Option<u64>,
    extras: BTreeMap<String, Extra>,
    made: u64,
}

impl Plan {
    /// The core alone, its sources at `rate_hz` in all.
    pub(crate) fn new(rate_hz: u64) -> Self {
        let tags = vec![0; CHAINS as usize];
        Self { rate_hz: rate_hz / CHAINS, tags, budget: None, extras: BTreeMap::new(), made: 0 }
    }

    /// Another valid configuration; never the same.
    pub(crate) fn change(&mut self, rng: &mut dyn Rng) {
        let names: Vec<String> = self.extras.keys().cloned().collect();
        let pick = below(rng, names.len().max(1) as u64) as usize;
        match below(rng, 10) {
            0 | 1 if names.len() < EXTRAS => self.add_relay(rng),
            2 if names.len() < EXTRAS => self.add_source(rng),
            3 | 4 if !names.is_empty() => self.remove(&names[pick]),
            5 | 6 => {
                let chain = below(rng, CHAINS) as usize;
                self.tags[chain] += 1;
            }
            7 | 8 if !names.is_empty() => self.alter(&names[pick], rng),
            _ => self.add_or_alter_tag(rng),
        }
    }

    fn add_or_alter_tag(&mut self, rng: &mut dyn Rng) {
        let chain = below(rng, CHAINS) as usize;
        self.tags[chain] += 1 + below(rng, 5);
    }

    fn add_relay(&mut self, rng: &mut dyn Rng) {
        self.made += 1;
        let relay =
            Extra::Relay { reads: some_topics(rng), tag: below(rng, 100), at_most: below(rng, 10), out: self.made };
        self.extras.insert(format!("extra{}", self.made), relay);
    }

    fn add_source(&mut self, rng: &mut dyn Rng) {
        self.made += 1;
        self.extras.insert(format!("side{}", self.made % 12), Extra::Source { rate_hz: 50 + below(rng, 200) });
    }

    fn remove(&mut self, name: &str) {
        self.extras.remove(name);
    }

    fn alter(&mut self, name: &str, rng: &mut dyn Rng) {
        self.made += 1;
        match self.extras.get_mut(name) {
            Some(Extra::Source { rate_hz }) => *rate_hz += 1 + below(rng, 50),
            Some(Extra::Relay { reads, tag, at_most, out }) => match below(rng, 4) {
                0 => *reads = other(reads, rng),
                1 => *tag += 1,
                2 => *at_most += 1,
                _ => *out = self.made,
            },
            None => {}
        }
    }

    /// As TOML.
    pub(crate) fn text(&self) -> String {
        let mut text = "[node]\nname = \"storm\"\n".to_owned();
        let mut add = |line: std::fmt::Arguments<'_>| writeln!(text, "{line}").expect("a string takes everything");
        for chain in 0..CHAINS {
            let (rate_hz, tag) = (self.rate_hz, self.tags[chain as usize]);
            add(format_args!("[source.source{chain}]\ntype = \"storm.source\"\nrate_hz = {rate_hz}"));
            add(format_args!("writes = {{ number = \"n{chain}\" }}"));
            add(format_args!("[component.first{chain}]\ntype = \"storm.relay\"\nreads = [\"n{chain}\"]"));
            add(format_args!("writes = {{ out = \"r{chain}\" }}\ntag = {tag}"));
            add(format_args!("[component.second{chain}]\ntype = \"storm.relay\"\nreads = [\"r{chain}\"]"));
            add(format_args!("writes = {{ out = \"s{chain}\" }}"));
        }
        for (name, extra) in &self.extras {
            match extra {
                Extra::Source { rate_hz } => {
                    add(format_args!("[source.{name}]\ntype = \"storm.source\"\nrate_hz = {rate_hz}"));
                    add(format_args!("writes = {{ number = \"{name}\" }}"));
                }
                Extra::Relay { reads, tag, at_most, out } => {
                    add(format_args!("[component.{name}]\ntype = \"storm.relay\"\nreads = {reads:?}\ntag = {tag}"));
                    add(format_args!("writes = {{ out = \"x{out}\" }}"));
                    add(format_args!("restart = {{ at_most = {at_most}, within = \"60s\" }}"));
                }
            }
        }
        text
    }

    /// The same with something in it that no running node takes, in one of six ways.
    pub(crate) fn spoilt(&self, rng: &mut dyn Rng) -> String {
        let text = self.text();
        match below(rng, 6) {
            0 => text.replace("rate_hz", "rate_hertz"),
            1 => text.replace("reads = [\"n0\"]", "reads = [\"nowhere\"]"),
            2 => text.replace("storm.relay", "storm.relais"),
            3 => text.replace("name = \"storm\"", "name = \"storm\"\nlisten = \"127.0.0.1:1\""),
            4 => format!("{text}\n[topic.n1]\ncapacity = 16384\n"),
            _ => format!("{text}\n[component.first0"),
        }
    }
}

fn some_topics(rng: &mut dyn Rng) -> Vec<String> {
    let all: Vec<String> = (0..CHAINS).flat_map(|c| [format!("n{c}"), format!("r{c}")]).collect();
    let mask = 1 + below(rng, (1 << all.len()) - 1);
    all.into_iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, topic)| topic).collect()
}

fn other(reads: &[String], rng: &mut dyn Rng) -> Vec<String> {
    loop {
        let next = some_topics(rng);
        if next != reads {
            return next;
        }
    }
}

/// A number below `n`.
pub(crate) fn below(rng: &mut dyn Rng, n: u64) -> u64 {
    rng.next_u64() % n
}
