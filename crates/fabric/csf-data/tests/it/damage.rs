//! Damage is found, named and never taken for data.

use std::fs::{self, OpenOptions};

use csf_core::Stamp;
use csf_core::port::{Append, Batch, Journal, JournalError, JournalReader, NewEvent};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};

use crate::scratch::Scratch;
use crate::{batch, open, scan_all};

/// A journal of ten appends and one event, closed.
fn written() -> Scratch {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    for n in 0..10 {
        journal.append(&batch(n * 200, n * 50, 4, 50, 150)).unwrap();
    }
    let event = NewEvent::new("run", "started", Stamp(1), serde_json::json!({"build": "abc"})).with_tag("t");
    journal.append(&Batch { appends: vec![Append::from(event)], ..Batch::default() }).unwrap();
    scratch
}

fn vandalise(scratch: &Scratch, sql: &str) {
    let connection = rusqlite::Connection::open(scratch.path().join("journal.db")).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

fn reader(scratch: &Scratch) -> SqliteReader {
    SqliteReader::open_read_only(scratch.path()).unwrap()
}

#[test]
fn a_damaged_block_is_named_and_the_others_stay_readable() {
    let scratch = written();
    vandalise(
        &scratch,
        "UPDATE block SET body = CAST(substr(body, 1, 99) || x'5a5a' || substr(body, 102) AS BLOB) WHERE last_position = 400",
    );
    let error = scan_all(&mut reader(&scratch)).unwrap_err();
    match &error {
        JournalError::Damaged { place, reason, .. } => {
            assert_eq!(place, "block 400");
            assert!(reason.contains("checksum"), "{reason}");
        }
        other => panic!("{other}"),
    }
    let lane = csf_core::LaneId { node: 1, incarnation: 1, lane: 0 };
    assert_eq!(reader(&scratch).lane(lane, 0, 1_000).unwrap().len(), 500, "lane 0 is whole");
}

#[test]
fn a_row_that_points_to_another_block_is_damage() {
    for sql in [
        "UPDATE block SET body = (SELECT body FROM block WHERE last_position = 800) WHERE last_position = 400",
        "UPDATE block SET lane = 7 WHERE last_position = 400",
        "UPDATE block SET first_seq = first_seq + 1 WHERE last_position = 400",
    ] {
        let scratch = written();
        vandalise(&scratch, sql);
        let mut reader = reader(&scratch);
        let lanes = [3, 7].map(|lane| csf_core::LaneId { node: 1, incarnation: 1, lane });
        let results = lanes.map(|lane| reader.lane(lane, 0, usize::MAX));
        assert!(results.iter().any(|r| matches!(r, Err(JournalError::Damaged { .. }))), "{sql}");
    }
}

#[test]
fn a_damaged_event_is_named() {
    for sql in [
        "UPDATE event SET data = '{\"build\":\"abd\"}' WHERE stream = 'run'",
        "UPDATE event SET stamp = 2 WHERE stream = 'run'",
        "UPDATE event SET kind = 'stopped' WHERE stream = 'run'",
        "UPDATE event SET tags = '[\"u\"]' WHERE stream = 'run'",
        "UPDATE event SET id = x'00112233445566778899aabbccddeeff' WHERE stream = 'run'",
    ] {
        let scratch = written();
        vandalise(&scratch, sql);
        let error = reader(&scratch).events("run", 1, 10).unwrap_err();
        assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "event 2001"), "{sql}: {error}");
    }
}

#[test]
fn a_newer_format_is_refused_by_writer_and_reader() {
    let scratch = written();
    vandalise(&scratch, "UPDATE meta SET value = 5 WHERE name = 'format'");
    let errors = [
        SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap_err(),
        SqliteReader::open_read_only(scratch.path()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, JournalError::NewerFormat { found: 5, supported: 4, .. }), "{error}");
    }
    vandalise(&scratch, "UPDATE meta SET value = 4 WHERE name = 'format'");
    assert_eq!(open(&scratch).incarnation(), 2, "a refused start changed nothing");
}

#[test]
fn a_truncated_database_is_damage() {
    for keep in [0u64, 1, 100, 8_192, 40_000] {
        let scratch = written();
        OpenOptions::new().write(true).open(scratch.path().join("journal.db")).unwrap().set_len(keep).unwrap();
        let error = match SqliteJournal::open(scratch.path(), &JournalOptions::default()) {
            Err(error) => error,
            Ok(journal) => scan_all(&mut *journal.reader().unwrap()).unwrap_err(),
        };
        assert!(matches!(error, JournalError::Damaged { .. }), "{keep} bytes left: {error}");
    }
}

#[test]
fn files_that_are_no_journal_are_damage() {
    let scratch = Scratch::new();
    fs::write(
        scratch.path().join("journal.db"),
        "this is a text file, long enough to be looked at as a database".repeat(200),
    )
    .unwrap();
    let error = SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap_err();
    assert!(matches!(error, JournalError::Damaged { .. }), "{error}");

    let scratch = Scratch::new();
    let foreign = rusqlite::Connection::open(scratch.path().join("journal.db")).unwrap();
    foreign.execute_batch("CREATE TABLE photo (id INTEGER)").unwrap();
    let error = SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "meta"), "{error}");
}

#[test]
fn a_half_made_journal_of_a_crash_is_made_anew() {
    let scratch = Scratch::new();
    fs::write(scratch.path().join("journal.db.new"), "half").unwrap();
    assert_eq!(open(&scratch).incarnation(), 1);
}
