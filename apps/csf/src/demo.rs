//! The demo: its configuration, its recording, and the pace of it.

use std::path::{Path, PathBuf};

use crate::cli::Speed;
use crate::diagnostic::Failure;
use crate::paths;

/// The demo's configuration, as `csf config show --demo` prints it.
pub(crate) const CONFIG: &str = include_str!("demo.toml");

/// A real quadrotor flight; see `data/ATTRIBUTION.txt`.
const RECORDING: &[u8] = include_bytes!("../../../data/px4_hover_fmu_v5.ulg");
const RECORDING_NAME: &str = "px4_hover_fmu_v5.ulg";

/// The flight to fly: the one given, or the built-in one, written to the state directory once.
pub(crate) fn recording(given: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = given {
        if !path.exists() {
            return Err(Failure::new("CSF-0401", format!("{} does not exist", path.display())));
        }
        return Ok(std::path::absolute(path)?);
    }
    let directory = paths::state_directory().join("data");
    let path = directory.join(RECORDING_NAME);
    let is_there = std::fs::metadata(&path).is_ok_and(|m| m.len() == RECORDING.len() as u64);
    if !is_there {
        std::fs::create_dir_all(&directory)?;
        let partial = directory.join(format!("{RECORDING_NAME}.{}", std::process::id()));
        std::fs::write(&partial, RECORDING)?;
        std::fs::rename(&partial, &path)?;
    }
    Ok(path)
}

/// The `--set` pairs that choose flight and pace; speed 0 stands for "as fast as it goes".
pub(crate) fn flight_pairs(path: &Path, speed: Speed, fix_sigma: f64, seed: u64, duration_s: f64) -> Vec<String> {
    let is_ulog = path.extension().is_some_and(|e| e == "ulg");
    let speed = match speed {
        Speed::Times(times) => times,
        Speed::Max => 0.0,
    };
    vec![
        format!("source.flight.path={}", toml::Value::String(path.display().to_string())),
        format!("source.flight.speed={speed:?}"),
        format!("source.flight.fix_sigma_m={fix_sigma:?}"),
        format!("source.flight.seed={seed}"),
        format!("source.flight.duration_s={duration_s:?}"),
        format!("component.score.reference=\"{}\"", if is_ulog { "ekf2" } else { "rtk" }),
    ]
}
