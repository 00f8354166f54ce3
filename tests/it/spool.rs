//! Journals on servers that go away and come back: what was acknowledged meanwhile waits on this machine, and follows in its order.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use csf_core::Stamp;
use csf_core::port::{
    Append, Batch, Durability, EventId, ExpectedVersion, Filter, Journal, JournalError, NewEvent, Read, StreamChange,
};
use csf_data::{JetStreamOptions, MirroredJournal, PostgresOptions, PostgresReader};
use csf_sim::conformance;
use csf_tests::{Answers, Backing, NatsServer, PostgresServer, Proxy};
use serde_json::json;

use crate::backings;
use crate::journal_jetstream::{assert_holds, events, one};

const SPOOL: u64 = 1 << 20;
/// Nothing takes longer, on any machine that is not broken.
const LONG: Duration = Duration::from_secs(60);

enum Server {
    PostgreSql(PostgresServer),
    Nats(NatsServer),
}

/// A server, the way to it, and directories for repeats.
struct Place {
    server: Server,
    proxy: Proxy,
    folder: PathBuf,
}

/// One of each; none where servers are not installed, which was said then.
fn places() -> Vec<Place> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    if !backings().contains(&Backing::Servers) {
        return Vec::new();
    }
    let folder = || {
        let name = format!("csf-spool-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        std::env::temp_dir().join(name)
    };
    let place = |server: Server, folder: PathBuf| {
        let proxy = Proxy::start(server.address()).unwrap();
        Place { server, proxy, folder }
    };
    let (first, second) = (folder(), folder());
    let nats = NatsServer::start(&second.join("nats"), "").unwrap();
    vec![place(Server::PostgreSql(PostgresServer::start("").unwrap()), first), place(Server::Nats(nats), second)]
}

impl Server {
    fn address(&self) -> std::net::SocketAddr {
        match self {
            Self::PostgreSql(server) => server.address(),
            Self::Nats(server) => server.address(),
        }
    }
}

impl Place {
    fn kill(&mut self) {
        match &mut self.server {
            Server::PostgreSql(server) => server.kill().unwrap(),
            Server::Nats(server) => server.kill().unwrap(),
        }
    }

    fn start_again(&mut self) {
        match &mut self.server {
            Server::PostgreSql(server) => server.start_again().unwrap(),
            Server::Nats(server) => server.start_again().unwrap(),
        }
    }

    fn postgres(&self, log: &str) -> PostgresOptions {
        let url = format!("postgresql://csf@{}/postgres", self.proxy.address());
        PostgresOptions::new(&url).unwrap().in_schema(log).unwrap().with_patience(LONG)
    }

    fn try_open(&self, log: &str, repeat: &str, spool: u64) -> Result<MirroredJournal, JournalError> {
        let folder = self.repeat(repeat);
        match &self.server {
            Server::PostgreSql(_) => MirroredJournal::on_postgres(&folder, &self.postgres(log), spool),
            Server::Nats(_) => {
                let options = JetStreamOptions {
                    spool_bytes: spool,
                    answer_time_max: Duration::from_millis(300),
                    call_time_max: LONG,
                    ..JetStreamOptions::new(format!("nats://{}", self.proxy.address()), log)
                };
                MirroredJournal::on_jetstream(&folder, &options)
            }
        }
    }

    fn open(&self, log: &str, repeat: &str) -> MirroredJournal {
        self.try_open(log, repeat, SPOOL).unwrap()
    }

    fn repeat(&self, name: &str) -> PathBuf {
        self.folder.join("repeat").join(name)
    }

    /// What the server has, read anew: by another start, into a directory of its own.
    #[track_caller]
    fn assert_has(&self, log: &str, numbers: std::ops::Range<u64>) {
        let anew = format!("{log}-anew");
        let _ = fs::remove_dir_all(self.repeat(&anew));
        assert_holds(&self.open(log, &anew), numbers);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed is found by who looks for what is left behind.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Appends them; how safe each was.
#[track_caller]
fn append(journal: &mut dyn Journal, numbers: impl IntoIterator<Item = u64>) -> BTreeSet<Durability> {
    let each = numbers.into_iter().map(|n| {
        let receipt = journal.append(&one(n)).unwrap();
        assert!(matches!(receipt.appends[..], [Ok(appended)] if !appended.is_repeat), "{n}: {receipt:?}");
        receipt.durability
    });
    each.collect()
}

/// Looks until it holds.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a server comes back in real time")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < LONG, "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_mirrored_postgresql_journal_conforms() {
    for place in places() {
        let Server::PostgreSql(_) = place.server else { continue };
        let logs = AtomicU64::new(0);
        conformance::journal(|| {
            let log = format!("log_{}", logs.fetch_add(1, Ordering::Relaxed));
            Box::new(place.open(&log, &log))
        });
        conformance::journal_restart(|| Box::new(place.open("again", "again")));
        conformance::journal_restart(|| {
            let _ = fs::remove_dir_all(place.repeat("forgetful"));
            Box::new(place.open("forgetful", "forgetful"))
        });
    }
}

#[test]
fn what_was_acknowledged_while_the_server_was_away_follows_in_its_order() {
    for mut place in places() {
        let mut journal = place.open("away", "away");
        let outage = journal.outage();
        append(&mut journal, 0..20);
        assert_eq!(outage(), None);
        place.kill();
        assert!(append(&mut journal, 20..120).last() <= Some(&Durability::Disk));
        let away = outage().expect("it is away");
        assert!(away.spooled_bytes > 5_000 && away.spool_limit == SPOOL, "{away:?}");
        // Read here, and refused here: everything is as if the server were there.
        assert_holds(&journal, 0..120);
        let stale = Append::events([NewEvent::new("order-1", "placed", Stamp(1), json!(1))])
            .expecting("order-1", ExpectedVersion::Exactly(1));
        let receipt = journal.append(&Batch { appends: vec![stale], ..one(7) }).unwrap();
        assert!(receipt.appends[0].is_err(), "{receipt:?}");
        place.start_again();
        until("it is back", || outage().is_none());
        append(&mut journal, 120..140);
        assert_holds(&journal, 0..140);
        drop(journal);
        place.assert_has("away", 0..140);
    }
}

#[test]
fn a_commit_whose_answer_was_lost_is_stored_once() {
    for place in places() {
        let mut journal = place.open("doubt", "doubt");
        let outage = journal.outage();
        append(&mut journal, 0..3);
        for round in 1..=3 {
            // The server stores it, and nobody hears of it.
            place.proxy.answers(Answers::Lost);
            append(&mut journal, round * 10 - 7..round * 10 + 3);
            assert!(outage().is_some());
            place.proxy.answers(Answers::Pass);
            until("it is back", || outage().is_none());
        }
        append(&mut journal, 33..40);
        drop(journal);
        place.assert_has("doubt", 0..40);
    }
}

#[test]
fn what_waited_is_sent_by_the_next_start_whatever_the_repeat_lost() {
    for mut place in places() {
        for (log, loses_repeat) in [("kept", false), ("lost", true)] {
            let mut journal = place.open(log, log);
            append(&mut journal, 0..10);
            place.proxy.answers(Answers::Lost);
            // The first of them reaches the server.
            append(&mut journal, 10..30);
            place.kill();
            append(&mut journal, 30..40);
            drop(journal);
            if loses_repeat {
                for entry in fs::read_dir(place.repeat(log)).unwrap().map(Result::unwrap) {
                    let name = entry.file_name().into_string().unwrap();
                    if !name.starts_with("spool") {
                        fs::remove_file(entry.path()).unwrap();
                    }
                }
            }
            place.proxy.answers(Answers::Pass);
            place.start_again();
            let mut journal = place.open(log, log);
            assert_eq!(journal.incarnation(), 2);
            assert_holds(&journal, 0..40);
            append(&mut journal, 40..45);
            drop(journal);
            place.assert_has(log, 0..45);
        }
    }
}

#[test]
fn a_log_that_went_on_without_what_waits_is_not_mixed_with_it() {
    for mut place in places() {
        let mut journal = place.open("astray", "first");
        append(&mut journal, 0..5);
        place.kill();
        append(&mut journal, 5..9);
        drop(journal);
        place.start_again();
        let mut other = place.open("astray", "second");
        assert_holds(&other, 0..5);
        append(&mut other, 50..53);
        drop(other);
        for _ in 0..2 {
            let error = place.try_open("astray", "first", SPOOL).unwrap_err().to_string();
            assert!(error.contains("spool.db") && error.contains("move this file away"), "{error}");
        }
        let (from, to) = (place.repeat("first"), place.folder.join("aside"));
        for name in ["spool.db", "spool.db-wal", "spool.db-shm"].into_iter().filter(|name| from.join(name).exists()) {
            fs::create_dir_all(&to).unwrap();
            fs::rename(from.join(name), to.join(name)).unwrap();
        }
        let journal = place.open("astray", "first");
        let found: Vec<u128> = events(&journal).iter().filter_map(|event| event.id.map(EventId::as_u128)).collect();
        assert_eq!(found, [0, 1, 2, 3, 4, 50, 51, 52]);
    }
}

#[test]
fn a_spool_that_is_full_is_told_and_loses_nothing() {
    for mut place in places() {
        let mut journal = place.open("full", "full");
        let outage = journal.outage();
        append(&mut journal, 0..1);
        place.kill();
        let large = |n: u64| {
            let mut batch = one(n);
            batch.appends[0].events[0].data = json!("x".repeat(200_000)).into();
            batch
        };
        let mut kept = 1;
        let error = loop {
            match journal.append(&large(kept)) {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, JournalError::Storage { full: true, .. }), "{error}");
        assert!(error.to_string().contains("the server is away"), "{error}");
        assert_eq!(kept, 6, "five of them fit into a megabyte");
        place.start_again();
        until("it is back", || outage().is_none());
        append(&mut journal, kept..kept + 3);
        drop(journal);
        place.assert_has("full", 0..kept + 3);
    }
}

#[test]
fn streams_cut_short_while_the_server_was_away_are_short_there_too() {
    for mut place in places() {
        let mut journal = place.open("short", "short");
        let outage = journal.outage();
        let event = |n: u64| Append::events([NewEvent::new("a", "k", Stamp(n), json!(n))]);
        let truncate = Append::default().changing(Stamp(9), StreamChange::Truncate { stream: "a".into(), before: 4 });
        let batch = |appends: Vec<Append>| Batch { appends, ..Batch::default() };
        journal.append(&batch(vec![event(1), event(2)])).unwrap();
        place.proxy.answers(Answers::Lost);
        // The first is in doubt: it holds events, and takes some of them away again.
        journal.append(&batch(vec![event(3), truncate, event(4)])).unwrap();
        journal.append(&batch(vec![event(5)])).unwrap();
        place.kill();
        drop(journal);
        place.proxy.answers(Answers::Pass);
        place.start_again();
        let versions = |journal: &dyn Journal| -> Vec<u64> {
            let events = journal.reader().unwrap().events("a", 1, 10).unwrap();
            events.iter().map(|event| event.version).collect()
        };
        let journal = place.open("short", "short");
        assert_eq!(versions(&journal), [4, 5]);
        drop((journal, outage));
        let journal = place.open("short", "short-anew");
        assert_eq!(versions(&journal), [4, 5]);
    }
}

#[test]
fn cuts_and_kills_in_the_midst_of_a_load_lose_double_and_reorder_nothing() {
    for mut place in places() {
        let mut journal = place.open("load", "load");
        let (told, acknowledged) = channel();
        let writer = std::thread::spawn(move || {
            for n in 0..1_500 {
                append(&mut journal, [n]);
                // Who listens may have heard enough.
                let _ = told.send(n);
            }
            journal
        });
        for n in acknowledged {
            match n {
                150 | 900 => place.proxy.cut(),
                300 | 1_050 => place.proxy.answers(Answers::CutAtNext),
                450 => {
                    place.kill();
                    place.start_again();
                }
                600 => place.proxy.answers(Answers::Lost),
                750 => place.proxy.answers(Answers::Pass),
                _ => {}
            }
        }
        let journal = writer.join().unwrap();
        assert_holds(&journal, 0..1_500);
        let outage = journal.outage();
        until("it is back", || outage().is_none());
        drop(journal);
        place.assert_has("load", 0..1_500);
    }
}

#[test]
fn others_read_what_has_arrived() {
    for mut place in places() {
        let Server::PostgreSql(_) = place.server else { continue };
        let mut journal = place.open("read", "read");
        let outage = journal.outage();
        append(&mut journal, 0..5);
        place.kill();
        append(&mut journal, 5..10);
        place.start_again();
        until("it is back", || outage().is_none());
        let mut reader = PostgresReader::open(&place.postgres("read")).unwrap();
        assert_eq!(
            csf_core::port::JournalReader::read(&mut reader, &Read::log(Filter::all())).unwrap().events.len(),
            10
        );
        assert!(Path::new(&place.repeat("read")).join("spool.db").exists());
    }
}
