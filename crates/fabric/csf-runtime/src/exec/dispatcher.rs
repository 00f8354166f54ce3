//! A dispatcher: one thread that owns some components, polls their lanes, runs handlers to completion and commits their effects.
//!
//! Components take turns ([`super::turn`]). Handlers never wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_bus::{Doorbell, EffectWriter};
use csf_core::Stamp;
use csf_core::port::{HlcClock, TimeSource, within};
use csf_time::Hlc;
use tokio::sync::{oneshot, watch};

use super::crew::{Abandoned, Crew, Deck, Held, Look, Seat};
use super::runner::Runner;
use super::stats::RunState;
use super::turn::{Came, Turn, write};
use super::worker::{Work, Worker, step_back};
use crate::{Delivery, World};

/// Idle rounds between two looks at the clock: the reading is the dearest part of a round, and a microsecond is near enough.
const ROUNDS_PER_LOOK: u32 = 16;
/// Longest sleep without a timer; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);
/// Virtual time between two looks at something that waits and cannot be handled yet.
const HELD_UP: Duration = Duration::from_millis(10);

/// Controls a dispatcher.
pub struct DispatcherHandle {
    shared: Arc<Shared>,
    /// The thread or task at work; `None` between one that was given up and the next.
    worker: watch::Sender<Option<Arc<Worker>>>,
    name: String,
    clock: Arc<dyn TimeSource>,
    spin_ns: u64,
    world: World,
}

/// What somebody wants done with the runners between two rounds.
type Job = Box<dyn FnOnce(&mut Vec<Runner>) + Send>;

struct Shared {
    deck: Deck,
    bell: Arc<Doorbell>,
    stop: AtomicBool,
    is_nudged: AtomicBool,
    idle_rounds: AtomicU64,
    jobs: Mutex<Vec<Job>>,
    has_jobs: AtomicBool,
}

impl DispatcherHandle {
    /// Counts the times the dispatcher found nothing to do, and nothing that waits for room either: when it grows while no producer publishes, everything is handled.
    #[must_use]
    pub fn idle_rounds(&self) -> u64 {
        self.shared.idle_rounds.load(Ordering::SeqCst)
    }

    /// Whether it handles nothing any more.
    pub(crate) fn is_over(&self) -> bool {
        self.worker.borrow().as_ref().is_some_and(|worker| worker.is_over())
    }

    /// Wakes it, so that it looks once more.
    pub fn nudge(&self) {
        self.shared.is_nudged.store(true, Ordering::Release);
        self.shared.bell.ring();
    }

    /// Does something with the runners between two rounds, on the dispatcher; `None` when it has ended. A job that was asked for is done
    /// also when nobody waits for its answer any more.
    pub async fn between_rounds<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Vec<Runner>) -> R + Send + 'static,
    ) -> Option<R> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |runners| drop(answer.send(job(runners))));
        self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner).push(job);
        self.shared.has_jobs.store(true, Ordering::Release);
        self.shared.bell.ring();
        tokio::select! {
            biased;
            answer = answered => answer.ok(),
            () = self.ended() => None,
        }
    }

    /// Whether a watched handler runs, and which.
    pub(crate) fn look(&self) -> Look {
        self.shared.deck.look()
    }

    /// Gives the `number`th watched handler up, with its component and the thread it runs on; `None` when it has ended. Nothing runs
    /// until [`DispatcherHandle::take_up`].
    pub(crate) fn abandon(&self, number: u64, limit: Duration) -> Option<Abandoned> {
        let abandoned = self.shared.deck.abandon(number, limit)?;
        self.worker.send_replace(None);
        Some(abandoned)
    }

    /// Goes on with the other components on a fresh thread, whose delivery log begins with what became of the stuck one.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn take_up(
        &self,
        abandoned: Abandoned,
        log: Box<dyn EffectWriter>,
        mut hlc: Hlc,
    ) -> std::io::Result<()> {
        hlc.observe(abandoned.newest);
        let first = Some((abandoned.delivery, abandoned.newest));
        let (shared, clock, spin_ns) = (self.shared.clone(), self.clock.clone(), self.spin_ns);
        let dispatcher = Dispatcher { log, hlc, clock, shared, spin_ns, may_watch: !self.world.is_simulated(), first };
        self.worker.send_replace(Some(Arc::new(Worker::start(&self.name, dispatcher, &self.world)?)));
        Ok(())
    }

    /// Waits until it has ended; an abandoned thread's end is not its end. Cancel safe.
    async fn ended(&self) {
        let mut workers = self.worker.subscribe();
        loop {
            // The sender lives in this handle.
            let Some(worker) = workers.wait_for(Option::is_some).await.ok().and_then(|worker| worker.clone()) else {
                return;
            };
            worker.ended().await;
            if self.worker.borrow().as_ref().is_some_and(|current| Arc::ptr_eq(current, &worker)) {
                return;
            }
        }
    }

    /// Handles what is there, then ends. A second call does nothing.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.ended().await;
    }
}

/// Runs components, on one thread.
pub struct Dispatcher {
    log: Box<dyn EffectWriter>,
    hlc: Hlc,
    clock: Arc<dyn TimeSource>,
    shared: Arc<Shared>,
    spin_ns: u64,
    /// Whether its handlers can be given up: on a thread of its own.
    may_watch: bool,
    /// What its log begins with, and after when.
    first: Option<(Delivery, Stamp)>,
}

impl Dispatcher {
    /// Starts it in `world`. All runners' subscriptions share `bell`; `log` is the dispatcher's delivery lane. A thread spins `spin_ns`
    /// before it parks.
    ///
    /// # Errors
    /// When a thread cannot be started.
    #[expect(clippy::too_many_arguments, reason = "the parts of a dispatcher, each once")]
    pub fn start(
        name: &str,
        runners: Vec<Runner>,
        log: Box<dyn EffectWriter>,
        hlc: Hlc,
        clock: Arc<dyn TimeSource>,
        bell: Arc<Doorbell>,
        spin_ns: u64,
        world: &World,
    ) -> std::io::Result<DispatcherHandle> {
        let shared = Arc::new(Shared {
            deck: Deck::new(runners),
            bell,
            stop: AtomicBool::new(false),
            is_nudged: AtomicBool::new(false),
            idle_rounds: AtomicU64::new(0),
            jobs: Mutex::default(),
            has_jobs: AtomicBool::new(false),
        });
        let may_watch = !world.is_simulated();
        let (inside, source) = (shared.clone(), clock.clone());
        let dispatcher = Self { log, hlc, clock: source, shared: inside, spin_ns, may_watch, first: None };
        let worker = watch::Sender::new(Some(Arc::new(Worker::start(name, dispatcher, world)?)));
        Ok(DispatcherHandle { shared, worker, name: name.to_owned(), clock, spin_ns, world: world.clone() })
    }

    fn now(&self) -> Stamp {
        Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos()))
    }

    fn begin(&mut self, crew: &mut Crew) {
        if let Some((delivery, newest)) = self.first.take() {
            let at = self.hlc.tick().unwrap_or_else(|_| newest.after(1));
            write(self.log.as_mut(), delivery, at);
        }
        for runner in crew.runners.iter_mut().filter(|r| r.stats.state() == RunState::Starting) {
            runner.stats.set_state(RunState::Running);
        }
        crew.runners.iter_mut().for_each(|runner| runner.input.allow_sleep());
    }

    fn end(crew: &Crew) {
        for runner in &crew.runners {
            // What panicked or never came back has no state to show.
            if let Some(machine) = runner.machine.as_ref().filter(|_| !runner.is_broken) {
                // A component is a stranger's code: its panic here must not be the dispatcher's.
                match catch_unwind(AssertUnwindSafe(|| machine.component.snapshot())) {
                    Ok(snapshot) => runner.stats.set_last_snapshot(snapshot),
                    Err(panic) => runner.stats.set_last_fault(super::handler::panic_text(panic.as_ref())),
                }
            }
            if runner.stats.state() == RunState::Running {
                runner.stats.set_state(RunState::Stopped);
            }
        }
    }

    /// Until something is due, at the latest.
    fn nap(runners: &[Runner], now: Stamp) -> Duration {
        let next = runners.iter().filter(|r| r.is_open()).filter_map(|r| r.timers.next()).map(|(at, _)| at).min();
        next.map_or(NAP, |at| Duration::from_nanos(at.since(now)).min(NAP))
    }

    /// `is_ending`: the stop is known, and what it waits for is a job.
    fn has_reason(shared: &Shared, runners: &mut [Runner], is_ending: bool) -> bool {
        (shared.stop.load(Ordering::Acquire) && !is_ending)
            || shared.has_jobs.load(Ordering::Acquire)
            || shared.is_nudged.swap(false, Ordering::AcqRel)
            || runners.iter_mut().any(|r| r.is_open() && r.input.peek().is_some())
    }

    #[cold]
    fn do_jobs(&mut self, crew: &mut Crew) {
        self.shared.has_jobs.store(false, Ordering::SeqCst);
        let jobs = std::mem::take(&mut *self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        for job in jobs {
            job(&mut crew.runners);
        }
        // A lane taken over may have been written by a dispatcher whose clock is ahead.
        let machines = crew.runners.iter().filter_map(|runner| runner.machine.as_ref());
        machines.flat_map(|machine| &machine.outputs).for_each(|(_, output)| self.hlc.observe(output.newest()));
    }

    /// One turn for every component, and what came of them; no lock any more when this dispatcher was given up.
    fn round<'a>(&mut self, deck: &'a Deck, mut held: Held<'a>) -> (Option<Held<'a>>, Came) {
        if self.shared.has_jobs.load(Ordering::Acquire) {
            self.do_jobs(&mut held);
        }
        let mut most = Came::Idle;
        for at in 0..held.runners.len() {
            if !held.runners[at].is_open() {
                continue;
            }
            let seat = Seat::new(deck, held, at);
            let turn = Turn::new(seat, self.log.as_mut(), &mut self.hlc, self.clock.as_ref(), self.may_watch);
            let (left, came) = turn.run();
            most = most.max(came);
            match left {
                Some(left) => held = left,
                None => return (None, most),
            }
        }
        (Some(held), most)
    }

    /// Counts a round that handled nothing, unless something is there that has no room for its effects.
    fn count_idle(shared: &Shared, came: Came) {
        if came == Came::Idle {
            shared.idle_rounds.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether it may end: nobody waits for its state.
    fn may_end(crew: &Crew) -> bool {
        !crew.runners.iter().any(|runner| runner.is_broken)
    }
}

impl Work for Dispatcher {
    fn run(mut self) {
        let shared = self.shared.clone();
        let mut held = shared.deck.hold();
        self.begin(&mut held);
        let (mut idle, mut idle_since) = (0, Stamp::ZERO);
        loop {
            let is_stopping = shared.stop.load(Ordering::Acquire);
            let (left, came) = self.round(&shared.deck, held);
            let Some(left) = left else {
                tracing::warn!("a handler that was given up returned; what it did was undone");
                return;
            };
            held = left;
            if came == Came::Busy {
                idle = 0;
                continue;
            }
            Self::count_idle(&shared, came);
            if is_stopping && Self::may_end(&held) {
                break;
            }
            if idle % ROUNDS_PER_LOOK == 0 {
                let now = self.now();
                if idle == 0 {
                    idle_since = now;
                }
                if now.since(idle_since) >= self.spin_ns {
                    let runners = &mut held.runners;
                    let nap = Self::nap(runners, now);
                    shared.bell.wait(nap, || Self::has_reason(&shared, runners, is_stopping));
                    idle = 0;
                    continue;
                }
            }
            idle = idle.wrapping_add(1);
            std::hint::spin_loop();
        }
        Self::end(&held);
    }

    async fn run_as_task(mut self, world: World) {
        let shared = self.shared.clone();
        self.begin(&mut shared.deck.hold());
        let mut was_woken = false;
        loop {
            let is_stopping = shared.stop.load(Ordering::Acquire);
            let (_, came) = self.round(&shared.deck, shared.deck.hold());
            if came == Came::Busy {
                was_woken = false;
                step_back().await;
                continue;
            }
            if was_woken {
                // Something waits that cannot be handled yet, such as for room in the log: whoever makes room needs time to pass.
                world.timer.sleep(HELD_UP).await;
            }
            Self::count_idle(&shared, came);
            if is_stopping && Self::may_end(&shared.deck.hold()) {
                break;
            }
            let nap = Self::nap(&shared.deck.hold().runners, self.now());
            // The round has just looked: the first look that tells something is the one after the bell knows who waits.
            let mut is_first = true;
            let look = || {
                let has_reason = !std::mem::replace(&mut is_first, false)
                    && Self::has_reason(&shared, &mut shared.deck.hold().runners, is_stopping);
                has_reason.then_some(())
            };
            was_woken = within(&*world.timer, nap, shared.bell.wait_until(look)).await.is_some();
        }
        Self::end(&shared.deck.hold());
    }
}
