//! A dispatcher: one thread that owns some components, polls their lanes, runs handlers to completion and commits their effects.
//!
//! Order of a delivery: the component is chosen only when its outputs and the delivery log have room; the handler runs; the delivery
//! is committed to the log, then the effects to their lanes. Handlers never wait.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use csf_bus::{CREDIT, Doorbell, EffectWriter, Subscription};
use csf_core::port::{HlcClock, TimeSource};
use csf_core::{Attributes, Component, Context, EffectSink, Event, Fault, Header, MessageId, Stamp, TimerId};
use csf_time::Hlc;

use super::stats::{ComponentStats, Latency, RunState};
use crate::config::RestartSettings;
use crate::pack::ComponentFactory;
use crate::{Delivery, Input, Outcome};

/// Events one component may handle before the next one's turn.
const TURN: usize = 64;
/// Longest sleep without a timer; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);

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
    pub paths: Arc<PathLatencies>,
    /// Recorded inputs of an earlier start that were not delivered then, delivered first.
    pub backlog: std::collections::VecDeque<(csf_core::port::LaneInfo, Header, csf_core::AnyPayload)>,
    /// Stamps of recent restarts, for the budget.
    pub recent_restarts: Vec<Stamp>,
}

/// Latencies of all (trigger topic, effect topic) pairs of a node.
pub type PathLatencies = Mutex<BTreeMap<(String, String), Arc<Latency>>>;

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
        let mut idle_since = None;
        loop {
            let stopping = self.stop.load(Ordering::Acquire);
            if self.round() {
                idle_since = None;
                continue;
            }
            self.idle_rounds.fetch_add(1, Ordering::SeqCst);
            if stopping {
                break;
            }
            let now = self.now();
            let since = *idle_since.get_or_insert(now);
            if now.since(since) < self.spin_ns {
                std::hint::spin_loop();
            } else {
                self.park(now);
                idle_since = None;
            }
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
        let mut busy = false;
        for index in 0..self.runners.len() {
            for _ in 0..TURN {
                let now = self.now();
                let runner = &mut self.runners[index];
                if runner.stats.state() == RunState::Failed || !has_credit(runner, self.log.as_mut()) {
                    break;
                }
                if !step(runner, self.log.as_mut(), &mut self.hlc, now, self.clock.as_ref()) {
                    break;
                }
                busy = true;
            }
            let runner = &self.runners[index];
            runner.stats.queue.store(runner.input.lag() + runner.backlog.len() as u64, Ordering::Relaxed);
        }
        busy
    }
}

fn has_credit(runner: &mut Runner, log: &mut dyn EffectWriter) -> bool {
    log.has_room(1) && runner.outputs.iter_mut().all(|(_, output)| output.has_room(CREDIT as u64))
}

/// Delivers one timer or packet; false when there is none.
fn step(runner: &mut Runner, log: &mut dyn EffectWriter, hlc: &mut Hlc, now: Stamp, clock: &dyn TimeSource) -> bool {
    if let Some((at, timer)) = runner.timers.next()
        && at <= now
    {
        hlc.observe(at);
        let delivered_at = tick(hlc);
        runner.timers.clear(timer);
        let call = |component: &mut dyn Component, cx: &mut Context<'_>| component.on_timer(cx, timer);
        let parts = Parts {
            component: runner.component.as_mut(),
            outputs: &mut runner.outputs,
            ports: &runner.ports,
            timers: &mut runner.timers,
        };
        let result = handle(parts, call, delivered_at, None);
        finish(runner, log, hlc, Input::Timer(timer), delivered_at, result, None, clock);
        return true;
    }
    if let Some((lane, header, payload)) = runner.backlog.pop_front() {
        deliver(runner, log, hlc, clock, &lane.topic, &header, payload.as_ref());
        return true;
    }
    // The packet stays in its slot while the handler reads it; the borrow ends before the cursor moves on.
    let Runner { input, component, outputs, ports, timers, .. } = runner;
    let Some((lane, header, payload)) = input.peek() else {
        return false;
    };
    let delivered_at = merge(hlc, header.stamp);
    let event = Event::new(&lane.topic, header, payload);
    let parts = Parts { component: component.as_mut(), outputs, ports, timers };
    let result = handle(parts, |c, cx| c.on_event(cx, &event), delivered_at, Some(header.id));
    let trigger = Trigger { topic: lane.topic.clone(), stamp: header.stamp };
    let (lane, seq) = (header.id.lane, header.id.seq);
    finish(runner, log, hlc, Input::Packet { lane, seq }, delivered_at, result, Some(trigger), clock);
    runner.input.advance();
    true
}

fn deliver(
    runner: &mut Runner,
    log: &mut dyn EffectWriter,
    hlc: &mut Hlc,
    clock: &dyn TimeSource,
    topic: &str,
    header: &Header,
    payload: &dyn Any,
) {
    let delivered_at = merge(hlc, header.stamp);
    let event = Event::new(topic, header, payload);
    let parts = Parts {
        component: runner.component.as_mut(),
        outputs: &mut runner.outputs,
        ports: &runner.ports,
        timers: &mut runner.timers,
    };
    let result = handle(parts, |c, cx| c.on_event(cx, &event), delivered_at, Some(header.id));
    let input = Input::Packet { lane: header.id.lane, seq: header.id.seq };
    finish(runner, log, hlc, input, delivered_at, result, None, clock);
}

struct Trigger {
    topic: String,
    stamp: Stamp,
}

fn tick(hlc: &mut Hlc) -> Stamp {
    hlc.tick().unwrap_or_else(|_| hlc.last().after(1))
}

fn merge(hlc: &mut Hlc, seen: Stamp) -> Stamp {
    // Packets of this node never exceed the offset limit; a refused merge only means an odd clock, and order must hold anyway.
    hlc.merge(seen).unwrap_or_else(|_| {
        hlc.observe(seen);
        hlc.last().after(1)
    })
}

/// The parts of a runner that a handler call touches.
pub(crate) struct Parts<'a> {
    pub(crate) component: &'a mut dyn Component,
    pub(crate) outputs: &'a mut [(String, Box<dyn EffectWriter>)],
    pub(crate) ports: &'a [&'static str],
    pub(crate) timers: &'a mut Timers,
}

pub(crate) struct Handled {
    pub(crate) outcome: Outcome,
    pub(crate) effects: u64,
    pub(crate) fault: Option<String>,
    /// One bit per output that has staged packets.
    pub(crate) touched: u64,
}

/// Runs one handler; its effects are staged afterwards, or rolled back if it failed.
pub(crate) fn handle(
    parts: Parts<'_>,
    call: impl FnOnce(&mut dyn Component, &mut Context<'_>) -> Result<(), Fault>,
    delivered_at: Stamp,
    cause: Option<MessageId>,
) -> Handled {
    let mut sink = Sink {
        outputs: parts.outputs,
        ports: parts.ports,
        cause,
        next: delivered_at,
        effects: 0,
        timers: Vec::new(),
        touched: 0,
    };
    let component = parts.component;
    let result = catch_unwind(AssertUnwindSafe(|| call(component, &mut Context::new(delivered_at, &mut sink))));
    let Sink { outputs, effects, timers, touched, .. } = sink;
    let (outcome, fault) = match result {
        Ok(Ok(())) => (Outcome::Done, None),
        Ok(Err(fault)) => (Outcome::Fault, Some(fault.to_string())),
        Err(panic) => (Outcome::Panic, Some(panic_text(panic.as_ref()))),
    };
    if outcome == Outcome::Done {
        for (timer, at) in timers {
            parts.timers.set(timer, at);
        }
        return Handled { outcome, effects, fault, touched };
    }
    for (_, output) in outputs {
        output.rollback();
    }
    Handled { outcome, effects: 0, fault, touched: 0 }
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panicked".to_owned())
}

/// Commits the delivery, then its effects, and keeps the books.
#[expect(clippy::too_many_arguments, reason = "the one place where a delivery's parts meet")]
fn finish(
    runner: &mut Runner,
    log: &mut dyn EffectWriter,
    hlc: &mut Hlc,
    input: Input,
    delivered_at: Stamp,
    handled: Handled,
    trigger: Option<Trigger>,
    clock: &dyn TimeSource,
) {
    let mut entry = Some(Delivery { component: runner.index, input, outcome: handled.outcome });
    let attributes = Attributes::default();
    if let Err(fault) = log.stage(TypeId::of::<Delivery>(), &mut entry, delivered_at, attributes, input.packet()) {
        tracing::error!(%fault, component = runner.name, "delivery not logged; replay of this run will differ");
    }
    log.commit();
    hlc.observe(delivered_at.after(handled.effects));
    for (bit, (_, output)) in runner.outputs.iter_mut().enumerate() {
        if handled.touched & (1 << bit) != 0 {
            output.commit();
        }
    }
    runner.stats.handled.fetch_add(1, Ordering::Relaxed);
    runner.stats.published.fetch_add(handled.effects, Ordering::Relaxed);
    if let (Some(trigger), 1..) = (trigger, handled.effects) {
        let elapsed = clock.now_ns().map_or(0, |t| t.as_nanos()).saturating_sub(trigger.stamp.0);
        runner.stats.latency.record(elapsed);
        for (bit, (_, output)) in runner.outputs.iter().enumerate() {
            if handled.touched & (1 << bit) != 0 {
                record_path(&runner.paths, &trigger.topic, &output.info().topic, elapsed);
            }
        }
    }
    if let Some(fault) = handled.fault {
        fail(runner, &fault, handled.outcome, delivered_at);
    }
}

fn record_path(paths: &PathLatencies, from: &str, to: &str, elapsed: u64) {
    let mut paths = paths.lock().unwrap_or_else(PoisonError::into_inner);
    // Looked up without allocation in the usual case.
    let known = paths.iter().find(|((f, t), _)| f == from && t == to).map(|(_, latency)| latency.clone());
    let latency = known.unwrap_or_else(|| paths.entry((from.to_owned(), to.to_owned())).or_default().clone());
    drop(paths);
    latency.record(elapsed);
}

fn fail(runner: &mut Runner, fault: &str, outcome: Outcome, at: Stamp) {
    runner.stats.faults.fetch_add(1, Ordering::Relaxed);
    runner.stats.set_last_fault(fault.to_owned());
    tracing::warn!(component = runner.name, fault, "handler failed; its effects were undone");
    if outcome != Outcome::Panic {
        return;
    }
    let window = u64::try_from(runner.restart.within.as_nanos()).unwrap_or(u64::MAX);
    runner.recent_restarts.retain(|r| at.since(*r) < window);
    if runner.recent_restarts.len() >= runner.restart.at_most as usize {
        tracing::error!(component = runner.name, "restart budget is spent; the component is given up");
        runner.stats.set_state(RunState::Failed);
        return;
    }
    runner.recent_restarts.push(at);
    runner.component = (runner.factory)();
    runner.timers = Timers::default();
    runner.stats.restarts.fetch_add(1, Ordering::Relaxed);
}

struct Sink<'a> {
    outputs: &'a mut [(String, Box<dyn EffectWriter>)],
    ports: &'a [&'static str],
    cause: Option<MessageId>,
    next: Stamp,
    effects: u64,
    timers: Vec<(TimerId, Stamp)>,
    touched: u64,
}

impl EffectSink for Sink<'_> {
    fn stage(
        &mut self,
        output: &str,
        type_id: TypeId,
        value: &mut dyn Any,
        attributes: Attributes,
    ) -> Result<Option<MessageId>, Fault> {
        if self.effects >= CREDIT as u64 {
            return Err(Fault::OutputLimit { limit: CREDIT });
        }
        let found = self.outputs.iter_mut().enumerate().find(|(_, (name, _))| name == output);
        let Some((bit, (_, writer))) = found else {
            let unconnected = self.ports.contains(&output);
            return if unconnected { Ok(None) } else { Err(Fault::UnknownOutput { output: output.to_owned() }) };
        };
        let id = writer.stage(type_id, value, self.next, attributes, self.cause)?;
        self.next = self.next.after(1);
        self.effects += 1;
        self.touched |= 1 << bit;
        Ok(Some(id))
    }

    fn set_timer(&mut self, timer: TimerId, at: Stamp) {
        self.timers.push((timer, at));
    }
}
