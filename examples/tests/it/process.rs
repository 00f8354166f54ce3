//! An example as a process of its own, in a directory of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use csf_core::port::{Filter, JournalReader, Read, StoredEvent};
use csf_data::SqliteReader;

/// Longest silence of an example that works.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory, removed afterwards.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("csf-examples-{}-{name}", std::process::id()));
        // A process of the same number may have died here before.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The events of a category, as the journal holds them.
    pub(crate) fn events(&self, category: &str) -> Vec<StoredEvent> {
        let mut reader = SqliteReader::open_read_only(&self.0).unwrap();
        reader.read(&Read::log(Filter::category(category))).unwrap().events
    }

    pub(crate) fn has_journal(&self) -> bool {
        self.0.join("journal.db").exists()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An example that runs. Dropping it kills it (SIGKILL).
pub(crate) struct Example {
    child: Child,
    lines: Receiver<String>,
}

impl Example {
    pub(crate) fn start(program: &str, scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.arg("--dir").arg(scratch.path()).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let (told, lines) = channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
        Self { child, lines }
    }

    /// The next so many lines; fewer when it ends before.
    pub(crate) fn says(&self, lines: usize) -> Vec<String> {
        let mut said = Vec::new();
        while said.len() < lines {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it says nothing after {said:#?}"),
            }
        }
        said
    }

    /// What it says until it ends well.
    pub(crate) fn ends(mut self) -> Vec<String> {
        let said = self.says(usize::MAX);
        let status = self.child.wait().unwrap();
        assert!(status.success(), "it ended with {status} after {said:#?}");
        said
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
