//! The SQLite journal as its users and its enemies see it.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as the tests do")]

mod aggregates;
mod crash;
mod damage;
mod formats;
mod full_disk;
mod groups;
mod histories;
mod index;
mod load;
mod locks;
mod log;
mod models;
mod power;
mod scratch;
mod unsynced;

use csf_core::port::{Batch, Durability, Journal, JournalError, JournalReader, LaneBatch, Scan, StoredPacket};
use csf_core::{ClockDomain, Header, LaneId, MeasuredAt, Stamp};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_sim::conformance;
use scratch::Scratch;

fn open(scratch: &Scratch) -> SqliteJournal {
    SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap()
}

/// One batch of `lanes` lanes with `each` packets of `payload` bytes, whose sequences and positions go on from `journal`.
/// Every packet can be checked against its position alone.
fn batch(position: u64, first_seq: u64, lanes: u16, each: u64, payload: usize) -> Batch {
    let packets = (0..lanes).map(|lane| {
        let place = |i| position + 1 + i * u64::from(lanes) + u64::from(lane);
        LaneBatch::of((0..each).map(|i| packet(lane, first_seq + i, place(i), payload)))
    });
    Batch { packets: packets.collect(), ..Batch::default() }
}

fn packet(lane: u16, seq: u64, position: u64, payload: usize) -> StoredPacket {
    let mut header = Header::new(
        LaneId { node: 1, incarnation: 1, lane }.message(seq),
        Stamp(1_700_000_000_000_000_000 + position * 1_000),
    );
    header.measured_at = Some(MeasuredAt::new(ClockDomain::intern("px4").unwrap(), position * 5_000));
    header.cause = Some(LaneId { node: 1, incarnation: 1, lane: 0 }.message(seq));
    let bytes = position.to_le_bytes();
    StoredPacket { position, header, payload: (0..payload).map(|i| bytes[i % 8] ^ i as u8).collect() }
}

fn scan_all(reader: &mut dyn JournalReader) -> Result<Vec<StoredPacket>, JournalError> {
    reader.scan(&Scan { from_position: 0, limit: usize::MAX, lanes: Vec::new() })
}

#[test]
fn the_sqlite_journal_conforms() {
    let scratches = std::cell::RefCell::new(Vec::new());
    conformance::journal(|| {
        let scratch = Scratch::new();
        let journal = open(&scratch);
        scratches.borrow_mut().push(scratch);
        Box::new(journal)
    });
}

#[test]
fn the_sqlite_journal_restarts() {
    let scratch = Scratch::new();
    conformance::journal_restart(|| Box::new(open(&scratch)));
}

#[test]
fn an_append_is_on_disk_when_it_returns() {
    let scratch = Scratch::new();
    let receipt = open(&scratch).append(&batch(0, 0, 2, 3, 10)).unwrap();
    assert_eq!((receipt.position, receipt.durability), (6, Durability::Disk));
}

#[test]
fn a_second_writer_is_refused_and_names_the_directory() {
    let scratch = Scratch::new();
    let first = open(&scratch);
    let error = SqliteJournal::open(scratch.path(), &JournalOptions::default()).unwrap_err();
    assert!(matches!(&error, JournalError::InUse { directory } if directory == scratch.path()), "{error}");
    drop(first);
    assert_eq!(open(&scratch).incarnation(), 2, "the refused start was none");
}

#[test]
fn a_reader_works_beside_a_running_node_and_after_it() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    let mut reader = SqliteReader::open_read_only(scratch.path()).unwrap();
    journal.append(&batch(0, 0, 3, 5, 20)).unwrap();
    assert_eq!(scan_all(&mut reader).unwrap().len(), 15);
    assert_eq!(reader.incarnation().unwrap(), 1);
    drop(journal);
    let mut later = SqliteReader::open_read_only(scratch.path()).unwrap();
    assert_eq!(scan_all(&mut later).unwrap(), scan_all(&mut reader).unwrap());
}

#[test]
fn reading_where_there_is_no_journal_is_an_error_and_creates_none() {
    let scratch = Scratch::new();
    let error = SqliteReader::open_read_only(scratch.path()).unwrap_err();
    assert!(matches!(error, JournalError::Storage { action: "read", full: false, .. }), "{error}");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0);
}

#[test]
fn a_stamp_finds_its_place() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    for n in 0..10 {
        journal.append(&batch(n * 20, n * 10, 2, 10, 8)).unwrap();
    }
    let mut reader = journal.sqlite_reader().unwrap();
    let stamp_of = |position: u64| Stamp(1_700_000_000_000_000_000 + position * 1_000);
    for position in 1..=200 {
        let start = reader.position_at(stamp_of(position)).unwrap().unwrap();
        assert!(start <= position && position < start + 20, "{position} is within the append that begins at {start}");
    }
    assert_eq!(reader.position_at(stamp_of(201)).unwrap(), None);
}

#[test]
fn a_scan_near_the_end_of_a_long_journal_reads_only_the_end() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch);
    for n in 0..200 {
        journal.append(&batch(n * 60, n * 15, 4, 15, 200)).unwrap();
    }
    let mut reader = journal.sqlite_reader().unwrap();
    // Damage everything but the end: a scan that looked there would fail.
    let vandal = rusqlite::Connection::open(scratch.path().join("journal.db")).unwrap();
    vandal.execute("UPDATE block SET body = x'00' WHERE last_position <= 199 * 60", []).unwrap();
    let from_position = 199 * 60 + 1;
    let all = reader.scan(&Scan { from_position, limit: 1_000, lanes: Vec::new() }).unwrap();
    assert_eq!(all.len(), 60);
    let lanes = vec![LaneId { node: 1, incarnation: 1, lane: 2 }];
    assert_eq!(reader.scan(&Scan { from_position, limit: 1_000, lanes: lanes.clone() }).unwrap().len(), 15);
    assert_eq!(reader.lane_tail(lanes[0], 15).unwrap()[0].header.id.seq, 200 * 15 - 1);
    assert!(matches!(reader.lane_tail(lanes[0], 16), Err(JournalError::Damaged { .. })));
}
