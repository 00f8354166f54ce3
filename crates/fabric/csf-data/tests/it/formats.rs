//! A journal of an older format is renewed by its next writer, and by nobody else.

use csf_core::Stamp;
use csf_core::port::{Filter, Journal, JournalError, Read};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use rusqlite::{Connection, params};

use crate::scratch::Scratch;
use crate::{batch, open, scan_all};

/// What format 1 had instead of today's tables of events.
const FORMAT_1: &str = "
DROP TABLE event; DROP TABLE stream;
CREATE TABLE event (
  position INTEGER PRIMARY KEY,
  stream   TEXT NOT NULL,
  version  INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  stamp    INTEGER NOT NULL,
  data     TEXT NOT NULL,
  checksum INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX event_by_stream ON event (stream, version);
UPDATE meta SET value = 1 WHERE name = 'format';
";

/// Six packets and two events.
fn format_1() -> Scratch {
    let scratch = Scratch::new();
    open(&scratch).append(&batch(0, 0, 2, 3, 10)).unwrap();
    let connection = Connection::open(scratch.path().join("journal.db")).unwrap();
    connection.execute_batch(FORMAT_1).unwrap();
    for (position, version) in [(7u64, 1u64), (8, 2)] {
        let data = r#"{"build":"abc"}"#;
        let mut sum = crc32fast::Hasher::new();
        [position, version, 5].iter().for_each(|number| sum.update(&number.to_le_bytes()));
        ["run", "started", data].iter().for_each(|text| {
            sum.update(text.as_bytes());
            sum.update(&[0]);
        });
        let row = params![position.cast_signed(), "run", version.cast_signed(), "started", 5, data, sum.finalize()];
        connection.execute("INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", row).unwrap();
    }
    scratch
}

#[test]
fn format_1_is_renewed_by_its_writer() {
    let scratch = format_1();
    let error = SqliteReader::open_read_only(scratch.path()).unwrap_err();
    assert!(matches!(error, JournalError::OlderFormat { found: 1, oldest: 3, .. }), "{error}");
    let journal = open(&scratch);
    assert_eq!(journal.position(), 8);
    let mut reader = journal.reader().unwrap();
    let events = reader.read(&Read::log(Filter::kinds(["started"]))).unwrap().events;
    assert_eq!(
        events.iter().map(|e| (e.position, e.version, e.stamp)).collect::<Vec<_>>(),
        [(7, 1, Stamp(5)), (8, 2, Stamp(5))]
    );
    assert_eq!(scan_all(&mut *reader).unwrap().len(), 6);
    drop(journal);
    assert_eq!(open(&scratch).incarnation(), 3);
}

#[test]
fn a_damaged_event_stops_the_renewal_and_loses_nothing() {
    let scratch = format_1();
    let vandal = Connection::open(scratch.path().join("journal.db")).unwrap();
    vandal.execute("UPDATE event SET kind = 'stopped' WHERE position = 8", []).unwrap();
    let error = SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "event 8"), "{error}");
    vandal.execute("UPDATE event SET kind = 'started' WHERE position = 8", []).unwrap();
    assert_eq!(open(&scratch).position(), 8);
}
