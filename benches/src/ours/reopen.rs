//! A journal that is opened after its process was killed.

use std::path::Path;
use std::process::{Command, Stdio};

use csf_core::Stamp;
use csf_core::port::{Append, Batch, Journal, NewEvent};
use csf_data::{JournalOptions, SqliteJournal};

use super::journal::content;
use crate::clock::ticks;
use crate::load::{EVENT_BYTES, Folder, Missing};
use crate::stats::{Figures, latency};

/// The command of this program that fills a journal and dies.
pub const FILL: &str = "fill";
/// Events in a commit, and streams that they belong to.
const COMMIT: u64 = 256;
const STREAMS: u64 = 1_000;
/// What each life after the first appends before it dies: neither index nor database has all of it.
const LATE_BYTES: u64 = 12 << 20;
/// Lives whose ends are opened.
const LIVES: usize = 7;

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

/// From the call of `open` to a journal that knows where it is and has told a stream's version, after a process was killed; the journal
/// holds `bytes` of content and a little more.
pub fn after_kill(bytes: u64) -> Result<Figures, Missing> {
    let folder = Folder::new("reopen")?;
    let exe = std::env::current_exe().map_err(missing)?;
    let (mut samples, mut total) = (Vec::new(), 0);
    for life in 0..LIVES {
        let bytes = if life == 0 { bytes } else { LATE_BYTES };
        let mut killed = Command::new(&exe);
        killed.arg(FILL).arg(folder.path()).arg(bytes.to_string()).stderr(Stdio::null());
        killed.status().map_err(missing)?;
        let began = ticks();
        let journal = SqliteJournal::open(folder.path(), &JournalOptions::default()).map_err(missing)?;
        let version = journal.reader().and_then(|mut reader| reader.head("order-7")).map_err(missing)?.version;
        let took = ticks() - began;
        if version == 0 || journal.position() < commits(bytes) * COMMIT {
            return Err(Missing("the journal has lost what was appended".to_owned()));
        }
        samples.push(took);
        total += took;
    }
    Ok(latency(samples, total))
}

fn commits(bytes: u64) -> u64 {
    bytes / (COMMIT * EVENT_BYTES as u64)
}

/// The process that is killed: by itself, between two commits, with nothing tidied up.
pub fn fill(folder: &Path, bytes: u64) -> Result<(), String> {
    let mut journal = SqliteJournal::open(folder, &JournalOptions::default()).map_err(|e| e.to_string())?;
    let data = content();
    for commit in 0..commits(bytes) {
        let event = |n: u64| {
            let number = commit * COMMIT + n;
            Append::from(NewEvent::new(format!("order-{}", number % STREAMS), "placed", Stamp(number), data.clone()))
        };
        let batch = Batch { appends: (0..COMMIT).map(event).collect(), ..Batch::default() };
        journal.append(&batch).map_err(|e| e.to_string())?;
    }
    std::process::abort()
}
