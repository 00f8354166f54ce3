//! Peers that are programs of their own in `peers`, each a workspace: what they link may not meet what we link.

use std::path::Path;
use std::process::Command;

use crate::load::Missing;
use crate::stats::{Figures, Metric};

/// Builds the program `name` and runs it; what it prints: steps per second, the median and the 99th percentile of a step, ns.
pub fn steps(name: &str, arguments: &[&str]) -> Result<Figures, Missing> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name).join("Cargo.toml");
    let cargo = |command: &str| {
        let mut cargo = Command::new("cargo");
        cargo.args([command, "--release", "--locked", "--quiet", "--manifest-path"]).arg(&manifest);
        cargo
    };
    output(&mut cargo("build"))?;
    let printed = output(cargo("run").arg("--").args(arguments))?;
    let figures: Result<Vec<f64>, _> = printed.split_whitespace().map(str::parse).collect();
    match figures.as_deref() {
        Ok(&[rate, p50, p99]) => Ok(Figures::from([(Metric::PerSecond, rate), (Metric::P50, p50), (Metric::P99, p99)])),
        _ => Err(Missing(format!("{name} printed {printed:?}"))),
    }
}

/// What a command prints when it ends well.
pub fn output(command: &mut Command) -> Result<String, Missing> {
    let what = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|e| Missing(format!("{what}: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = said.trim().lines().next_back().unwrap_or_default();
    Err(Missing(format!("{what}: {}: {last}", output.status)))
}
