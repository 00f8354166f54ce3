//! The two files: where the next record goes, and when a file may be used again.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use csf_core::port::JournalError;

use super::applier::Applied;
use super::record::Draft;
use super::{FILE_BYTES_MIN, FILES};
use crate::sqlite::error::{Action, from_io};
use crate::sqlite::schema::sync_directory;

/// What is written into a file to make room in it, at a time.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
/// The disk is asked for its room each time so many bytes were written.
const ROOM_EVERY: u64 = 1 << 20;
/// Below this the redo log is left aside: what it acknowledges must find room in SQLite's files.
const ROOM_MIN: u64 = 64 << 20;

/// What became of a record.
pub(in crate::sqlite) enum Written {
    /// It is synced.
    Synced,
    /// It does not fit: too large, or the disk is nearly full.
    NoRoom,
}

/// The files, as their writer sees them.
#[derive(Debug)]
pub(in crate::sqlite) struct RedoLog {
    files: [File; 2],
    /// The one that is written, and how far.
    active: usize,
    at: u64,
    generation: u64,
    unasked: u64,
    has_room: bool,
    directory: std::path::PathBuf,
}

/// The files and how long they are.
#[derive(Debug)]
pub(in crate::sqlite) struct Files {
    pub(super) files: [File; 2],
    pub(super) lengths: [u64; 2],
}

/// The files of a directory, made when they are absent. The first is locked until it is closed: so a reader knows that its writer lives.
pub(in crate::sqlite) fn open(directory: &Path) -> Result<Files, JournalError> {
    let open = |name| -> io::Result<(File, u64)> {
        let path = directory.join(name);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let len = file.metadata()?.len();
        // A file that was being made: it has held nothing.
        if len < FILE_BYTES_MIN {
            fill(&file, len, FILE_BYTES_MIN)?;
        }
        Ok((file, len.max(FILE_BYTES_MIN)))
    };
    let io = |e| from_io(directory, Action::Write, &e);
    let [first, second] = FILES.map(open);
    let ((first, first_len), (second, second_len)) = (first.map_err(io)?, second.map_err(io)?);
    first.lock().map_err(io)?;
    sync_directory(directory)?;
    Ok(Files { files: [first, second], lengths: [first_len, second_len] })
}

/// Writes zeros, so that what is written there later changes neither the file's length nor its blocks.
pub(super) fn fill(file: &File, from: u64, until: u64) -> io::Result<()> {
    let mut at = from;
    while at < until {
        let len = (until - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..usize::try_from(len).unwrap_or(ZEROS.len())], at)?;
        at += len;
    }
    file.sync_all()
}

impl Drop for RedoLog {
    fn drop(&mut self) {
        // As with the journal's lock: closing would do it, once no process that was being started has it open.
        let _ = self.files[0].unlock();
    }
}

impl RedoLog {
    /// Both files are free; `generation` was never used.
    pub(in crate::sqlite) fn new(directory: &Path, files: Files, generation: u64) -> Self {
        let (directory, files) = (directory.to_owned(), files.files);
        Self { files, active: 0, at: 0, generation, unasked: ROOM_EVERY, has_room: false, directory }
    }

    /// Writes and syncs a record. On an error it is not known whether it is there.
    pub(in crate::sqlite) fn write(
        &mut self,
        draft: &mut Draft,
        applied: &Arc<Applied>,
    ) -> Result<Written, JournalError> {
        let len = draft.len() as u64;
        if !self.has_room(len) {
            return Ok(Written::NoRoom);
        }
        if self.at + len > applied.bytes_of(self.active) {
            if len > applied.bytes_of(1 - self.active) {
                return Ok(Written::NoRoom);
            }
            applied.turn(self.active)?;
            (self.active, self.at, self.generation) = (1 - self.active, 0, self.generation + 1);
        }
        let (file, bytes) = (&self.files[self.active], draft.seal(self.generation));
        let written = file.write_all_at(bytes, self.at).and_then(|()| file.sync_data());
        written.map_err(|e| JournalError::Unsynced { directory: self.directory.clone(), reason: e.to_string() })?;
        self.at += len;
        Ok(Written::Synced)
    }

    /// Whether the disk has room to spare.
    fn has_room(&mut self, len: u64) -> bool {
        self.unasked += len;
        if self.unasked >= ROOM_EVERY {
            self.unasked = 0;
            let free =
                rustix::fs::statvfs(&self.directory).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
            self.has_room = free >= ROOM_MIN;
        }
        self.has_room
    }
}
