//! Folds the write-ahead file into the database beside the writer, so that a commit does not wait for it.
//!
//! One thread with a connection of its own. A checkpoint that meets new commits leaves them for the next one; the writer folds by
//! itself once the file has grown to [`BACKSTOP`] times the wanted size, and then most of it is folded already.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use csf_core::port::JournalError;
use rusqlite::Connection;

use super::error::{Action, from_io};
use super::schema;

/// How many times the wanted size the write-ahead file may reach before a commit folds it.
pub(crate) const BACKSTOP: u64 = 4;

/// The thread and the means to wake it; dropping it stops and joins the thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(directory: &Path) -> Result<Self, JournalError> {
        let connection = schema::open_checkpointer(directory)?;
        // One wake-up waiting is enough: it covers everything committed until it is taken.
        let (wake, wakes) = sync_channel(1);
        let thread = std::thread::Builder::new().name("csf-checkpoint".into());
        let thread =
            thread.spawn(move || run(&connection, &wakes)).map_err(|e| from_io(directory, Action::Write, &e))?;
        Ok(Self { wake: Some(wake), thread: Some(thread) })
    }

    /// Asks for a checkpoint; does not wait.
    pub(crate) fn wake(&self) {
        if let Some(wake) = &self.wake {
            // Full: one is on its way. Closed: the thread is gone, and the writer's backstop does the work.
            let _ = wake.try_send(());
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to report: what it left is folded by the next checkpoint.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, wakes: &Receiver<()>) {
    while wakes.recv().is_ok() {
        // A failure (a full disk) costs nothing but space: everything is in the write-ahead file, and the commits will say so.
        let _ = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }
}
