//! A dispatcher: one thread that owns some components, polls their lanes, runs handlers to completion and commits their effects.
//!
//! Components take turns ([`super::turn`]). Handlers never wait.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use csf_bus::{Doorbell, EffectWriter, Subscription};
use csf_core::port::TimeSource;
use csf_core::{Component, Header, Stamp, TimerId};
use csf_time::Hlc;

use super::paths::ComponentPaths;
use super::stats::{ComponentStats, RunState};
use super::turn::Turn;
use crate::config::RestartSettings;
use crate::pack::ComponentFactory;

/// Idle rounds between two looks at the clock: the reading is the dearest part of a round, and a microsecond is near enough.
const ROUNDS_PER_LOOK: u32 = 16;
/// Longest sleep without a timer; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);

/// Hears what happens to a component outside its work: its name, what (`fault`, `terminated`, `started`, `budget_spent`), in words.
pub type ComponentObserver = Arc<dyn Fn(&str, &str, &str) + Send + Sync>;

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
    pub outputs: Vec<(String, Box<dyn EffectWriter>)>,
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

/// Controls a dispatcher's thread.
pub struct DispatcherHandle {
    stop: Arc<AtomicBool>,
    bell: Arc<Doorbell>,
    idle_rounds: Arc<AtomicU64>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl DispatcherHandle {
    /// Counts the times the dispatcher found nothing to do: when it grows while no producer publishes, everything is handled.
    #[must_use]
    pub fn idle_rounds(&self) -> u64 {
        self.idle_rounds.load(Ordering::SeqCst)
    }

    /// Wakes it, so that it looks once more.
    pub fn nudge(&self) {
        self.bell.ring();
    }

    /// Handles what is there, then ends the thread. A second call does nothing.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.bell.ring();
        if let Some(thread) = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("a dispatcher panicked outside a handler");
        }
    }
}

/// Runs components on one thread.
pub struct Dispatcher {
    runners: Vec<Runner>,
    log: Box<dyn EffectWriter>,
    hlc: Hlc,
    clock: Arc<dyn TimeSource>,
    bell: Arc<Doorbell>,
    stop: Arc<AtomicBool>,
    idle_rounds: Arc<AtomicU64>,
    spin_ns: u64,
}

impl Dispatcher {
    /// Starts a thread. All runners' subscriptions share `bell`; `log` is the dispatcher's delivery lane. It spins `spin_ns` before parking.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn start(
        name: &str,
        runners: Vec<Runner>,
        log: Box<dyn EffectWriter>,
        hlc: Hlc,
        clock: Arc<dyn TimeSource>,
        bell: Arc<Doorbell>,
        spin_ns: u64,
    ) -> std::io::Result<DispatcherHandle> {
        let stop = Arc::new(AtomicBool::new(false));
        let idle_rounds = Arc::new(AtomicU64::new(0));
        let mut dispatcher = Self {
            runners,
            log,
            hlc,
            clock,
            bell: bell.clone(),
            stop: stop.clone(),
            idle_rounds: idle_rounds.clone(),
            spin_ns,
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || dispatcher.run())?;
        Ok(DispatcherHandle { stop, bell, idle_rounds, thread: Mutex::new(Some(thread)) })
    }

    fn now(&self) -> Stamp {
        Stamp(self.clock.now_ns().map_or(0, |t| t.as_nanos()))
    }

    fn run(&mut self) {
        for runner in &mut self.runners {
            runner.input.allow_sleep();
            runner.stats.set_state(RunState::Running);
        }
        let (mut idle, mut idle_since) = (0, Stamp::ZERO);
        loop {
            let is_stopping = self.stop.load(Ordering::Acquire);
            if self.round() {
                idle = 0;
                continue;
            }
            self.idle_rounds.fetch_add(1, Ordering::SeqCst);
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
        for runner in &self.runners {
            if runner.stats.state() == RunState::Running {
                runner.stats.set_state(RunState::Stopped);
            }
        }
    }

    fn park(&mut self, now: Stamp) {
        let next = self.runners.iter().filter_map(|r| r.timers.next()).map(|(at, _)| at).min();
        let nap = next.map_or(NAP, |at| Duration::from_nanos(at.since(now)).min(NAP));
        let bell = self.bell.clone();
        bell.wait(nap, || {
            self.stop.load(Ordering::Acquire) || self.runners.iter_mut().any(|r| r.input.peek().is_some())
        });
    }

    /// One turn for every component; true when anything was handled.
    fn round(&mut self) -> bool {
        let Self { runners, log, hlc, clock, .. } = self;
        let mut is_busy = false;
        for runner in runners {
            is_busy |= Turn::new(runner, log.as_mut(), hlc, clock.as_ref()).run();
        }
        is_busy
    }
}
