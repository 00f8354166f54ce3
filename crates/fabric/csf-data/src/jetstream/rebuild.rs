//! The index is brought to where the stream ends.

use std::path::Path;

use csf_core::port::JournalError;

use super::link::{Link, LinkError};
use super::message::checksum;
use super::replay::{Replay, Replayed};
use crate::mirror::{Spool, arrived, is_explained};
use crate::sqlite::{Entry, Mark, SqliteIndex, damaged};

/// Messages that are read and repeated at once. At a megabyte each they fit in memory.
const MESSAGES_AT_ONCE: u64 = 64;

/// The index as it is when it repeats this stream, and beyond it no more than what waits to be sent; else an empty one.
pub(super) fn recognised(
    index: SqliteIndex,
    link: &Link,
    place: &Path,
    spool: Option<&Spool>,
) -> Result<SqliteIndex, JournalError> {
    let Some(mark) = index.mark()? else { return Ok(index) };
    let (_, last) = link.ends().map_err(|e| failed(place, e))?;
    let reason = if mark.sequence > last {
        "it is ahead of the stream"
    } else if !is_explained(&index, mark.position, spool)? {
        "it holds commits that no longer wait to be sent"
    } else {
        let message = link.fetch(mark.sequence, mark.sequence).map_err(|e| failed(place, e))?;
        if message.first().is_some_and(|bytes| checksum(bytes) == mark.checksum) {
            return Ok(index);
        }
        "it is of another stream"
    };
    tracing::warn!(place = %place.display(), sequence = mark.sequence, last, reason, "the index is built anew");
    index.emptied()
}

/// Repeats what the stream has and the index has not; what that comes to, and where the stream ends.
pub(super) fn catch_up(
    index: &mut SqliteIndex,
    link: &Link,
    place: &Path,
    mut spool: Option<&mut Spool>,
) -> Result<(Replay, u64), JournalError> {
    let (_, last) = link.ends().map_err(|e| failed(place, e))?;
    let mark = index.mark()?;
    let mut sequence = mark.map_or(0, |mark| mark.sequence);
    let mut replay = Replay::new(
        mark.map(|mark| mark.source),
        mark.map_or(0, |mark| mark.incarnation),
        mark.map_or(0, |mark| mark.position),
    );
    let mut repeated = index.position()?;
    while sequence < last {
        let end = last.min(sequence + MESSAGES_AT_ONCE);
        let messages = link.fetch(sequence + 1, end).map_err(|e| failed(place, e))?;
        let (mut commits, mut mark) = (Vec::new(), None);
        for (sequence, bytes) in (sequence + 1..).zip(&messages) {
            let message = |reason| damaged(place, format!("message {sequence}"), reason);
            match replay.feed(bytes).map_err(message)? {
                Replayed::Part => continue,
                Replayed::Start => {}
                Replayed::Commit(commit) => {
                    if let Some(spool) = &mut spool {
                        arrived(spool, &commit)?;
                    }
                    if commit.position() > repeated {
                        repeated = commit.position();
                        commits.push(commit);
                    }
                }
            }
            let source = replay.journal.expect("a message was read");
            let incarnation = replay.incarnation;
            let position = replay.position;
            mark = Some(Mark { source, sequence, checksum: checksum(bytes), incarnation, position });
        }
        if let Some(mark) = mark {
            let entries = commits.iter().map(|commit| Entry {
                blocks: &commit.blocks,
                steps: &commit.steps,
                packets_end: commit.packets_end,
            });
            index.repeat(&entries.collect::<Vec<_>>(), Some(&mark))?;
        }
        sequence = end;
    }
    Ok((replay, last))
}

fn failed(place: &Path, error: LinkError) -> JournalError {
    match error {
        LinkError::Failed(reason) => storage(place, "read", reason),
        LinkError::NoMessage(sequence) => {
            damaged(place, format!("message {sequence}"), "it is missing; restore the stream from a copy")
        }
    }
}

/// A failure of the server.
pub(super) fn storage(place: &Path, action: &'static str, reason: String) -> JournalError {
    JournalError::Storage { directory: place.to_owned(), action, reason, full: false }
}
