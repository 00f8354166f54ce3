//! The index of events finds what the log holds, however far it has come, and can be lost.

use std::fs;
use std::path::PathBuf;

use csf_core::port::{
    Append, Batch, Criteria, Durability, EventId, ExpectedVersion, Filter, Journal, JournalError, JournalReader,
    NewEvent, Page, Read, Receipt, StreamChange,
};
use csf_core::{Incarnation, Stamp};
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_sim::conformance;
use rusqlite::Connection;
use serde_json::json;

use crate::scratch::Scratch;

/// An index that gets its events in groups of this size.
fn open(scratch: &Scratch, index_events: usize) -> SqliteJournal {
    SqliteJournal::open(scratch.path(), &JournalOptions { index_events, ..JournalOptions::default() }).unwrap()
}

#[test]
fn a_journal_conforms_however_often_its_index_is_written() {
    for index_events in [1, 3, 40] {
        let scratches = std::cell::RefCell::new(Vec::new());
        conformance::journal(|| {
            let scratch = Scratch::new();
            let journal = open(&scratch, index_events);
            scratches.borrow_mut().push(scratch);
            Box::new(journal)
        });
    }
}

/// A journal whose readers know nothing of its writer, as in another process.
struct ReadFromOutside(SqliteJournal, PathBuf);

impl Journal for ReadFromOutside {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        self.0.append(batch)
    }

    fn position(&self) -> u64 {
        self.0.position()
    }

    fn incarnation(&self) -> Incarnation {
        self.0.incarnation()
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(SqliteReader::open_read_only(&self.1)?))
    }
}

#[test]
fn a_reader_in_another_process_finds_the_same() {
    for index_events in [3, 4096] {
        let scratches = std::cell::RefCell::new(Vec::new());
        conformance::journal(|| {
            let scratch = Scratch::new();
            let journal = ReadFromOutside(open(&scratch, index_events), scratch.path().to_owned());
            scratches.borrow_mut().push(scratch);
            Box::new(journal)
        });
    }
}

/// 100 events in ten streams of two categories, three types, with names and tags.
fn fill(journal: &mut SqliteJournal) {
    for n in 0..100u64 {
        let stream = format!("{}-{}", if n % 2 == 0 { "order" } else { "part" }, n % 10);
        let event = NewEvent::new(stream, format!("kind{}", n % 3), Stamp(n), json!({ "n": n }));
        let event = event.with_id(EventId::from_u128(u128::from(n) + 1)).with_tag(format!("tag{}", n % 7));
        let receipt = journal.append(&Batch { appends: vec![event.into()], ..Batch::default() }).unwrap();
        assert_eq!(receipt.durability, Durability::Disk);
    }
}

fn numbers(page: &Page) -> Vec<u64> {
    page.events.iter().map(|event| event.data.to_value()["n"].as_u64().unwrap()).collect()
}

/// Asks in every way; the answers are known.
fn ask_everything(reader: &mut dyn JournalReader) {
    let mut ask =
        |read: Read, expected: Vec<u64>| assert_eq!(numbers(&reader.read(&read).unwrap()), expected, "{read:?}");
    let every = |wanted: &dyn Fn(u64) -> bool| (0..100).filter(|n| wanted(*n)).collect::<Vec<u64>>();
    ask(Read::stream("order-4"), every(&|n| n % 10 == 4));
    ask(Read::stream("order-4").from(8).limit(2), vec![74, 84]);
    ask(Read::stream("order-4").backward().from(3), vec![24, 14, 4]);
    ask(Read::stream("order-4").from(11), vec![]);
    ask(Read::log(Filter::kinds(["kind1"])), every(&|n| n % 3 == 1));
    ask(Read::log(Filter::kinds(["kind1"])).from(50).limit(3), vec![49, 52, 55]);
    ask(Read::log(Filter::category("part")).backward().limit(3), vec![99, 97, 95]);
    let criteria = Criteria { tags: vec!["tag2".into()], kinds: vec!["kind0".into()], ..Criteria::default() };
    ask(Read::log(criteria.into()), every(&|n| n % 7 == 2 && n % 3 == 0));
    ask(Read::named(EventId::from_u128(43)), vec![42]);
    ask(Read::named(EventId::from_u128(101)), vec![]);
    assert_eq!(reader.head("part-5").unwrap().version, 10);
    assert_eq!(reader.head("part-4").unwrap().version, 0);
}

#[test]
fn an_index_that_is_lost_damaged_or_of_another_journal_is_made_anew() {
    let other = Scratch::new();
    let mut journal = open(&other, 8);
    let event = |n| Append::from(NewEvent::new("elsewhere", "else", Stamp(n), json!({ "n": n })));
    journal.append(&Batch { appends: (0..60).map(event).collect(), ..Batch::default() }).unwrap();
    drop(journal);

    type Harm = dyn Fn(&Scratch, &Scratch);
    let harms: [(&str, &Harm); 4] = [
        ("lost", &|scratch, _| fs::remove_file(scratch.path().join("index.db")).unwrap()),
        ("cut short", &|scratch, _| {
            let file = fs::OpenOptions::new().write(true).open(scratch.path().join("index.db")).unwrap();
            file.set_len(5000).unwrap();
        }),
        ("no database", &|scratch, _| fs::write(scratch.path().join("index.db"), "text".repeat(999)).unwrap()),
        ("another's", &|scratch, other| {
            fs::copy(other.path().join("index.db"), scratch.path().join("index.db")).unwrap();
        }),
    ];
    for (name, harm) in harms {
        let scratch = Scratch::new();
        let mut journal = open(&scratch, 8);
        fill(&mut journal);
        drop(journal);
        harm(&scratch, &other);
        let journal = open(&scratch, 8);
        eprintln!("{name}");
        ask_everything(&mut *journal.reader().unwrap());
        ask_everything(&mut SqliteReader::open_read_only(scratch.path()).unwrap());
    }
}

#[test]
fn a_journal_put_back_in_time_does_not_believe_its_index() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch, 8);
    fill(&mut journal);
    drop(journal);
    let index = fs::read(scratch.path().join("index.db")).unwrap();
    let back = Scratch::new();
    let mut journal = open(&back, 8);
    let early = NewEvent::new("early", "early", Stamp(1), json!({ "n": 1 }));
    journal.append(&Batch { appends: vec![early.into()], ..Batch::default() }).unwrap();
    drop(journal);
    fs::write(back.path().join("index.db"), index).unwrap();
    let mut journal = open(&back, 8);
    assert_eq!(journal.reader().unwrap().head("order-4").unwrap().version, 0);
    let again = NewEvent::new("early", "early", Stamp(2), json!({ "n": 2 }));
    let append = Append::from(again).expecting("early", ExpectedVersion::Exactly(1));
    journal.append(&Batch { appends: vec![append], ..Batch::default() }).unwrap().appends[0].as_ref().unwrap();
}

#[test]
fn readers_that_stay_find_what_the_next_writer_adds() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch, 8);
    fill(&mut journal);
    let mut reader = journal.sqlite_reader().unwrap();
    ask_everything(&mut reader);
    drop(journal);
    ask_everything(&mut reader);
    let mut journal = open(&scratch, 1000);
    for n in 100..150 {
        let event = NewEvent::new("order-4", "late", Stamp(n), json!({ "n": n }));
        journal.append(&Batch { appends: vec![event.into()], ..Batch::default() }).unwrap();
        let newest = reader.read(&Read::stream("order-4").backward().limit(1)).unwrap();
        assert_eq!(numbers(&newest), [n]);
    }
}

#[test]
fn what_is_truncated_leaves_the_index_too() {
    let scratch = Scratch::new();
    let mut journal = open(&scratch, 8);
    fill(&mut journal);
    for n in 0..10 {
        let stream = format!("{}-{n}", if n % 2 == 0 { "order" } else { "part" });
        let append = Append { changes: vec![StreamChange::Close { stream }], ..Append::default() };
        journal.append(&Batch { appends: vec![append], ..Batch::default() }).unwrap();
    }
    drop(journal);
    let index = Connection::open(scratch.path().join("index.db")).unwrap();
    let keys: i64 = index.query_row("SELECT count(DISTINCT key) FROM posting", [], |row| row.get(0)).unwrap();
    assert_eq!(keys, 3, "stream, category and type of the changes themselves");
}
