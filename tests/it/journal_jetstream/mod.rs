//! The journal in JetStream against a real server: the rules of the port, and its index.

mod faults;
mod load;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Append, Batch, Durability, EventId, Filter, Journal, JournalError, NewEvent, Read, StoredEvent};
use csf_data::{JetStreamOptions, JournalOptions, MirroredJournal, SqliteJournal};
use csf_sim::conformance;
use csf_tests::NatsServer;
use serde_json::json;

use crate::say;

/// A server and a folder for it and the indexes.
struct World {
    server: NatsServer,
    folder: PathBuf,
    streams: AtomicU64,
}

impl World {
    /// Nothing where no server is installed, which is said.
    fn new(configuration: &str) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        if !NatsServer::is_available(say).unwrap() {
            return None;
        }
        let name = format!("csf-jetstream-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let server = NatsServer::start(&folder.join("nats"), configuration).unwrap();
        Some(Self { server, folder, streams: AtomicU64::new(0) })
    }

    fn options(&self, stream: &str) -> JetStreamOptions {
        JetStreamOptions::new(format!("nats://{}", self.server.address()), stream)
    }

    fn index(&self, name: &str) -> PathBuf {
        self.folder.join("index").join(name)
    }

    fn open(&self, stream: &str, index: &str) -> MirroredJournal {
        MirroredJournal::on_jetstream(&self.index(index), &self.options(stream)).unwrap()
    }

    /// A journal that nobody has opened before.
    fn fresh(&self) -> Box<dyn Journal> {
        let name = format!("fresh-{}", self.streams.fetch_add(1, Ordering::Relaxed));
        Box::new(self.open(&name, &name))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.server.kill().unwrap();
        // What cannot be removed is found by who looks for what is left behind.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(crate) fn one(n: u64) -> Batch {
    let event = NewEvent::new(format!("order-{}", n % 7), "placed", Stamp(n), json!({ "n": n }));
    let append = Append::events([event.with_id(EventId::from_u128(u128::from(n))).with_tag(format!("n:{}", n % 3))]);
    Batch { appends: vec![append], ..Batch::default() }
}

fn append(journal: &mut dyn Journal, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        let receipt = journal.append(&one(n)).unwrap();
        assert!(matches!(receipt.appends[..], [Ok(appended)] if !appended.is_repeat), "{n}: {receipt:?}");
    }
}

pub(crate) fn events(journal: &dyn Journal) -> Vec<StoredEvent> {
    journal.reader().unwrap().read(&Read::log(Filter::all())).unwrap().events
}

/// Every number once, in order, at gap-free positions.
#[track_caller]
pub(crate) fn assert_holds(journal: &dyn Journal, numbers: std::ops::Range<u64>) {
    let found = events(journal);
    let ids: Vec<u128> = found.iter().filter_map(|event| event.id.map(EventId::as_u128)).collect();
    assert_eq!(ids, numbers.map(u128::from).collect::<Vec<_>>());
    assert!(found.iter().map(|event| event.position).eq(1..=found.len() as u64), "positions have no gap");
    assert_eq!(journal.position(), found.len() as u64);
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_all(&entry.path(), &target),
            false => _ = fs::copy(entry.path(), target).unwrap(),
        }
    }
}

#[test]
fn the_jetstream_journal_conforms() {
    let Some(world) = World::new("") else { return };
    conformance::journal(|| world.fresh());
}

#[test]
fn the_jetstream_journal_restarts() {
    let Some(world) = World::new("") else { return };
    conformance::journal_restart(|| Box::new(world.open("again", "again")));
}

#[test]
fn the_jetstream_journal_conforms_without_what_the_index_remembered() {
    let Some(world) = World::new("") else { return };
    conformance::journal_restart(|| {
        let _ = fs::remove_dir_all(world.index("forgetful"));
        Box::new(world.open("forgetful", "forgetful"))
    });
}

#[test]
fn commits_larger_than_a_message_are_split() {
    let Some(world) = World::new("max_payload: 8192\n") else { return };
    conformance::journal(|| world.fresh());
    let mut journal = world.open("large", "large");
    let text = "x".repeat(100_000);
    let large = NewEvent::new("large", "placed", Stamp(1), json!({ "text": text }));
    let batch = Batch { appends: vec![large.into()], ..Batch::default() };
    journal.append(&batch).unwrap();
    drop(journal);
    let journal = world.open("large", "another");
    assert_eq!(events(&journal)[0].parse::<serde_json::Value>().unwrap()["text"], text);
}

#[test]
fn a_server_whose_messages_are_too_small_is_refused_with_the_limit() {
    let Some(world) = World::new("max_payload: 1024\n") else { return };
    let mut journal = world.open("small", "small");
    let error = journal.append(&one(1)).unwrap_err();
    assert!(matches!(error, JournalError::Storage { .. }) && error.to_string().contains("`max_payload`"), "{error}");
}

#[test]
fn receipts_promise_no_more_than_the_server_keeps() {
    let Some(world) = World::new("") else { return };
    let receipt = world.open("receipt", "receipt").append(&one(1)).unwrap();
    assert_eq!(receipt.durability, Durability::Os);
}

#[test]
fn a_deleted_index_is_built_anew() {
    let Some(world) = World::new("") else { return };
    let mut journal = world.open("whole", "first");
    append(&mut journal, 0..300);
    let (before, incarnation) = (events(&journal), journal.incarnation());
    drop(journal);
    let mut journal = world.open("whole", "second");
    assert_eq!((events(&journal), journal.incarnation()), (before, incarnation + 1));
    append(&mut journal, 300..310);
    assert_holds(&journal, 0..310);
}

#[test]
fn an_index_that_is_behind_catches_up() {
    let Some(world) = World::new("") else { return };
    let mut journal = world.open("behind", "live");
    append(&mut journal, 0..20);
    drop(journal);
    copy_all(&world.index("live"), &world.index("old"));
    let mut journal = world.open("behind", "live");
    append(&mut journal, 20..25);
    drop(journal);
    // As after a power failure here between the acknowledgement and the index.
    let mut journal = world.open("behind", "old");
    assert_eq!(journal.incarnation(), 3);
    append(&mut journal, 25..30);
    assert_holds(&journal, 0..30);
}

#[test]
fn an_index_of_another_stream_or_ahead_of_it_is_built_anew() {
    let Some(world) = World::new("") else { return };
    let mut long = world.open("long", "shared");
    append(&mut long, 0..50);
    drop(long);
    let mut short = world.open("short", "own");
    append(&mut short, 100..110);
    drop(short);
    let short = world.open("short", "shared");
    assert_holds(&short, 100..110);
    drop(short);
    let long = world.open("long", "shared");
    assert_holds(&long, 0..50);
}

#[test]
fn a_damaged_index_is_built_anew_and_a_journal_of_its_own_is_left_alone() {
    let Some(world) = World::new("") else { return };
    let mut journal = world.open("damaged", "damaged");
    append(&mut journal, 0..10);
    drop(journal);
    fs::write(world.index("damaged").join("journal.db"), b"").unwrap();
    assert_holds(&world.open("damaged", "damaged"), 0..10);

    drop(SqliteJournal::open(&world.index("sqlite"), &JournalOptions::default()).unwrap());
    let error = MirroredJournal::on_jetstream(&world.index("sqlite"), &world.options("damaged")).unwrap_err();
    assert!(error.to_string().contains("journal of its own"), "{error}");
}

#[test]
fn two_writers_of_one_directory_are_refused() {
    let Some(world) = World::new("") else { return };
    let journal = world.open("twice", "twice");
    let error = MirroredJournal::on_jetstream(&world.index("twice"), &world.options("twice")).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(journal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_in_the_stream_is_damage() {
    let Some(world) = World::new("") else { return };
    let client = async_nats::connect(world.options("gap").url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let config = async_nats::jetstream::stream::Config {
        name: "gap".into(),
        subjects: vec!["csf.journal.gap".into()],
        ..Default::default()
    };
    let stream = context.create_stream(config).await.unwrap();
    let mut journal = world.open("gap", "first");
    append(&mut journal, 0..10);
    drop(journal);
    assert!(stream.delete_message(5).await.unwrap());
    let error = MirroredJournal::on_jetstream(&world.index("second"), &world.options("gap")).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "message 5"), "{error}");
    // The index that has read it still serves.
    assert_holds(&world.open("gap", "first"), 0..10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_forgets_or_holds_something_else_is_refused() {
    let Some(world) = World::new("") else { return };
    let client = async_nats::connect(world.options("forgets").url).await.unwrap();
    let context = async_nats::jetstream::new(client);
    let config = |name: &str| async_nats::jetstream::stream::Config {
        name: name.into(),
        subjects: vec![format!("csf.journal.{name}")],
        ..Default::default()
    };
    let aged = async_nats::jetstream::stream::Config { max_age: Duration::from_secs(60), ..config("forgets") };
    context.create_stream(aged).await.unwrap();
    let error = MirroredJournal::on_jetstream(&world.index("forgets"), &world.options("forgets")).unwrap_err();
    assert!(error.to_string().contains("forgets messages"), "{error}");
    context.create_stream(config("other")).await.unwrap();
    context.publish("csf.journal.other", "hello".into()).await.unwrap().await.unwrap();
    let error = MirroredJournal::on_jetstream(&world.index("other"), &world.options("other")).unwrap_err();
    assert!(matches!(&error, JournalError::Damaged { place, .. } if place == "message 1"), "{error}");
}

#[test]
fn errors_name_the_server_and_never_the_password() {
    let Some(world) = World::new("authorization { user: csf, password: hunter2 }\n") else { return };
    let url = |credentials: &str| format!("nats://{credentials}@{}", world.server.address());
    let open = |credentials: &str| {
        let options = JetStreamOptions {
            call_time_max: Duration::from_secs(2),
            ..JetStreamOptions::new(url(credentials), "secret")
        };
        MirroredJournal::on_jetstream(&world.index("secret"), &options)
    };
    let error = open("csf:wrong-pass").unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains(&format!("nats://{}/secret", world.server.address())), "{said}");
    assert!(!said.contains("wrong-pass"), "{said}");
    let journal = open("csf:hunter2").unwrap();
    assert!(!format!("{journal:?}").contains("hunter2"));
    assert_eq!(journal.incarnation(), 1);
}
