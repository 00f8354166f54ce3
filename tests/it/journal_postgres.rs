//! FRM-020 and FRM-021: the log in a real PostgreSQL, and what becomes of it when connections, writers and the server go away.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Append, Batch, Durability, EventId, EventLog, ExpectedVersion, Filter, Journal, JournalError, JournalReader,
    LogError, NewEvent, Read, StreamChange,
};
use csf_data::model::{Checkpoint, ModelError, ModelStore, PostgresModels, Rows};
use csf_data::{PostgresJournal, PostgresOptions, PostgresReader, SharedLog, Subscription};
use csf_sim::conformance;
use csf_tests::{Backing, PostgresServer, TestDatabase};
use serde_json::json;

use crate::backings;

/// A database of one test in the server that the tests share.
struct Place {
    database: TestDatabase,
    url: String,
    server: Arc<PostgresServer>,
}

/// Nothing where PostgreSQL is absent, which was said then.
fn place() -> Option<Place> {
    static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());
    static DATABASES: AtomicU64 = AtomicU64::new(0);
    if !backings().contains(&Backing::Servers) {
        return None;
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(PostgresServer::start("-c fsync=off").unwrap()));
    *shared = Arc::downgrade(&server);
    let name = format!("log{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let database = TestDatabase::postgresql(server.address(), &name).unwrap();
    let url = format!("postgresql://csf:s3cr3t@{}/{name}", server.address());
    Some(Place { database, url, server })
}

impl Place {
    fn options(&self) -> PostgresOptions {
        PostgresOptions::new(&self.url).unwrap()
    }

    fn open(&self) -> PostgresJournal {
        PostgresJournal::open(&self.options()).unwrap()
    }

    /// Ends the server's side of the writer's connection; how many there were.
    fn cut(&self) -> usize {
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted
                   AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
        self.database.query(sql).unwrap().len()
    }
}

fn event(stream: &str, n: u64) -> NewEvent {
    NewEvent::new(stream, "counted", Stamp(n), json!({ "n": n }))
}

fn batch(appends: impl Into<Vec<Append>>) -> Batch {
    Batch { appends: appends.into(), ..Batch::default() }
}

#[test]
fn the_journal_conforms() {
    let Some(place) = place() else { return };
    let schemas = AtomicU64::new(0);
    conformance::journal(|| {
        let schema = format!("log_{}", schemas.fetch_add(1, Ordering::Relaxed));
        Box::new(PostgresJournal::open(&place.options().in_schema(&schema).unwrap()).unwrap())
    });
    conformance::journal_restart(|| Box::new(place.open()));
}

#[test]
fn a_second_writer_is_refused_until_the_first_one_is_gone() {
    let Some(place) = place() else { return };
    let first = place.open();
    let error = PostgresJournal::open(&place.options()).unwrap_err();
    assert!(matches!(&error, JournalError::InUse { directory } if *directory == first.place()), "{error}");
    let elsewhere = PostgresJournal::open(&place.options().in_schema("other").unwrap()).unwrap();
    assert_eq!(elsewhere.incarnation(), 1, "another schema is another journal");
    drop(first);
    assert_eq!(place.open().incarnation(), 2, "the refused start was none");
}

#[test]
fn a_writer_that_was_replaced_is_fenced() {
    let Some(place) = place() else { return };
    let mut first = place.open();
    first.append(&batch([event("a", 1).into()])).unwrap();
    assert_eq!(place.cut(), 1);
    let mut second = place.open();
    second.append(&batch([event("a", 2).into()])).unwrap();
    for _ in 0..2 {
        let error = first.append(&batch([event("a", 3).into()])).unwrap_err();
        assert!(matches!(error, JournalError::Fenced { own: 1, newest: 2, .. }), "{error}");
    }
    second.append(&batch([event("a", 4).into()])).unwrap();
    let events = second.reader().unwrap().events("a", 1, 10).unwrap();
    let numbers: Vec<_> = events.iter().map(|e| e.data.to_value()["n"].clone()).collect();
    assert_eq!(numbers, [1, 2, 4]);
}

#[test]
fn a_fence_holds_without_the_lock() {
    let Some(place) = place() else { return };
    let mut journal = place.open();
    journal.append(&batch([event("a", 1).into()])).unwrap();
    place.database.execute("UPDATE csf.head SET incarnation = 7").unwrap();
    let error = journal.append(&batch([event("a", 2).into()])).unwrap_err();
    assert!(matches!(error, JournalError::Fenced { own: 1, newest: 7, .. }), "{error}");
    place.database.execute("UPDATE csf.head SET incarnation = 1, position = 0").unwrap();
    let changes = Append::default().changing(Stamp(1), StreamChange::Truncate { stream: "a".into(), before: 2 });
    let error = journal.append(&batch([changes])).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "head"), "{error}");
    place.database.execute("UPDATE csf.head SET position = 1").unwrap();
    assert_eq!(journal.append(&batch([event("a", 2).into()])).unwrap().position, 2);
}

/// Callers append while `disturb` works; each event is there once, in a gap-free order, as it was answered.
fn nothing_is_lost_or_doubled(options: &PostgresOptions, disturb: impl FnOnce()) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let journal = PostgresJournal::open(options).unwrap();
    let log = Arc::new(SharedLog::start(Box::new(journal)).unwrap());
    let ended = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8u64)
        .map(|caller| {
            let (log, ended) = (log.clone(), ended.clone());
            runtime.spawn(async move {
                let mut done = BTreeMap::new();
                for n in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    // Half of them under a version, half by name only: a doubled one would show in either.
                    let stream = format!("caller-{caller}");
                    let append = Append::from(event(&stream, n));
                    let append =
                        if caller % 2 == 0 { append.expecting(stream, ExpectedVersion::Exactly(n)) } else { append };
                    let appended = log.append(append).await.unwrap();
                    assert!(done.insert(appended.last, (caller, n)).is_none());
                }
                done
            })
        })
        .collect();
    disturb();
    ended.store(true, Ordering::Relaxed);
    let mut answered = BTreeMap::new();
    for caller in callers {
        answered.extend(runtime.block_on(caller).unwrap());
    }
    let page = runtime.block_on(log.read(Read::log(Filter::all()))).unwrap();
    let positions: Vec<u64> = page.events.iter().map(|e| e.position).collect();
    assert_eq!(positions, (1..=answered.len() as u64).collect::<Vec<_>>(), "no gap, and nothing that was not answered");
    for event in page.events {
        let (caller, n) = answered[&event.position];
        assert_eq!((event.stream, event.version), (format!("caller-{caller}"), n + 1));
        assert_eq!(event.data.to_value()["n"], n);
    }
}

#[test]
fn a_writer_whose_connection_is_cut_again_and_again_loses_and_doubles_nothing() {
    let Some(place) = place() else { return };
    nothing_is_lost_or_doubled(&place.options(), || {
        let cuts: usize = (0..30).map(|_| place.cut()).sum();
        assert!(cuts > 10, "{cuts}");
    });
}

#[test]
fn a_server_that_crashes_under_load_costs_time_only() {
    if place().is_none() {
        return;
    }
    let mut server = PostgresServer::start("").unwrap();
    let options = PostgresOptions::new(&format!("postgresql://csf@{}/postgres", server.address())).unwrap();
    let mut reader = None;
    nothing_is_lost_or_doubled(&options, || {
        reader = Some(PostgresReader::open(&options).unwrap());
        for _ in 0..3 {
            server.crash_and_restart().unwrap();
        }
    });
    assert!(reader.unwrap().events("caller-0", 1, 1).is_ok(), "a reader finds the server again");
}

/// Passes bytes on to the server. Once told to, it lets the next question through and cuts the connection in place of the answer.
fn proxy(server: SocketAddr, cuts: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(server).unwrap();
            let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
            let (mut server, mut client, cuts) = (server, client, cuts.clone());
            std::thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(len @ 1..) = server.read(&mut bytes) {
                    if cuts.swap(false, Ordering::Relaxed) || client.write_all(&bytes[..len]).is_err() {
                        break;
                    }
                }
                // Whoever is gone already needs no end.
                let _ = (client.shutdown(Shutdown::Both), server.shutdown(Shutdown::Both));
            });
        }
    });
    address
}

#[test]
fn a_commit_whose_answer_is_lost_is_done_once() {
    let Some(place) = place() else { return };
    let cuts = Arc::new(AtomicBool::new(false));
    let through = proxy(place.server.address(), cuts.clone());
    let url = place.url.replace(&place.server.address().to_string(), &through.to_string());
    let mut journal = PostgresJournal::open(&PostgresOptions::new(&url).unwrap()).unwrap();
    journal.append(&batch([event("a", 0).into()])).unwrap();
    for n in 1..20 {
        // Alternately the answer to the commit, and that to its preparation on a new connection: it was done, and it was not.
        cuts.store(true, Ordering::Relaxed);
        let receipt = journal.append(&batch([event("a", n).into()])).unwrap();
        assert_eq!(receipt.position, n + 1);
        assert!(!cuts.load(Ordering::Relaxed), "the answer was lost");
    }
    let events = journal.reader().unwrap().events("a", 1, 100).unwrap();
    let numbers: Vec<_> = events.iter().map(|e| e.data.to_value()["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

#[test]
fn a_server_that_stays_away_is_an_error_in_time_and_the_next_append_finds_it_again() {
    let Some(place) = place() else { return };
    let options = place.options().with_patience(Duration::from_millis(200));
    let mut journal = PostgresJournal::open(&options).unwrap();
    journal.append(&batch([event("a", 1).into()])).unwrap();
    let admin = TestDatabase::postgresql(place.server.address(), "gate").unwrap();
    let name = place.url.rsplit('/').next().unwrap();
    admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false")).unwrap();
    let sql = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    admin.query(&sql).unwrap();
    let error = journal.append(&batch([event("a", 2).into()])).unwrap_err();
    admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true")).unwrap();
    match error {
        JournalError::Storage { action: "written", full: false, .. } => {}
        // It was sent before the connection was known to be gone: whether it was done is not known until the journal is opened again.
        JournalError::Unsynced { .. } => {
            drop(journal);
            journal = PostgresJournal::open(&options).unwrap();
        }
        other => panic!("{other}"),
    }
    assert_eq!(journal.append(&batch([event("a", 3).into()])).unwrap().position, 2, "the failed one left nothing");
}

#[test]
fn a_receipt_says_what_the_server_promises() {
    let Some(place) = place() else { return };
    let receipt = place.open().append(&batch([event("a", 1).into()])).unwrap();
    let of_append = receipt.appends[0].as_ref().unwrap().durability;
    assert_eq!((receipt.durability, of_append), (Durability::Os, Durability::Os), "this server does not sync");
    let server = PostgresServer::start("").unwrap();
    let options = PostgresOptions::new(&format!("postgresql://csf@{}/postgres", server.address())).unwrap();
    let receipt = PostgresJournal::open(&options).unwrap().append(&batch([event("a", 1).into()])).unwrap();
    assert_eq!(receipt.durability, Durability::Disk);
}

#[test]
fn the_password_is_in_no_error() {
    let Some(place) = place() else { return };
    let quick = |url: &str| PostgresOptions::new(url).unwrap().with_patience(Duration::ZERO);
    let journal = place.open();
    let mut errors = vec![PostgresJournal::open(&place.options()).unwrap_err()];
    errors.push(PostgresReader::open(&place.options().in_schema("nowhere").unwrap()).unwrap_err());
    errors.push(PostgresJournal::open(&quick("postgresql://csf:s3cr3t@127.0.0.1:1/log")).unwrap_err());
    errors.push(PostgresJournal::open(&quick(&format!("{}_absent", place.url))).unwrap_err());
    errors.push(PostgresJournal::open(&quick(&format!("{}?sslmode=require", place.url))).unwrap_err());
    errors.push(PostgresOptions::new("postgresql://csf:s3cr3t@[/").unwrap_err());
    for error in errors {
        assert!(!format!("{error} {error:?}").contains("s3cr3t"), "{error}");
    }
    assert!(!format!("{journal:?}").contains("s3cr3t"));
    let error = PostgresModels::open(&quick("postgresql://csf:s3cr3t@127.0.0.1:1/log")).unwrap_err();
    assert!(matches!(&error, ModelError::Store { place, .. } if place.contains("csf@127.0.0.1:1/log")), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cr3t"));
}

#[test]
fn another_format_and_changed_rows_are_noticed() {
    let Some(place) = place() else { return };
    let mut journal = place.open();
    let tagged = event("a", 1).with_tag("q\"u{o}t,e\\d").with_tag("é").with_id(EventId::from_u128(7));
    journal.append(&batch([tagged.clone().into()])).unwrap();
    let mut reader = journal.postgres_reader().unwrap();
    let read = reader.read(&Read::named(EventId::from_u128(7))).unwrap().events;
    assert_eq!((&read[0].tags, &read[0].data), (&tagged.tags, &tagged.data), "every byte is kept");
    assert_eq!(reader.read(&Read::log(Filter::tags(["é", "q\"u{o}t,e\\d"]))).unwrap().events, read);
    assert!(reader.read(&Read::log(Filter::tags(["a\0"]))).unwrap().events.is_empty());
    place.database.execute("UPDATE csf.event SET tags = '{é}'").unwrap();
    assert!(matches!(reader.read(&Read::stream("a")), Err(JournalError::Damaged { .. })));
    drop(journal);
    place.database.execute("UPDATE csf.meta SET value = 2 WHERE name = 'format'").unwrap();
    for error in
        [PostgresJournal::open(&place.options()).unwrap_err(), PostgresReader::open(&place.options()).unwrap_err()]
    {
        assert!(matches!(error, JournalError::NewerFormat { found: 2, supported: 1, .. }), "{error}");
    }
}

#[test]
fn what_is_no_text_to_the_server_is_refused_for_its_own_append_alone() {
    let Some(place) = place() else { return };
    let mut journal = place.open();
    let strange = [
        Append::from(event("a\0b", 1)),
        Append::from(event("a", 1)).expecting("\0", ExpectedVersion::Exists),
        Append::from(event("b", 1)).unless(Filter::tags(["\0"]), 0),
        Append::from(NewEvent::new("c", "counted", Stamp(1), json!({ "nul": "\0" }))),
    ];
    let receipt = journal.append(&batch(strange)).unwrap();
    let is_done: Vec<bool> = receipt.appends.iter().map(Result::is_ok).collect();
    assert_eq!(is_done, [false, false, true, true], "{receipt:?}");
}

#[test]
fn a_large_commit_with_changes_is_one_transaction() {
    let Some(place) = place() else { return };
    let mut journal = place.open();
    let large = "x".repeat(15 << 20);
    let events: Vec<NewEvent> = (0..6).map(|n| NewEvent::new("l", "large", Stamp(n), json!(large))).collect();
    let cut = Append::events(vec![event("t", 1), event("t", 2).with_id(EventId::from_u128(9))])
        .changing(Stamp(1), StreamChange::Truncate { stream: "t".into(), before: 3 });
    // The name is free again once its event is gone, in the same commit.
    let again = Append::from(event("t", 3).with_id(EventId::from_u128(9)));
    let receipt = journal.append(&batch([Append::events(events), cut, again])).unwrap();
    assert_eq!(receipt.position, 10);
    let mut reader = journal.reader().unwrap();
    assert_eq!(reader.events("l", 1, 10).unwrap().len(), 6);
    assert_eq!(reader.events("t", 1, 10).unwrap().iter().map(|e| e.version).collect::<Vec<_>>(), [3]);
    assert_eq!(reader.head("t").unwrap().first, 3);
}

#[test]
fn a_reader_elsewhere_is_woken_by_a_commit() {
    let Some(place) = place() else { return };
    let mut journal = place.open();
    let mut reader = PostgresReader::open(&place.options()).unwrap();
    assert_eq!(reader.beyond(0, Duration::ZERO).unwrap(), 0);
    let waits = std::thread::spawn(move || reader.beyond(0, Duration::from_secs(60)).unwrap());
    journal.append(&batch([event("a", 1).into()])).unwrap();
    assert_eq!(waits.join().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_log_is_followed_in_order() {
    let Some(place) = place() else { return };
    // Opened and dropped within a runtime, as a node does.
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(place.open())).unwrap());
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let log = log.clone();
            tokio::spawn(async move {
                for n in 0..25 {
                    log.append(event(&format!("w-{writer}"), n).into()).await.unwrap();
                }
            })
        })
        .collect();
    let mut subscription = Subscription::new(log.clone(), Filter::category("w"), 0);
    let mut seen = BTreeSet::new();
    for position in 1..=100 {
        let event = subscription.next().await.unwrap();
        assert_eq!(event.position, position);
        seen.insert((event.stream, event.version));
    }
    assert_eq!(seen.len(), 100);
    for writer in writers {
        writer.await.unwrap();
    }
    let late = log.append(Append::from(event("w-0", 0)).expecting("w-0", ExpectedVersion::NoStream)).await;
    assert!(matches!(late, Err(LogError::Refused(_))), "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_change_with_their_place_or_not_at_all() {
    let Some(place) = place() else { return };
    let mut store = PostgresModels::open(&place.options()).unwrap();
    let at = |position| Checkpoint { version: 1, position };
    let fill = &mut |rows: &mut dyn Rows| {
        for key in ["a", "ab", "abc", "b", "é", "a\u{10ffff}"] {
            rows.set("t", key, key)?;
            rows.set("u", key, "other")?;
        }
        assert_eq!(rows.scan("t", "a", None, 10)?.len(), 4, "what was put is scanned");
        rows.remove("t", "b")
    };
    store.update("m", at(7), fill).unwrap();
    let failed = store.update("m", at(8), &mut |rows| {
        rows.remove("t", "a")?;
        rows.set("t", "z", "z")?;
        assert_eq!(rows.value::<String>("t", "z")?, Some("z".into()), "what was put is read");
        assert_eq!(rows.scan("t", "z", None, 1)?.len(), 1);
        Err(ModelError::Event { position: 8, reason: "no".into() })
    });
    assert!(failed.is_err());
    assert_eq!(store.checkpoint("m").unwrap(), Some(at(7)));
    let position = store.look("m", &mut |rows| {
        let mut keys = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
            rows.scan("t", prefix, after, limit).unwrap().into_iter().map(|(key, _)| key).collect()
        };
        assert_eq!(keys("", None, 100), ["a", "ab", "abc", "a\u{10ffff}", "é"]);
        assert_eq!(keys("a", None, 2), ["a", "ab"]);
        assert_eq!(keys("a", Some("ab"), 9), ["abc", "a\u{10ffff}"]);
        assert_eq!(keys("ab", Some("a"), 9), ["ab", "abc"]);
        assert!(matches!(rows.value::<u64>("u", "b"), Err(ModelError::NoValue { .. })));
        rows.remove("u", "b")?;
        assert!(rows.get("u", "b")?.is_none());
        Ok(())
    });
    assert_eq!(position.unwrap(), 7);
    let mut other = store.again().unwrap();
    for (model, has_row) in [("m", true), ("n", false)] {
        let look = &mut |rows: &mut dyn Rows| {
            assert_eq!(rows.get("u", "b")?.is_some(), has_row, "a look changes nothing, models are apart");
            Ok(())
        };
        other.look(model, look).unwrap();
    }
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    place.database.query(sql).unwrap();
    other.reset("m").unwrap();
    assert_eq!(store.checkpoint("m").unwrap(), None, "a lost connection is made again");
}
