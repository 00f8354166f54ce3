//! Locks in a simulated world: slow commits, holders that fall asleep, processes that crash.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{EventLog, Sleep, Spawn, Timer};
use csf_data::lock::{Fence, LockError, LockGuard, Locks};
use csf_sim::{MemoryJournal, SeededRng, SimExecutor, SimLog};

const TTL: Duration = Duration::from_millis(100);

/// The timer of a process that can be put to sleep as a whole: whatever it waits for comes after that.
#[derive(Clone)]
struct Sleepy {
    world: SimExecutor,
    until: Arc<Mutex<Duration>>,
}

impl Sleepy {
    fn new(world: &SimExecutor) -> Self {
        Self { world: world.clone(), until: Arc::default() }
    }

    fn fall_asleep(&self, span: Duration) {
        *self.until.lock().unwrap() = self.world.now() + span;
    }
}

impl Timer for Sleepy {
    fn now(&self) -> Duration {
        self.world.now()
    }

    fn sleep(&self, span: Duration) -> Sleep {
        let (own, first) = (self.clone(), self.world.sleep(span));
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

/// A process of its own: what it has seen, no other has.
fn process(world: &SimExecutor, log: &Arc<SimLog>) -> Locks {
    sleepy_process(world, log, &Sleepy::new(world))
}

fn sleepy_process(world: &SimExecutor, log: &Arc<SimLog>, timer: &Sleepy) -> Locks {
    let clock = world.clone();
    let clock = Arc::new(move || Stamp(u64::try_from(clock.now().as_nanos()).unwrap_or_default()));
    Locks::new(log.clone(), Arc::new(timer.clone()), Arc::new(world.clone()), clock)
}

fn in_a_world(seed: u64, test: impl AsyncFnOnce(SimExecutor, Arc<SimLog>)) {
    let world = SimExecutor::new(seed);
    let log = SimLog::start(&world, Box::new(MemoryJournal::new()), seed);
    world.block_on(test(world.clone(), log)).unwrap_or_else(|stalled| panic!("{stalled}"));
    world.drop_tasks();
}

#[test]
fn a_lock_is_held_as_long_as_its_guard_lives_and_then_given_on() {
    in_a_world(1, async |world, log| {
        let (a, b) = (process(&world, &log), process(&world, &log));
        let first = a.acquire("l", "a", TTL, Duration::ZERO).await.unwrap();
        let error = b.acquire("l", "b", TTL, 20 * TTL).await.unwrap_err();
        assert!(matches!(&error, LockError::Timeout { holder, .. } if holder == "a"), "{error}");
        assert!(first.is_valid(), "it is renewed");
        b.acquire("other", "b", TTL, Duration::ZERO).await.unwrap();
        let token = first.token();
        first.release();
        let before = world.now();
        let second = b.acquire("l", "b", TTL, 20 * TTL).await.unwrap();
        assert!(second.token() > token);
        assert!(world.now() - before < TTL / 2, "a lock that is given back is taken at once");
        for (lock, ttl) in [("", TTL), ("a\n", TTL), ("l", Duration::ZERO)] {
            assert!(matches!(a.acquire(lock, "a", ttl, TTL).await, Err(LockError::Bad { .. })));
        }
    });
}

#[test]
fn a_holder_that_died_is_waited_for_as_long_as_its_lease_and_no_longer() {
    let world = SimExecutor::new(2);
    let log = SimLog::start(&world, Box::new(MemoryJournal::new()), 2);
    let dead = world.block_on(process(&world, &log).acquire("l", "dead", TTL, Duration::ZERO)).unwrap().unwrap();
    // The process dies: nobody renews, nobody gives back.
    world.drop_tasks();
    std::mem::forget(dead);
    let log = {
        let journal = MemoryJournal::new();
        let again = SimLog::start(&world, Box::new(journal), 3);
        let copy = async {
            for event in
                log.read(csf_core::port::Read::log(csf_core::port::Filter::category("csf.lock"))).await.unwrap().events
            {
                let new = csf_core::port::NewEvent::new(event.stream, event.kind, event.stamp, event.data);
                again.append(new.into()).await.unwrap();
            }
        };
        world.block_on(copy).unwrap();
        again
    };
    let before = world.now();
    let taken = world.block_on(process(&world, &log).acquire("l", "b", TTL, 20 * TTL)).unwrap().unwrap();
    let waited = world.now() - before;
    assert!(waited >= TTL && waited < 2 * TTL, "{waited:?}");
    assert!(taken.is_valid());
}

/// At no moment two guards are certain of their lease, and a resource with a fence takes nothing from one that is over.
#[test]
fn no_two_holders_are_certain_at_once_whoever_falls_asleep() {
    let (mut taken, mut lost, mut stale) = (0, 0, 0);
    for seed in 0..60 {
        in_a_world(seed, async |world, log| {
            let guards: Arc<Mutex<Vec<Arc<LockGuard>>>> = Arc::default();
            let fence: Arc<Mutex<Fence>> = Arc::default();
            let counts: Arc<Mutex<[u32; 3]>> = Arc::default();
            for number in 0..4u64 {
                let timer = Sleepy::new(&world);
                let (locks, guards) = (sleepy_process(&world, &log, &timer), guards.clone());
                let (fence, counts) = (fence.clone(), counts.clone());
                let mut rng = SeededRng::new(seed).stream(number);
                world.spawn(Box::pin(async move {
                    loop {
                        let Ok(guard) = locks.acquire("l", &format!("p{number}"), TTL, 5 * TTL).await else { continue };
                        let guard = Arc::new(guard);
                        guards.lock().unwrap().push(guard.clone());
                        counts.lock().unwrap()[0] += 1;
                        for _ in 0..rng.below(5) {
                            let was_valid = guard.is_valid();
                            // Between the look and the deed, the whole process may sleep.
                            if rng.below(6) == 0 {
                                timer.fall_asleep(3 * TTL);
                            }
                            timer.sleep(Duration::from_millis(rng.below(40))).await;
                            if was_valid && fence.lock().unwrap().pass(guard.token()).is_err() {
                                counts.lock().unwrap()[2] += 1;
                            }
                        }
                        counts.lock().unwrap()[1] += u32::from(!guard.is_valid());
                        guards.lock().unwrap().retain(|known| known.token() != guard.token());
                    }
                }));
            }
            for _ in 0..4_000 {
                world.sleep(Duration::from_millis(1)).await;
                let valid: Vec<u64> =
                    guards.lock().unwrap().iter().filter(|guard| guard.is_valid()).map(|guard| guard.token()).collect();
                assert!(valid.len() <= 1, "seed {seed}: tokens {valid:?} at once");
            }
            let [t, l, s] = *counts.lock().unwrap();
            (taken, lost, stale) = (taken + t, lost + l, stale + s);
        });
    }
    assert!(taken > 1_000 && lost > 100 && stale > 10, "{taken} taken, {lost} lost, {stale} stale");
}
