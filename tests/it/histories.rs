//! FAB-113: locks and streams on PostgreSQL and JetStream, while connections are cut and servers are killed. What was seen is held against
//! what one lock and one stream could have done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Append, EventLog, ExpectedVersion, Journal, LogError, NewEvent, Read, Refused, Sleep, Timer};
use csf_data::lock::{Fence, Locks};
use csf_data::{JetStreamOptions, MirroredJournal, PostgresJournal, PostgresOptions, SharedLog};
use csf_runtime::TokioWorld;
use csf_sim::SeededRng;
use csf_sim::linearizability::{
    FencedLock, History, LockAnswer, LockCall, StreamAnswer, StreamCall, VersionedStream, assert_linearizable,
};
use csf_tests::{Backing, NatsServer, PostgresServer, Proxy};
use serde_json::json;

use crate::{backings, say};

const TTL: Duration = Duration::from_millis(300);
/// Cuts and kills of a run.
const FAULTS: u64 = 8;
const SEED: u64 = 1;
/// Locks taken, and a third of the calls of a stream, at least.
const ENOUGH: u64 = 12;

/// A process that can be put to sleep as a whole.
#[derive(Clone)]
struct Sleepy {
    tokio: Arc<TokioWorld>,
    until: Arc<Mutex<Duration>>,
}

impl Timer for Sleepy {
    fn now(&self) -> Duration {
        self.tokio.now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let (own, first) = (self.clone(), self.tokio.sleep(span));
        Box::pin(async move {
            first.await;
            loop {
                let (now, until) = (own.tokio.now(), *own.until.lock().unwrap());
                if now >= until {
                    return;
                }
                own.tokio.sleep(until - now).await;
            }
        })
    }
}

/// What all processes of a run share.
struct Run {
    log: Arc<dyn EventLog>,
    tokio: Arc<TokioWorld>,
    locks: History<LockCall, LockAnswer>,
    stream: History<StreamCall, StreamAnswer>,
    fence: Mutex<Fence>,
    taken: AtomicU64,
    is_over: AtomicBool,
}

async fn hold(run: Arc<Run>, process: u64) {
    let mut rng = SeededRng::new(SEED).stream(process);
    let timer = Sleepy { tokio: run.tokio.clone(), until: Arc::default() };
    let clock = Arc::new(|| Stamp(1));
    let locks = Locks::new(run.log.clone(), Arc::new(timer.clone()), run.tokio.clone(), clock);
    let look = |is| if is { LockAnswer::Yes } else { LockAnswer::No };
    while !run.is_over.load(Ordering::Relaxed) {
        let call = run.locks.begin(LockCall::Acquire);
        let Ok(guard) = locks.acquire("l", &format!("p{process}"), TTL, 3 * TTL).await else {
            run.locks.end(call, LockAnswer::Refused);
            run.tokio.sleep(Duration::from_millis(10)).await;
            continue;
        };
        let token = guard.token();
        run.locks.end(call, LockAnswer::Token(token));
        run.taken.fetch_add(1, Ordering::Relaxed);
        for _ in 0..rng.below(4) {
            let call = run.locks.begin(LockCall::IsValid(token));
            run.locks.end(call, look(guard.is_valid()));
            if rng.below(6) == 0 {
                *timer.until.lock().unwrap() = timer.now() + 2 * TTL;
            }
            timer.sleep(Duration::from_millis(rng.below(30))).await;
            let call = run.locks.begin(LockCall::Pass(token));
            let passed = run.fence.lock().unwrap().pass(token).is_ok();
            run.locks.end(call, look(passed));
        }
    }
}

async fn talk(run: Arc<Run>, client: u64) {
    let mut rng = SeededRng::new(SEED).stream(100 + client);
    let mut version = 0;
    for n in 0.. {
        if run.is_over.load(Ordering::Relaxed) {
            return;
        }
        run.tokio.sleep(Duration::from_millis(rng.below(60))).await;
        if rng.below(3) == 0 {
            let call = run.stream.begin(StreamCall::Read);
            let Ok(page) = run.log.read(Read::stream("s")).await else { continue };
            let numbers: Vec<u64> = page.events.iter().map(|e| e.data.to_value().as_u64().unwrap()).collect();
            version = numbers.len() as u64;
            run.stream.end(call, StreamAnswer::Events(numbers));
            continue;
        }
        let number = client * 1_000_000 + n;
        let expected = ExpectedVersion::Exactly(version);
        let event = NewEvent::new("s", "said", Stamp(1), json!(number));
        let call = run.stream.begin(StreamCall::Append(number, expected));
        match run.log.append(Append::from(event).expecting("s", expected)).await {
            Ok(done) => {
                version = done.version;
                run.stream.end(call, StreamAnswer::Appended(version));
            }
            Err(LogError::Refused(Refused::WrongVersion { actual, .. })) => {
                version = actual;
                run.stream.end(call, StreamAnswer::Refused(actual));
            }
            // Nobody knows whether it was done.
            Err(LogError::Journal(_)) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Runs holders and clients on a journal while `disturb` does its worst, and judges what they saw.
fn judged(name: &str, journal: Box<dyn Journal>, mut disturb: impl FnMut(u64) + Send + 'static) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let run = runtime.block_on(async {
        let run = Arc::new(Run {
            log: Arc::new(SharedLog::start(journal).unwrap()),
            tokio: Arc::new(TokioWorld::current()),
            locks: History::default(),
            stream: History::default(),
            fence: Mutex::default(),
            taken: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        let mut tasks: Vec<_> = (0..4).map(|process| tokio::spawn(hold(run.clone(), process))).collect();
        tasks.extend((0..3).map(|client| tokio::spawn(talk(run.clone(), client))));
        let mut rng = SeededRng::new(SEED).stream(99);
        for fault in 0..FAULTS {
            run.tokio.sleep(Duration::from_millis(50 + rng.below(400))).await;
            disturb = tokio::task::spawn_blocking(move || {
                disturb(fault);
                disturb
            })
            .await
            .unwrap();
        }
        // Until enough has happened to be judged, however slow the machine is.
        while run.taken.load(Ordering::Relaxed) < ENOUGH || run.stream.calls().len() < 3 * ENOUGH as usize {
            run.tokio.sleep(TTL / 10).await;
        }
        run.is_over.store(true, Ordering::Relaxed);
        for task in tasks {
            task.await.unwrap();
        }
        run
    });
    let (locks, stream, taken) = (run.locks.calls(), run.stream.calls(), run.taken.load(Ordering::Relaxed));
    let unheard = stream.iter().filter(|call| call.answer.is_none()).count();
    say(&format!(
        "{name}: {taken} locks taken, {} calls of a stream, {unheard} of them without an answer",
        stream.len()
    ));
    assert_linearizable(FencedLock::default(), &locks, SEED);
    assert_linearizable(VersionedStream::default(), &stream, SEED);
}

#[test]
fn locks_and_streams_on_postgresql_are_linearizable() {
    if !backings().contains(&Backing::Servers) {
        return;
    }
    let mut server = PostgresServer::start("-c fsync=off").unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let options = PostgresOptions::new(&format!("postgresql://csf@{}/postgres", proxy.address())).unwrap();
    let journal = PostgresJournal::open(&options).unwrap();
    judged("postgresql", Box::new(journal), move |fault| match fault % 4 {
        3 => {
            server.kill().unwrap();
            server.start_again().unwrap();
        }
        _ => proxy.cut(),
    });
}

#[test]
fn locks_and_streams_on_jetstream_are_linearizable() {
    if !backings().contains(&Backing::Servers) {
        return;
    }
    let folder = std::env::temp_dir().join(format!("csf-histories-{}", std::process::id()));
    let mut server = NatsServer::start(&folder.join("nats"), "").unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let options = JetStreamOptions::new(format!("nats://{}", proxy.address()), "histories");
    let journal = MirroredJournal::on_jetstream(&folder.join("index"), &options).unwrap();
    judged("jetstream", Box::new(journal), move |fault| match fault % 4 {
        3 => {
            server.kill().unwrap();
            server.start_again().unwrap();
        }
        _ => proxy.cut(),
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
