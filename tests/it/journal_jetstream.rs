//! The journal in JetStream against a real server: the rules of the port, and what may go wrong between two machines.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{
    Append, Batch, Durability, EventId, EventLog, Filter, Journal, JournalError, NewEvent, Read, StoredEvent,
};
use csf_core::{Incarnation, Stamp};
use csf_data::{JetStreamJournal, JetStreamOptions, SharedLog, SqliteJournal};
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

    fn open(&self, stream: &str, index: &str) -> JetStreamJournal {
        JetStreamJournal::open(&self.index(index), &self.options(stream)).unwrap()
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

fn one(n: u64) -> Batch {
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

fn events(journal: &dyn Journal) -> Vec<StoredEvent> {
    journal.reader().unwrap().read(&Read::log(Filter::all())).unwrap().events
}

/// Every number once, in order, at gap-free positions.
#[track_caller]
fn assert_holds(journal: &dyn Journal, numbers: std::ops::Range<u64>) {
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

    drop(SqliteJournal::open(&world.index("sqlite"), &csf_data::JournalOptions::default()).unwrap());
    let error = JetStreamJournal::open(&world.index("sqlite"), &world.options("damaged")).unwrap_err();
    assert!(error.to_string().contains("journal of its own"), "{error}");
}

#[test]
fn a_second_writer_fences_the_first_in_the_midst_of_its_work() {
    let Some(world) = World::new("") else { return };
    let mut old = world.open("fenced", "old");
    let (told, acknowledged) = channel::<u64>();
    let writer = std::thread::spawn(move || {
        for n in 0.. {
            match old.append(&one(n)) {
                Ok(_) => told.send(n).unwrap(),
                Err(error) => return (n, error, old),
            }
        }
        unreachable!("it is fenced")
    });
    assert!(acknowledged.iter().any(|n| n == 50));
    let mut new = world.open("fenced", "new");
    let (first_lost, error, mut old) = writer.join().unwrap();
    assert!(matches!(error, JournalError::Fenced { own: 1, newest: 2, .. }), "{error}");
    assert!(error.to_string().contains("nats://127.0.0.1"), "{error}");
    append(&mut new, first_lost..first_lost + 5);
    let again = old.append(&one(first_lost + 9)).unwrap_err();
    assert!(matches!(again, JournalError::Fenced { own: 1, newest: 2, .. }), "{again}");
    assert_holds(&new, 0..first_lost + 5);
    assert_eq!((old.incarnation(), new.incarnation()), (1, 2));
}

#[test]
fn two_writers_of_one_directory_are_refused() {
    let Some(world) = World::new("") else { return };
    let journal = world.open("twice", "twice");
    let error = JetStreamJournal::open(&world.index("twice"), &world.options("twice")).unwrap_err();
    assert!(matches!(error, JournalError::InUse { .. }), "{error}");
    drop(journal);
}

/// Appends on a thread; the number of each acknowledged append is sent.
fn appending(
    mut journal: JetStreamJournal,
    count: u64,
    told: Sender<u64>,
) -> std::thread::JoinHandle<JetStreamJournal> {
    std::thread::spawn(move || {
        for n in 0..count {
            append(&mut journal, [n]);
            // Who listens may have heard enough.
            let _ = told.send(n);
        }
        journal
    })
}

#[test]
fn a_server_that_is_killed_and_starts_again_costs_time_only() {
    let Some(mut world) = World::new("") else { return };
    let (told, acknowledged) = channel();
    let writer = appending(world.open("killed", "killed"), 400, told);
    for at in [60, 180, 300] {
        assert!(acknowledged.iter().any(|n| n == at));
        world.server.kill().unwrap();
        world.server.start_again().unwrap();
    }
    let journal = writer.join().unwrap();
    assert_holds(&journal, 0..400);
    drop(journal);
    assert_holds(&world.open("killed", "anew"), 0..400);
}

#[test]
fn a_server_that_stays_away_is_an_error_and_comes_back() {
    let Some(mut world) = World::new("") else { return };
    let options = JetStreamOptions { call_time_max: Duration::from_millis(600), ..world.options("away") };
    let mut journal = JetStreamJournal::open(&world.index("away"), &options).unwrap();
    append(&mut journal, 0..3);
    world.server.kill().unwrap();
    let error = journal.append(&one(3)).unwrap_err();
    // The connection may have been found broken before the message was sent, or after.
    assert!(matches!(error, JournalError::Storage { .. } | JournalError::Unsynced { .. }), "{error}");
    world.server.start_again().unwrap();
    if matches!(error, JournalError::Unsynced { .. }) {
        drop(journal);
        journal = world.open("away", "away");
    }
    let receipt = journal.append(&one(3)).unwrap();
    assert!(receipt.appends[0].is_ok());
    assert_holds(&journal, 0..4);
}

/// What becomes of the server's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    /// The next one is lost, and the connection with it.
    CutAtNext,
    Lost,
}

/// Stands between a client and the server.
struct Proxy {
    address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let proxy = Self { address, answers: Arc::new(Mutex::new(Answers::Pass)), open: Arc::default() };
        let (answers, open) = (proxy.answers.clone(), proxy.open.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(server) else { continue };
                let (own, other) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || pass(own, other, || Answers::Pass));
                let (own, other, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap(), answers.clone());
                std::thread::spawn(move || pass(other, own, || taken(&answers)));
                open.lock().unwrap().extend([client, server]);
            }
        });
        proxy
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn answers(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }
}

fn taken(answers: &Mutex<Answers>) -> Answers {
    let mut answers = answers.lock().unwrap();
    let now = *answers;
    if now == Answers::CutAtNext {
        *answers = Answers::Pass;
    }
    now
}

/// Until an end closes, or the connection is to be cut.
fn pass(mut from: TcpStream, mut to: TcpStream, answers: impl Fn() -> Answers) {
    let mut bytes = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut bytes) {
        match answers() {
            Answers::Pass if to.write_all(&bytes[..len]).is_ok() => {}
            Answers::Lost => {}
            Answers::Pass | Answers::CutAtNext => break,
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn connections_cut_and_answers_lost_double_and_lose_nothing() {
    let Some(world) = World::new("") else { return };
    let proxy = Proxy::start(world.server.address());
    let options = JetStreamOptions {
        answer_time_max: Duration::from_millis(300),
        ..JetStreamOptions::new(format!("nats://{}", proxy.address), "cut")
    };
    let journal = JetStreamJournal::open(&world.index("cut"), &options).unwrap();
    let (told, acknowledged) = channel();
    let writer = appending(journal, 600, told);
    for n in acknowledged {
        // The next append is under way by now, somewhere.
        match n % 74 {
            36 => proxy.cut(),
            73 => proxy.answers(Answers::CutAtNext),
            _ => {}
        }
    }
    proxy.answers(Answers::Pass);
    let journal = writer.join().unwrap();
    assert_holds(&journal, 0..600);
    drop(journal);
    assert_holds(&world.open("cut", "anew"), 0..600);
}

#[test]
fn what_is_not_known_to_be_stored_is_told_so_and_found_at_the_next_start() {
    let Some(world) = World::new("") else { return };
    // Sent several times, or still waited for when the time is over.
    for (name, answer_time_ms) in [("often", 100), ("once", 60_000)] {
        let proxy = Proxy::start(world.server.address());
        let options = JetStreamOptions {
            answer_time_max: Duration::from_millis(answer_time_ms),
            call_time_max: Duration::from_millis(900),
            ..JetStreamOptions::new(format!("nats://{}", proxy.address), name)
        };
        let mut journal = JetStreamJournal::open(&world.index(name), &options).unwrap();
        append(&mut journal, 0..5);
        proxy.answers(Answers::Lost);
        let error = journal.append(&one(5)).unwrap_err();
        assert!(matches!(error, JournalError::Unsynced { .. }), "{error}");
        let again = journal.append(&one(6)).unwrap_err();
        assert!(matches!(again, JournalError::Unsynced { .. }), "nothing is written before it is known: {again}");
        drop(journal);
        // The message had reached the server, however often it was sent.
        let mut journal = world.open(name, name);
        assert_holds(&journal, 0..6);
        append(&mut journal, 6..9);
        assert_holds(&journal, 0..9);
    }
}

#[test]
fn a_server_that_lost_its_newest_messages_is_noticed() {
    let Some(mut world) = World::new("") else { return };
    let store = world.folder.join("nats").join("jetstream");
    let mut journal = world.open("power", "power");
    append(&mut journal, 0..10);
    world.server.kill().unwrap();
    copy_all(&store, &world.folder.join("older"));
    world.server.start_again().unwrap();
    append(&mut journal, 10..15);
    world.server.kill().unwrap();
    fs::remove_dir_all(&store).unwrap();
    copy_all(&world.folder.join("older"), &store);
    world.server.start_again().unwrap();
    let error = journal.append(&one(15)).unwrap_err();
    assert!(error.to_string().contains("the server lost what it had acknowledged"), "{error}");
    drop(journal);
    // The index was ahead, and follows the stream, which is the truth.
    let journal = world.open("power", "power");
    assert_holds(&journal, 0..10);
    assert_eq!(journal.incarnation(), 2);
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
    let error = JetStreamJournal::open(&world.index("second"), &world.options("gap")).unwrap_err();
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
    let error = JetStreamJournal::open(&world.index("forgets"), &world.options("forgets")).unwrap_err();
    assert!(error.to_string().contains("forgets messages"), "{error}");
    context.create_stream(config("other")).await.unwrap();
    context.publish("csf.journal.other", "hello".into()).await.unwrap().await.unwrap();
    let error = JetStreamJournal::open(&world.index("other"), &world.options("other")).unwrap_err();
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
        JetStreamJournal::open(&world.index("secret"), &options)
    };
    let error = open("csf:wrong-pass").unwrap_err();
    let said = format!("{error} {error:?}");
    assert!(said.contains(&format!("nats://{}/secret", world.server.address())), "{said}");
    assert!(!said.contains("wrong-pass"), "{said}");
    let journal = open("csf:hunter2").unwrap();
    assert!(!format!("{journal:?}").contains("hunter2"));
    assert_eq!(journal.incarnation(), 1 as Incarnation);
}

/// How many events a second, from 64 callers, each waiting for its own.
///
/// `cargo test --release -p csf-tests --test it -- journal_jetstream::load --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it by hand, in release"]
#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
async fn load() {
    const CALLERS: u64 = 64;
    const EACH: u64 = 500;
    let Some(world) = World::new("") else { return };
    let world = Arc::new(world);
    let text: Arc<str> = "x".repeat(1000).into();
    for round in 0..3 {
        let name = format!("load-{round}");
        let log = Arc::new(SharedLog::start(Box::new(world.open(&name, &name))).unwrap());
        let began = std::time::Instant::now();
        let callers = (0..CALLERS).map(|caller| {
            let (log, text) = (log.clone(), text.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let data = json!({ "n": n, "text": &*text });
                    let event = NewEvent::new(format!("load-{caller}"), "placed", Stamp(n), data);
                    log.append(event.into()).await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let ours = (CALLERS * EACH) as f64 / began.elapsed().as_secs_f64();
        drop(log);

        let client = async_nats::connect(world.options("plain").url).await.unwrap();
        let context = async_nats::jetstream::new(client);
        let name = format!("plain-{round}");
        let config = async_nats::jetstream::stream::Config {
            name: name.clone(),
            subjects: vec![name.clone()],
            ..Default::default()
        };
        context.create_stream(config).await.unwrap();
        let began = std::time::Instant::now();
        let callers = (0..CALLERS).map(|_| {
            let (context, text, name) = (context.clone(), text.clone(), name.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let data = json!({ "n": n, "text": &*text }).to_string();
                    context.publish(name.clone(), data.into()).await.unwrap().await.unwrap();
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        let plain = (CALLERS * EACH) as f64 / began.elapsed().as_secs_f64();
        say(&format!("round {round}: {ours:.0} events/s in the journal, {plain:.0} messages/s published plainly"));
    }
    let began = std::time::Instant::now();
    let journal = world.open("load-0", "anew");
    let rate = journal.position() as f64 / began.elapsed().as_secs_f64();
    say(&format!("index built anew: {rate:.0} events/s"));
}
