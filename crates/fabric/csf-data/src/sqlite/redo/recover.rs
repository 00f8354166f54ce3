//! What SQLite lost in a crash is carried out again.

use std::fs;
use std::path::Path;

use csf_core::port::JournalError;
use rusqlite::{Connection, TransactionBehavior};

use super::FILES;
use super::record::Record;
use crate::sqlite::error::{Action, damaged, from_io, from_sqlite};
use crate::sqlite::reader::{ReadError, in_directory};
use crate::sqlite::schema;
use crate::sqlite::store::insert_record;

/// Carries out the records after `position`, the newest one in the database, in one transaction; the newest position then, and a generation that was never
/// used. `incarnation` is that of the last start.
pub(in crate::sqlite) fn recover(
    directory: &Path,
    connection: &mut Connection,
    incarnation: u32,
    position: u64,
) -> Result<(u64, u64), JournalError> {
    let mut files = Vec::new();
    for name in FILES {
        match fs::read(directory.join(name)) {
            Ok(bytes) => files.push(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(from_io(directory, Action::Read, &e)),
        }
    }
    let mut runs: Vec<Vec<Record<'_>>> = files.iter().map(|bytes| run(bytes)).filter(|run| !run.is_empty()).collect();
    runs.sort_by_key(|run| run[0].generation);
    let generation = runs.last().map_or(0, |run| run[0].generation) + 1;
    let missing: Vec<Record<'_>> = runs.into_iter().flatten().filter(|record| record.last > position).collect();
    let mut newest = position;
    for record in &missing {
        if record.before != newest || record.incarnation != incarnation {
            let reason = format!(
                "it goes on from position {} of start {}, the database ends at position {newest} of start {incarnation}; one of the two is not of \
                 this journal or from another time. Bring back the other, or remove {} and {} to go on without what they hold",
                record.before, record.incarnation, FILES[0], FILES[1]
            );
            return Err(damaged(directory, "the redo log", reason));
        }
        newest = record.last;
    }
    if !missing.is_empty() {
        let mut carry_out = || -> Result<(), ReadError> {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            missing.iter().try_for_each(|record| insert_record(&transaction, record))?;
            Ok(transaction.commit()?)
        };
        carry_out().map_err(|e| in_directory(directory, Action::Write, e))?;
        tracing::info!(from = position, to = newest, "the redo log brought back what the database lacked");
    }
    Ok((newest, generation))
}

/// What a writer that is gone has left is carried out for who only reads, as far as they may.
pub(in crate::sqlite) fn recover_what_is_left(directory: &Path) {
    let Ok(file) = fs::File::open(directory.join(FILES[0])) else { return };
    if file.try_lock().is_err() {
        // Its writer lives, or somebody else is doing this.
        return;
    }
    let carried_out = (|| -> Result<(), JournalError> {
        let sqlite = |e| from_sqlite(directory, Action::Read, &e);
        let (mut connection, position, incarnation) = schema::open_left(directory)?;
        recover(directory, &mut connection, incarnation, position)?;
        connection.close().map_err(|(_, e)| sqlite(e))
    })();
    if let Err(error) = carried_out {
        tracing::warn!(%error, "the redo log was left aside: the newest events may be missing until the next start");
    }
    // Who was started meanwhile may have the file open too.
    let _ = file.unlock();
}

/// The records of a file and how many rows each has; nothing in the place of one whose rows make no sense.
pub(crate) fn fuzzing(bytes: &[u8]) -> Vec<Option<usize>> {
    run(bytes).iter().map(Record::count).collect()
}

/// The records of a file, as long as they follow each other.
fn run(bytes: &[u8]) -> Vec<Record<'_>> {
    let mut records: Vec<Record<'_>> = Vec::new();
    let mut at = 0;
    while let Some(record) = Record::read(&bytes[at..]) {
        let follows = |before: &Record<'_>| before.generation == record.generation && before.last <= record.before;
        if !records.last().is_none_or(follows) {
            break;
        }
        at += record.len;
        records.push(record);
    }
    records
}
