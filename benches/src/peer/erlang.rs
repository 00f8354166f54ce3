//! Erlang/OTP, in a virtual machine of its own: `actors.erl` measures inside it, with its own monotonic clock.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::load::Missing;
use crate::stats::{Figures, Metric};

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/peer/actors.erl");

fn output(command: &mut Command) -> Result<String, Missing> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| Missing(format!("{what}: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Missing(format!("{what}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

/// The folder with the compiled module.
fn compiled() -> Result<&'static PathBuf, Missing> {
    static FOLDER: OnceLock<Result<PathBuf, Missing>> = OnceLock::new();
    let compile = || {
        let folder = std::env::temp_dir().join(format!("csf-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder).map_err(|e| Missing(format!("{}: {e}", folder.display())))?;
        output(Command::new("erlc").arg("-o").arg(&folder).arg(SOURCE))?;
        Ok(folder)
    };
    FOLDER.get_or_init(compile).as_ref().map_err(Clone::clone)
}

fn measured(load: &str, count: u64, senders: u64, schedulers: u32) -> Result<Vec<f64>, Missing> {
    let (count, senders) = (count.to_string(), senders.to_string());
    let printed = output(
        Command::new("erl")
            .args(["+S", &format!("{schedulers}:{schedulers}"), "+P", "4000000", "-noshell", "-pa"])
            .arg(compiled()?)
            .args(["-s", "actors", "main", load, &count, &senders]),
    )?;
    let figures: Result<Vec<f64>, _> = printed.split_whitespace().map(str::parse).collect();
    figures.map_err(|_| Missing(format!("erl printed {printed:?}")))
}

/// A load that counts: `tell`, `start` or `spawn`.
pub fn rate(load: &str, count: u64, senders: u64) -> Result<Figures, Missing> {
    let schedulers = if load == "tell" { 2 } else { 1 };
    match measured(load, count, senders, schedulers)?[..] {
        [ns] => Ok(Figures::from([(Metric::Rate, 1e3 / ns), (Metric::Mean, ns)])),
        _ => Err(Missing("erl printed other figures than a rate".to_owned())),
    }
}

/// A load that samples: `ask` or `restart`.
pub fn latency(load: &str, count: u64) -> Result<Figures, Missing> {
    match measured(load, count, 1, 1)?[..] {
        [p50, p99, p999, mean] => {
            Ok(Figures::from([(Metric::P50, p50), (Metric::P99, p99), (Metric::P999, p999), (Metric::Mean, mean)]))
        }
        _ => Err(Missing("erl printed other figures than latencies".to_owned())),
    }
}
