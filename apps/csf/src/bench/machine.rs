//! Where the figures were taken, and in which build.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::routing;
use super::stopwatch::cores;

/// What must be equal for two figures to be comparable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Name of the processor.
    pub(crate) cpu: String,
    /// Cores that the process may use.
    pub(crate) cores: usize,
    /// Instruction set.
    pub(crate) architecture: String,
    /// `release` or `debug`.
    pub(crate) profile: String,
}

impl Identity {
    /// The fields that differ, in words: `cores: 2 there, 4 here`.
    pub(crate) fn differences(&self, here: &Self) -> Vec<String> {
        let cores = |identity: &Self| identity.cores.to_string();
        let fields = [
            ("cpu", self.cpu.clone(), here.cpu.clone()),
            ("cores", cores(self), cores(here)),
            ("architecture", self.architecture.clone(), here.architecture.clone()),
            ("profile", self.profile.clone(), here.profile.clone()),
        ];
        let different = fields.into_iter().filter(|(_, there, here)| there != here);
        different.map(|(name, there, here)| format!("{name}: {there} there, {here} here")).collect()
    }
}

/// Everything a reader needs to judge the figures.
pub(crate) struct Machine {
    pub(crate) identity: Identity,
    kernel: String,
    is_virtual: bool,
    load_average: String,
    instructions: String,
}

impl Machine {
    /// This one, now.
    pub(crate) fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let first_line = |path: &str| match fs::read_to_string(path) {
            Ok(text) => text.trim().to_owned(),
            Err(_) => "unknown".to_owned(),
        };
        Self {
            identity: Identity {
                cpu: field("model name").unwrap_or_else(|| "unknown".to_owned()),
                cores: cores(),
                architecture: std::env::consts::ARCH.to_owned(),
                profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            },
            kernel: first_line("/proc/sys/kernel/osrelease"),
            is_virtual: field("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            load_average: first_line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" "),
            instructions: routing::instructions(),
        }
    }

    /// Why the figures mean nothing, if they do not.
    pub(crate) fn warning() -> Option<&'static str> {
        let text = "this is a debug build: it is an order slower, and ITS FIGURES MEAN NOTHING; build with `cargo build --release`";
        cfg!(debug_assertions).then_some(text)
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let Identity { cpu, cores, architecture, profile } = &self.identity;
        let kind = if self.is_virtual { ", virtual machine" } else { "" };
        format!(
            "machine  {cpu}, {cores} cores{kind}; {architecture}, matching with {}; kernel {}; load {}\n\
             build    csf {}, {profile}\n",
            self.instructions,
            self.kernel,
            self.load_average,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// For scripts: the first line of `--json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "id": "machine",
            "cpu": self.identity.cpu,
            "cores": self.identity.cores,
            "architecture": self.identity.architecture,
            "is_virtual": self.is_virtual,
            "kernel": self.kernel,
            "load_average": self.load_average,
            "instructions": self.instructions,
            "version": env!("CARGO_PKG_VERSION"),
            "profile": self.identity.profile,
            "warning": Self::warning(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_between_two_machines_is_named() {
        let here = Machine::here().identity;
        assert_eq!(here.differences(&here), Vec::<String>::new());
        let there = Identity { cores: here.cores + 1, ..here.clone() };
        assert_eq!(there.differences(&here), [format!("cores: {} there, {} here", here.cores + 1, here.cores)]);
    }
}
