//! FAB-113: what callers of a log and holders of locks have seen is held against what one log and one lock could have done, while
//! messages are late or lost, processes sleep and clocks jump.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Append, Appended, EventLog, ExpectedVersion, JournalError, LogError, LogFuture, NewEvent, Page, Read, Refused, Rng,
    Sleep, Spawn, StreamHead, Timer,
};
use csf_data::lock::{Fence, Locks};
use csf_sim::linearizability::{
    FencedLock, History, LockAnswer, LockCall, StreamAnswer, StreamCall, VersionedStream, assert_linearizable, explain,
};
use csf_sim::{MemoryJournal, SeededRng, SimExecutor, SimLog};
use serde_json::json;

const TTL: Duration = Duration::from_millis(100);

/// The way of one process to the log: questions and answers may be late or lost.
struct Way {
    log: Arc<dyn EventLog>,
    world: SimExecutor,
    rng: Mutex<SeededRng>,
    /// Of a hundred messages, those that are lost, and those that are late.
    weather: (u64, u64),
    /// A planted bug: reads are answered from what was there at the read before.
    is_stale: bool,
    last: Mutex<Option<Page>>,
}

impl Way {
    fn new(log: &Arc<SimLog>, world: &SimExecutor, rng: SeededRng, weather: (u64, u64)) -> Self {
        let (log, world, rng) = (log.clone(), world.clone(), Mutex::new(rng));
        Self { log, world, rng, weather, is_stale: false, last: Mutex::default() }
    }

    /// One message: it comes, after a while, or not at all.
    async fn pass(&self) -> Result<(), LogError> {
        let (is_lost, late) = {
            let mut rng = self.rng.lock().unwrap();
            let (lost, late) = self.weather;
            (rng.below(100) < lost, (rng.below(100) < late).then(|| Duration::from_millis(rng.below(300))))
        };
        if let Some(late) = late {
            self.world.sleep(late).await;
        }
        if is_lost {
            let reason = "a message is lost".to_owned();
            let error = JournalError::Storage { directory: "log".into(), action: "reached", reason, full: false };
            return Err(error.into());
        }
        Ok(())
    }
}

impl EventLog for Way {
    fn append(&self, append: Append) -> LogFuture<'_, Appended> {
        Box::pin(async move {
            if let Err(lost) = self.pass().await {
                let delay = Duration::from_millis(self.rng.lock().unwrap().below(400));
                if delay > TTL {
                    // It was not lost but stuck, and comes when nobody waits for it any more.
                    let (log, world) = (self.log.clone(), self.world.clone());
                    self.world.spawn(Box::pin(async move {
                        world.sleep(delay).await;
                        let _ = log.append(append).await;
                    }));
                }
                return Err(lost);
            }
            let done = self.log.append(append).await;
            self.pass().await?;
            done
        })
    }

    fn read(&self, read: Read) -> LogFuture<'_, Page> {
        Box::pin(async move {
            self.pass().await?;
            let page = self.log.read(read).await?;
            self.pass().await?;
            let before = self.last.lock().unwrap().replace(page.clone());
            Ok(before.filter(|_| self.is_stale).unwrap_or(page))
        })
    }

    fn head(&self, stream: &str) -> LogFuture<'_, StreamHead> {
        self.log.head(stream)
    }

    fn position(&self) -> u64 {
        self.log.position()
    }

    fn beyond(&self, position: u64) -> LogFuture<'_, u64> {
        self.log.beyond(position)
    }
}

fn in_a_world(seed: u64, test: impl AsyncFnOnce(SimExecutor, Arc<SimLog>)) {
    let world = SimExecutor::new(seed);
    let log = SimLog::start(&world, Box::new(MemoryJournal::new()), seed);
    world.block_on(test(world.clone(), log)).unwrap_or_else(|stalled| panic!("{stalled}"));
    world.drop_tasks();
}

type StreamHistory = History<StreamCall, StreamAnswer>;

/// Four clients append and read one stream; what they saw.
fn clients(seed: u64, weather: (u64, u64), is_stale: bool) -> Arc<StreamHistory> {
    let history = Arc::new(StreamHistory::default());
    let seen = history.clone();
    in_a_world(seed, async |world, log| {
        let left = Arc::new(AtomicU64::new(4));
        for client in 0..4u64 {
            let mut rng = SeededRng::new(seed).stream(client);
            let way = Way { is_stale, ..Way::new(&log, &world, rng.stream(10 + client), weather) };
            let (history, left, timer) = (seen.clone(), left.clone(), world.clone());
            world.spawn(Box::pin(async move {
                let mut version = 0;
                for n in 0..12 {
                    if rng.below(3) == 0 {
                        let call = history.begin(StreamCall::Read);
                        if let Ok(page) = way.read(Read::stream("s")).await {
                            let numbers: Vec<u64> =
                                page.events.iter().map(|e| e.data.to_value().as_u64().unwrap()).collect();
                            version = numbers.len() as u64;
                            history.end(call, StreamAnswer::Events(numbers));
                        }
                        continue;
                    }
                    let number = client * 100 + n;
                    let expected =
                        if rng.below(3) == 0 { ExpectedVersion::Any } else { ExpectedVersion::Exactly(version) };
                    let event = NewEvent::new("s", "said", Stamp(1), json!(number));
                    let call = history.begin(StreamCall::Append(number, expected));
                    match way.append(Append::from(event).expecting("s", expected)).await {
                        Ok(done) => {
                            version = done.version;
                            history.end(call, StreamAnswer::Appended(done.version));
                        }
                        Err(LogError::Refused(Refused::WrongVersion { actual, .. })) => {
                            version = actual;
                            history.end(call, StreamAnswer::Refused(actual));
                        }
                        // Nobody knows whether it was done.
                        Err(LogError::Journal(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                    timer.sleep(Duration::from_millis(rng.below(8))).await;
                }
                left.fetch_sub(1, Ordering::Relaxed);
            }));
        }
        while left.load(Ordering::Relaxed) > 0 {
            world.sleep(Duration::from_millis(5)).await;
        }
    });
    history
}

#[test]
fn a_stream_is_linearizable_whatever_becomes_of_messages() {
    let (mut heard, mut unheard) = (0, 0);
    for seed in 0..150 {
        let weather = [(0, 0), (5, 10), (15, 30)][seed as usize % 3];
        let calls = clients(seed, weather, false).calls();
        heard += calls.iter().filter(|call| call.answer.is_some()).count();
        unheard += calls.iter().filter(|call| call.answer.is_none()).count();
        assert_linearizable(VersionedStream::default(), &calls, seed);
    }
    assert!(heard > 5_000 && unheard > 500, "{heard} heard, {unheard} unheard");
}

#[test]
fn a_log_that_reads_what_was_is_found() {
    let found =
        (0..20).filter(|&seed| explain(VersionedStream::default(), &clients(seed, (0, 0), true).calls()).is_err());
    assert!(found.count() > 15);
}

/// The timer of a process that can be put to sleep, and whose time may run fast.
#[derive(Clone)]
struct OwnTimer {
    world: SimExecutor,
    until: Arc<Mutex<Duration>>,
    speed: u32,
}

impl Timer for OwnTimer {
    fn now(&self) -> Duration {
        self.world.now() * self.speed
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let (own, first) = (self.clone(), self.world.sleep(span / self.speed));
        Box::pin(async move {
            first.await;
            loop {
                let (now, until) = (own.world.now(), *own.until.lock().unwrap());
                if now >= until {
                    return;
                }
                own.world.sleep(until - now).await;
            }
        })
    }
}

type LockHistory = History<LockCall, LockAnswer>;

/// What the holders did: locks taken, and uses after the lease was over.
#[derive(Default)]
struct Tally {
    taken: AtomicU64,
    refused_by_fence: AtomicU64,
}

/// Four processes take one lock, look whether it is certain, and use a resource behind a fence.
fn holders(seed: u64, fast: u32, tally: &Arc<Tally>) -> Arc<LockHistory> {
    let history = Arc::new(LockHistory::default());
    let seen = history.clone();
    in_a_world(seed, async |world, log| {
        let fence: Arc<Mutex<Fence>> = Arc::default();
        for process in 0..4u64 {
            let mut rng = SeededRng::new(seed).stream(process);
            let speed = if process == 0 { fast } else { 1 };
            let timer = OwnTimer { world: world.clone(), until: Arc::default(), speed };
            let way = Way::new(&log, &world, rng.stream(20 + process), (4, 12));
            // A clock that jumps: nothing may depend on it.
            let jumps = Mutex::new(rng.stream(30 + process));
            let clock = Arc::new(move || Stamp(jumps.lock().unwrap().next_u64() >> 1));
            let locks = Locks::new(Arc::new(way), Arc::new(timer.clone()), Arc::new(world.clone()), clock);
            let (history, fence, tally) = (seen.clone(), fence.clone(), tally.clone());
            world.spawn(Box::pin(async move {
                loop {
                    let call = history.begin(LockCall::Acquire);
                    let Ok(guard) = locks.acquire("l", &format!("p{process}"), TTL, 5 * TTL).await else {
                        history.end(call, LockAnswer::Refused);
                        continue;
                    };
                    let token = guard.token();
                    history.end(call, LockAnswer::Token(token));
                    tally.taken.fetch_add(1, Ordering::Relaxed);
                    for _ in 0..rng.below(5) {
                        let look = |is| if is { LockAnswer::Yes } else { LockAnswer::No };
                        history.note(LockCall::IsValid(token), look(guard.is_valid()));
                        // Between the look and the deed the whole process may sleep.
                        if rng.below(6) == 0 {
                            *timer.until.lock().unwrap() = timer.world.now() + 3 * TTL;
                        }
                        timer.sleep(Duration::from_millis(rng.below(40))).await;
                        let passed = fence.lock().unwrap().pass(token).is_ok();
                        tally.refused_by_fence.fetch_add(u64::from(!passed), Ordering::Relaxed);
                        history.note(LockCall::Pass(token), look(passed));
                    }
                    history.note(
                        LockCall::IsValid(token),
                        if guard.is_valid() { LockAnswer::Yes } else { LockAnswer::No },
                    );
                }
            }));
        }
        world.sleep(40 * TTL).await;
    });
    history
}

#[test]
fn a_lock_is_one_whatever_becomes_of_messages_processes_and_clocks() {
    let tally = Arc::default();
    for seed in 0..150 {
        assert_linearizable(FencedLock::default(), &holders(seed, 1, &tally).calls(), seed);
    }
    let (taken, refused) = (tally.taken.load(Ordering::Relaxed), tally.refused_by_fence.load(Ordering::Relaxed));
    assert!(taken > 2_000 && refused > 50, "{taken} taken, {refused} refused by the fence");
}

/// What a lease stands on: timers that run alike. One that does not is a bug that the histories show.
#[test]
fn a_process_whose_timer_runs_fast_is_found() {
    let tally = Arc::default();
    let found = (0..40).filter(|&seed| explain(FencedLock::default(), &holders(seed, 4, &tally).calls()).is_err());
    assert!(found.count() > 5);
}
