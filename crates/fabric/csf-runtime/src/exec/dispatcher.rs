//! A dispatcher: one thread that owns some components, polls their lanes, runs handlers to completion and commits their effects.
//!
//! Components take turns ([`super::turn`]). Handlers never wait.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_bus::{Doorbell, EffectWriter, Subscription};
use csf_core::port::{TimeSource, within};
use csf_core::{Component, Header, Stamp, TimerId};
use csf_time::Hlc;
use tokio::sync::oneshot;

use super::paths::ComponentPaths;
use super::stats::{ComponentStats, RunState};
use super::turn::Turn;
use super::worker::{Work, Worker, step_back};
use crate::World;
use crate::config::RestartSettings;
use crate::pack::ComponentFactory;

/// Idle rounds between two looks at the clock: the reading is the dearest part of a round, and a microsecond is near enough.
const ROUNDS_PER_LOOK: u32 = 16;
/// Longest sleep without a timer; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);

/// Hears what happens to a component outside its work: its name, what (`fault`, `terminated`, `started`, `budget_spent`), in words.
pub type ComponentObserver = Arc<dyn Fn(&str, &str, &str) + Send + Sync>;

/// Output ports and their lanes.
pub type Outputs = Vec<(String, Box<dyn EffectWriter>)>;

/// A component with everything it needs to run.
pub struct Runner {
    /// Its number in the delivery log.
    pub index: u16,
    /// Its name in the node.
    pub name: String,
    /// The state machine.
    pub component: Box<dyn Component>,
    /// Makes it anew after a panic.
    pub factory: ComponentFactory,
    /// What it reads.
    pub input: Subscription,
    /// Output ports of its type, connected or not.
    pub ports: Vec<&'static str>,
    /// Output port → lane.
    pub outputs: Outputs,
    /// Timers set and not yet due.
    pub timers: Timers,
    /// Restart budget.
    pub restart: RestartSettings,
    /// Counters.
    pub stats: Arc<ComponentStats>,
    /// End-to-end latency by (trigger topic, effect topic).
    pub paths: ComponentPaths,
    /// Recorded inputs of an earlier start that were not delivered then, delivered first.
    pub backlog: std::collections::VecDeque<(csf_core::port::LaneInfo, Header, csf_core::AnyPayload)>,
    /// Stamps of recent restarts, for the budget.
    pub recent_restarts: Vec<Stamp>,
    /// Hears of faults and restarts.
    pub observer: ComponentObserver,
    /// Whether it is given nothing for now.
    pub is_paused: bool,
}

impl Runner {
    /// Whether it may be given something.
    pub(super) fn is_open(&self) -> bool {
        !self.is_paused && self.stats.state() != RunState::Failed
    }
}

/// A component's timers, by due time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timers {
    due: BTreeSet<(Stamp, TimerId)>,
}

impl Timers {
    /// Sets or moves a timer.
    pub fn set(&mut self, timer: TimerId, at: Stamp) {
        self.due.retain(|(_, t)| *t != timer);
        self.due.insert((at, timer));
    }

    /// The earliest timer.
    #[must_use]
    pub fn next(&self) -> Option<(Stamp, TimerId)> {
        self.due.first().copied()
    }

    /// Removes a timer.
    pub fn clear(&mut self, timer: TimerId) {
        self.due.retain(|(_, t)| *t != timer);
    }
}

/// Controls a dispatcher.
pub struct DispatcherHandle {
    shared: Arc<Shared>,
    worker: Worker,
}

/// What somebody wants done with the runners between two rounds.
type Job = Box<dyn FnOnce(&mut Vec<Runner>) + Send>;

struct Shared {
    bell: Arc<Doorbell>,
    stop: AtomicBool,
    is_nudged: AtomicBool,
    idle_rounds: AtomicU64,
    jobs: Mutex<Vec<Job>>,
    has_jobs: AtomicBool,
}

impl DispatcherHandle {
    /// Counts the times the dispatcher found nothing to do: when it grows while no producer publishes, everything is handled.
    #[must_use]
    pub fn idle_rounds(&self) -> u64 {
        self.shared.idle_rounds.load(Ordering::SeqCst)
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
            () = self.worker.ended() => None,
        }
    }

    /// Handles what is there, then ends. A second call does nothing.
    pub async fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.bell.ring();
        self.worker.ended().await;
    }
}

/// Runs components, on one thread.
pub struct Dispatcher {
    runners: Vec<Runner>,
    log: Box<dyn EffectWriter>,
    hlc: Hlc,
    clock: Arc<dyn TimeSource>,
    shared: Arc<Shared>,
    spin_ns: u64,
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
            bell,
            stop: AtomicBool::new(false),
            is_nudged: AtomicBool::new(false),
            idle_rounds: AtomicU64::new(0),
            jobs: Mutex::default(),
            has_jobs: AtomicBool::new(false),
        });
        let dispatcher = Self { runners, log, hlc, clock, shared: shared.clone(), spin_ns };
        let worker = Worker::start(name, dispatcher, world)?;
        Ok(DispatcherHandle { shared, worker })
    }

    fn now(&self) -> Stamp {
        Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos()))
    }

    fn begin(&mut self) {
        for runner in &mut self.runners {
            runner.input.allow_sleep();
            runner.stats.set_state(RunState::Running);
        }
    }

    fn end(&self) {
        for runner in &self.runners {
            // A component is a stranger's code: its panic here must not be the dispatcher's.
            match catch_unwind(AssertUnwindSafe(|| runner.component.snapshot())) {
                Ok(snapshot) => runner.stats.set_last_snapshot(snapshot),
                Err(panic) => runner.stats.set_last_fault(super::handler::panic_text(panic.as_ref())),
            }
            if runner.stats.state() == RunState::Running {
                runner.stats.set_state(RunState::Stopped);
            }
        }
    }

    /// Until something is due, at the latest.
    fn nap(&self, now: Stamp) -> Duration {
        let next = self.runners.iter().filter(|r| r.is_open()).filter_map(|r| r.timers.next()).map(|(at, _)| at).min();
        next.map_or(NAP, |at| Duration::from_nanos(at.since(now)).min(NAP))
    }

    fn has_reason(shared: &Shared, runners: &mut [Runner]) -> bool {
        shared.stop.load(Ordering::Acquire)
            || shared.has_jobs.load(Ordering::Acquire)
            || shared.is_nudged.swap(false, Ordering::AcqRel)
            || runners.iter_mut().any(|r| r.is_open() && r.input.peek().is_some())
    }

    fn park(&mut self, now: Stamp) {
        let nap = self.nap(now);
        let Self { shared, runners, .. } = self;
        shared.bell.wait(nap, || Self::has_reason(shared, runners));
    }

    #[cold]
    fn do_jobs(&mut self) {
        self.shared.has_jobs.store(false, Ordering::SeqCst);
        let jobs = std::mem::take(&mut *self.shared.jobs.lock().unwrap_or_else(PoisonError::into_inner));
        for job in jobs {
            job(&mut self.runners);
        }
        // A lane taken over may have been written by a dispatcher whose clock is ahead.
        let outputs = self.runners.iter().flat_map(|runner| &runner.outputs);
        outputs.for_each(|(_, output)| self.hlc.observe(output.newest()));
    }

    /// One turn for every component; true when anything was handled.
    fn round(&mut self) -> bool {
        if self.shared.has_jobs.load(Ordering::Acquire) {
            self.do_jobs();
        }
        let Self { runners, log, hlc, clock, .. } = self;
        let mut is_busy = false;
        for runner in runners.iter_mut().filter(|runner| runner.is_open()) {
            is_busy |= Turn::new(runner, log.as_mut(), hlc, clock.as_ref()).run();
        }
        is_busy
    }
}

impl Work for Dispatcher {
    fn run(mut self) {
        self.begin();
        let (mut idle, mut idle_since) = (0, Stamp::ZERO);
        loop {
            let is_stopping = self.shared.stop.load(Ordering::Acquire);
            if self.round() {
                idle = 0;
                continue;
            }
            self.shared.idle_rounds.fetch_add(1, Ordering::SeqCst);
            if is_stopping {
                break;
            }
            if idle % ROUNDS_PER_LOOK == 0 {
                let now = self.now();
                if idle == 0 {
                    idle_since = now;
                }
                if now.since(idle_since) >= self.spin_ns {
                    self.park(now);
                    idle = 0;
                    continue;
                }
            }
            idle = idle.wrapping_add(1);
            std::hint::spin_loop();
        }
        self.end();
    }

    async fn run_as_task(mut self, world: World) {
        self.begin();
        loop {
            let is_stopping = self.shared.stop.load(Ordering::Acquire);
            if self.round() {
                step_back().await;
                continue;
            }
            self.shared.idle_rounds.fetch_add(1, Ordering::SeqCst);
            if is_stopping {
                break;
            }
            let nap = self.nap(self.now());
            let Self { shared, runners, .. } = &mut self;
            let news = shared.bell.wait_until(|| Self::has_reason(shared, runners).then_some(()));
            within(&*world.timer, nap, news).await;
        }
        self.end();
    }
}
