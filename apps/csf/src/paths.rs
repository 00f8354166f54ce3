//! Where things are on this machine: state directory, runs, tokens; and when this process began.

use std::path::{Path, PathBuf};

use csf_core::Stamp;

/// Demo runs kept; older ones are removed when a new one starts.
const RUNS_KEPT: usize = 5;

/// `$CSF_STATE`, `$XDG_STATE_HOME/csf` or `~/.local/state/csf`.
pub(crate) fn state_directory() -> PathBuf {
    if let Some(state) = std::env::var_os("CSF_STATE") {
        return PathBuf::from(state);
    }
    if let Some(state) = std::env::var_os("XDG_STATE_HOME") {
        return PathBuf::from(state).join("csf");
    }
    std::env::home_dir().unwrap_or_else(std::env::temp_dir).join(".local/state/csf")
}

/// Where nodes write who they are while they run: one file per node, named by its process.
pub(crate) fn nodes_directory() -> PathBuf {
    state_directory().join("nodes")
}

fn demo_directory() -> PathBuf {
    state_directory().join("demo")
}

/// A fresh directory for a demo run; the oldest of more than five are removed.
pub(crate) fn new_demo_run(now: Stamp) -> std::io::Result<PathBuf> {
    let parent = demo_directory();
    std::fs::create_dir_all(&parent)?;
    let mut runs = demo_runs();
    while runs.len() >= RUNS_KEPT {
        let oldest = runs.remove(0);
        // A run that cannot be removed (still in use) is no reason not to start.
        let _ = std::fs::remove_dir_all(oldest);
    }
    let directory = parent.join(format!("run-{:020}-{}", now.0, std::process::id()));
    std::fs::create_dir(&directory)?;
    Ok(directory)
}

/// Demo runs, oldest first.
fn demo_runs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(demo_directory()).into_iter().flatten().flatten();
    let mut runs: Vec<PathBuf> = entries.map(|e| e.path()).filter(|p| p.is_dir()).collect();
    runs.sort();
    runs
}

/// The newest demo run's journal.
pub(crate) fn newest_demo_run() -> Option<PathBuf> {
    demo_runs().pop()
}

/// Longest time from `exec` to `main` that is believed, s.
const LOADING_MAX_S: f64 = 1.0;

/// When this program was started, from the kernel's books (resolution 10 ms), never later than now.
///
/// `exec` keeps the start time of the program it replaces: under `cargo run` the books tell when Cargo began to build. What is
/// too old is therefore not ours, and the start is now.
pub(crate) fn process_start() -> Stamp {
    let now = wall_now();
    let since_start = || -> Option<f64> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // Fields after the parenthesised name; `starttime` is field 22, in ticks of 10 ms since boot (proc(5)).
        let ticks: f64 = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        let uptime: f64 = std::fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
        Some((uptime - ticks / 100.0).max(0.0))
    };
    let since_start = since_start().filter(|s| *s <= LOADING_MAX_S).unwrap_or(0.0);
    Stamp(now.0 - (since_start * 1e9) as u64)
}

fn wall_now() -> Stamp {
    #[expect(clippy::disallowed_methods, reason = "the process's own start, before any clock port exists")]
    let now = std::time::SystemTime::now();
    let since_epoch = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Stamp(u64::try_from(since_epoch.as_nanos()).unwrap_or(0))
}

/// Largest resident set of this process so far, bytes.
pub(crate) fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok()).map_or(0, |kib| kib * 1024)
}

/// Names this build: version and checksum of the executable. Replay holds for one of these.
pub(crate) fn build_id() -> String {
    let checksum = std::env::current_exe().and_then(|path| checksum_of(std::fs::File::open(path)?)).unwrap_or(0);
    format!("{}+{checksum:08x}", env!("CARGO_PKG_VERSION"))
}

/// Piece by piece: an executable with its debug information is large.
fn checksum_of(mut file: impl std::io::Read) -> std::io::Result<u32> {
    let (mut checksum, mut piece) = (crc32fast::Hasher::new(), vec![0; 1 << 18]);
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(checksum.finalize()),
            length => checksum.update(&piece[..length]),
        }
    }
}

/// Removes the files of nodes that are gone.
pub(crate) fn live_node_files() -> Vec<PathBuf> {
    let mut live = Vec::new();
    for entry in std::fs::read_dir(nodes_directory()).into_iter().flatten().flatten() {
        let path = entry.path();
        let pid = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u32>().ok());
        match pid {
            Some(pid) if Path::new("/proc").join(pid.to_string()).exists() => live.push(path),
            _ => drop(std::fs::remove_file(&path)),
        }
    }
    live.sort_by_key(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok());
    live
}
