//! Pre-flight checks: what must hold before anything starts (FRM-061).

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use csf_core::port::TimeSource;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PreFlightResult {
    /// Fine.
    Pass(String),
    /// Worth knowing; the start goes on.
    Warning(String),
    /// The start ends here.
    Fail {
        /// `CSF-nnnn`.
        code: &'static str,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// A named check.
pub struct PreFlightCheck<'a> {
    /// Shown name.
    pub name: &'static str,
    /// Looks; must not change anything.
    pub run: Box<dyn Fn() -> PreFlightResult + 'a>,
}

/// Runs all checks in order.
#[must_use]
pub fn run_preflight_checks(checks: &[PreFlightCheck<'_>]) -> Vec<(&'static str, PreFlightResult)> {
    checks.iter().map(|check| (check.name, (check.run)())).collect()
}

/// The checks every node makes: address, directory, disk space, clock, cores.
#[must_use]
pub(super) fn standard_checks<'a>(
    listen: Option<SocketAddr>,
    directory: &'a Path,
    clock: &'a dyn TimeSource,
) -> Vec<PreFlightCheck<'a>> {
    vec![
        PreFlightCheck { name: "address", run: Box::new(move || check_address(listen)) },
        PreFlightCheck { name: "journal directory", run: Box::new(move || check_directory(directory)) },
        PreFlightCheck { name: "clock", run: Box::new(move || check_clock(clock)) },
        PreFlightCheck { name: "cores", run: Box::new(check_cores) },
    ]
}

fn check_address(listen: Option<SocketAddr>) -> PreFlightResult {
    let Some(address) = listen else {
        return PreFlightResult::Pass("no API".to_owned());
    };
    if !address.ip().is_loopback() {
        let reason = format!(
            "{address} is not a loopback address; the API serves this machine only, use 127.0.0.1:{}",
            address.port()
        );
        return PreFlightResult::Fail { code: "CSF-0207", reason };
    }
    match TcpListener::bind(address) {
        Ok(_) => PreFlightResult::Pass(format!("{address} is free")),
        Err(error) => {
            let reason =
                format!("{address} cannot be used: {error}; stop its user or choose another with --listen 127.0.0.1:0");
            PreFlightResult::Fail { code: "CSF-0201", reason }
        }
    }
}

fn check_directory(directory: &Path) -> PreFlightResult {
    let existing = nearest_existing(directory);
    match std::fs::metadata(&existing) {
        Ok(meta) if !meta.is_dir() => PreFlightResult::Fail {
            code: "CSF-0202",
            reason: format!("{} is not a directory; choose another with --journal", existing.display()),
        },
        Ok(meta) if meta.permissions().readonly() => PreFlightResult::Fail {
            code: "CSF-0202",
            reason: format!(
                "{} is not writable; change its permissions or choose another with --journal",
                existing.display()
            ),
        },
        Ok(_) => PreFlightResult::Pass(directory.display().to_string()),
        Err(error) => PreFlightResult::Fail { code: "CSF-0202", reason: format!("{}: {error}", existing.display()) },
    }
}

fn nearest_existing(directory: &Path) -> PathBuf {
    let mut path = directory;
    loop {
        if path.exists() {
            return path.to_owned();
        }
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => path = parent,
            _ => return PathBuf::from("."),
        }
    }
}

fn check_clock(clock: &dyn TimeSource) -> PreFlightResult {
    match clock.now_ns() {
        // 2020-01-01: an unset clock would give stamps before every other node's.
        Ok(now) if now.as_nanos() < 1_577_836_800_000_000_000 => PreFlightResult::Warning(
            "the wall clock is before 2020; set it, or stamps sort before other nodes'".to_owned(),
        ),
        Ok(_) if clock.has_hardware_timing() => PreFlightResult::Pass("calibrated cycle counter".to_owned()),
        Ok(_) => PreFlightResult::Pass("operating system clock".to_owned()),
        Err(error) => PreFlightResult::Fail { code: "CSF-0208", reason: error.to_string() },
    }
}

fn check_cores() -> PreFlightResult {
    match std::thread::available_parallelism() {
        Ok(cores) if cores.get() == 1 => {
            PreFlightResult::Warning("one core: dispatchers park instead of spinning, latencies are longer".to_owned())
        }
        Ok(cores) => PreFlightResult::Pass(format!("{cores} cores")),
        Err(error) => PreFlightResult::Warning(format!("unknown number of cores: {error}")),
    }
}
