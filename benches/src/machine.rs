//! Where the figures were taken: processor, kernel, compiler, commit, and the versions of the peers.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::clock::{cores, ns_per_tick};

/// The lock file this binary was built from, for the peers' versions.
const LOCK: &str = include_str!("../Cargo.lock");
/// Those of the peers that are programs of their own.
const PEER_LOCKS: [&str; 2] =
    [include_str!("../peers/duroxide/Cargo.lock"), include_str!("../peers/restate/Cargo.lock")];

/// Peers in the order of the book.
const PEERS: [&str; 16] = [
    "rtrb",
    "photon-ring",
    "disruptor",
    "crossbeam-channel",
    "kanal",
    "tokio",
    "flume",
    "thingbuf",
    "iceoryx2",
    "zenoh",
    "uhlc",
    "quanta",
    "minstant",
    "tower-resilience-circuitbreaker",
    "duroxide",
    "restate-sdk",
];

/// Everything a reader needs to judge the figures.
pub struct Machine {
    cpu: String,
    cores: usize,
    is_virtual: bool,
    kernel: String,
    load_average: String,
    commit: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let first_line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            cpu: field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: cores(),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            kernel: first_line("/proc/sys/kernel/osrelease"),
            load_average: first_line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let kind = if self.is_virtual { ", virtual machine" } else { "" };
        let peers: Vec<String> = PEERS.iter().map(|peer| label(peer)).collect();
        format!(
            "machine  {}, {} cores{kind}; kernel {}; counter {:.3} GHz; load {}\n\
             build    {}; release, fat LTO, one codegen unit, panic=abort; commit {}\n\
             peers    {}\n",
            self.cpu,
            self.cores,
            self.kernel,
            1.0 / ns_per_tick(),
            self.load_average,
            env!("CSF_BENCH_RUSTC"),
            self.commit,
            peers.join(", ")
        )
    }

    /// The same in one line, without the peers.
    pub fn line(&self) -> String {
        format!("{}, {} cores; {}; commit {}", self.cpu, self.cores, env!("CSF_BENCH_RUSTC"), self.commit)
    }

    /// For scripts: the first line of `--json`.
    pub fn json(&self) -> Value {
        let versions = PEERS.iter().map(|peer| ((*peer).to_owned(), json!(version(peer))));
        json!({
            "id": "machine",
            "cpu": self.cpu,
            "cores": self.cores,
            "is_virtual": self.is_virtual,
            "kernel": self.kernel,
            "counter_hz": (1e9 / ns_per_tick()).round(),
            "load_average": self.load_average,
            "rustc": env!("CSF_BENCH_RUSTC"),
            "commit": self.commit,
            "peers": Value::Object(versions.collect()),
        })
    }
}

/// Version of a package in the lock file; of several the newest, which is the one the bench asks for.
fn version(package: &str) -> Option<&'static str> {
    [LOCK].into_iter().chain(PEER_LOCKS).find_map(|lock| version_in(lock, package))
}

fn version_in(lock: &'static str, package: &str) -> Option<&'static str> {
    let heading = format!("name = \"{package}\"");
    let mut lines = lock.lines();
    let mut newest = None;
    while let Some(line) = lines.next() {
        if line == heading {
            newest = lines.next().and_then(|line| line.strip_prefix("version = \"")).map(|v| v.trim_end_matches('"'));
        }
    }
    newest
}

/// `package` or `package/mode` as `package 1.2.3 (mode)`.
pub fn label(key: &str) -> String {
    let (package, mode) = key.split_once('/').map_or((key, None), |(package, mode)| (package, Some(mode)));
    let version = version(package).map_or_else(String::new, |version| format!(" {version}"));
    let mode = mode.map_or_else(String::new, |mode| format!(" ({mode})"));
    format!("{package}{version}{mode}")
}

fn commit() -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short", "HEAD"])?;
    let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_changed { format!("{commit} with changes") } else { commit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_the_locked_version() {
        assert_eq!(label("rtrb/chunks"), "rtrb 0.4.1 (chunks)");
        assert_eq!(label("uhlc"), "uhlc 0.9.0");
        assert_eq!(label("two lines"), "two lines");
    }
}
