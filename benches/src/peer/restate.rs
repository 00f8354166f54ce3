//! Restate: its server from npm, in a folder of the user's cache, and the handler and load of `peers/restate`.

use std::path::PathBuf;
use std::process::Command;

use super::process;
use crate::load::{Folder, Missing};
use crate::stats::Figures;

/// Version of the server.
const VERSION: &str = "1.7.12";

/// Name and version.
pub fn key() -> String {
    format!("Restate {VERSION}")
}

/// Runs of so many durable steps each, one after the other.
pub fn steps(runs: u64, in_flight: usize, steps: u32) -> Result<Figures, Missing> {
    let (server, folder) = (server()?.to_string_lossy().into_owned(), Folder::new("restate")?);
    let place = folder.path().to_string_lossy().into_owned();
    process::steps("restate", &[&server, &place, &runs.to_string(), &in_flight.to_string(), &steps.to_string()])
}

/// The server; npm fetches it when it is not there.
fn server() -> Result<PathBuf, Missing> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| Missing("no folder for a cache: set HOME".to_owned()))?;
    let cache = cache.join("csf-bench").join(format!("restate-{VERSION}"));
    let system = if cfg!(target_arch = "aarch64") { "linux-arm64" } else { "linux-x64" };
    let server = cache.join(format!("node_modules/@restatedev/restate-server-{system}/bin/restate-server"));
    if !server.exists() {
        let package = format!("@restatedev/restate-server@{VERSION}");
        let install = ["install", "--silent", "--ignore-scripts", "--no-fund", "--no-audit", "--prefix"];
        process::output(Command::new("npm").args(install).arg(&cache).arg(package))?;
    }
    Ok(server)
}
