//! A component's turn: up to so many deliveries, each committed before the next.
//!
//! Order of a delivery: the handler runs when its outputs and the delivery log have room; the delivery is committed to the log, then
//! the effects to their lanes.
//!
//! The clock is read once per delivery, when it is stamped. The same reading ends the delivery before, whose effects were committed just
//! then, and tells which timers are due: a timer that falls due lets the delivery pass that is running, and one more. The last delivery
//! of a turn takes one reading more.

use std::any::TypeId;

use csf_bus::{CREDIT, EffectWriter};
use csf_core::port::{HlcClock, TimeSource};
use csf_core::{Attributes, Event, Stamp, TimerId};
use csf_time::Hlc;

use super::handler::{Handled, Parts, handle};
use super::stats::{RunState, bump};
use super::{Runner, Timers};
use crate::{Delivery, Input, Outcome};

/// Events one component may handle before the next one's turn.
const LENGTH: usize = 64;

/// One turn of one component.
pub(super) struct Turn<'a> {
    runner: &'a mut Runner,
    log: &'a mut dyn EffectWriter,
    time: Time<'a>,
    /// The delivery that the next reading of the clock ends.
    open: Option<Open>,
}

/// A committed delivery that had effects.
struct Open {
    /// The trigger's topic, by its number in the component's paths.
    trigger: usize,
    stamp: Stamp,
    /// Outputs with effects.
    touched: u64,
}

/// Why a turn ended.
enum End {
    Over,
    NothingThere,
    NoCredit,
}

impl<'a> Turn<'a> {
    pub(super) fn new(
        runner: &'a mut Runner,
        log: &'a mut dyn EffectWriter,
        hlc: &'a mut Hlc,
        clock: &'a dyn TimeSource,
    ) -> Self {
        Self { runner, log, time: Time { hlc, clock, now: Stamp::ZERO }, open: None }
    }

    /// True when anything was handled.
    pub(super) fn run(mut self) -> bool {
        if self.runner.timers.next().is_some() {
            self.time.look();
        }
        let (mut handled, mut end) = (0, End::Over);
        while handled < LENGTH && self.runner.stats.state() != RunState::Failed {
            if !self.has_credit() {
                end = End::NoCredit;
                break;
            }
            if !self.step() {
                end = End::NothingThere;
                break;
            }
            handled += 1;
        }
        if self.open.is_some() {
            self.time.look();
            self.close();
        }
        self.count_queue(&end);
        handled > 0
    }

    fn has_credit(&mut self) -> bool {
        self.log.has_room(1) && self.runner.outputs.iter_mut().all(|(_, output)| output.has_room(CREDIT as u64))
    }

    /// Delivers one timer or packet; false when there is none.
    fn step(&mut self) -> bool {
        if let Some((at, timer)) = self.runner.timers.next()
            && at <= self.time.now
        {
            self.deliver_timer(at, timer);
            return true;
        }
        self.deliver_backlog() || self.deliver_packet()
    }

    fn deliver_timer(&mut self, at: Stamp, timer: TimerId) {
        self.time.hlc.observe(at);
        let delivered_at = self.time.tick();
        let Runner { component, outputs, ports, timers, .. } = &mut *self.runner;
        timers.clear(timer);
        let parts = Parts { component: component.as_mut(), outputs, ports, timers };
        let handled = handle(parts, |c, cx| c.on_timer(cx, timer), delivered_at, None);
        self.finish(Input::Timer(timer), delivered_at, handled, None);
    }

    /// What an earlier start recorded and did not deliver. Its latency would be the time between the starts.
    fn deliver_backlog(&mut self) -> bool {
        let Runner { backlog, component, outputs, ports, timers, .. } = &mut *self.runner;
        let Some((lane, header, payload)) = backlog.pop_front() else { return false };
        let delivered_at = self.time.merge(header.stamp);
        let event = Event::new(&lane.topic, &header, payload.as_ref());
        let parts = Parts { component: component.as_mut(), outputs, ports, timers };
        let handled = handle(parts, |c, cx| c.on_event(cx, &event), delivered_at, Some(header.id));
        let input = Input::Packet { lane: header.id.lane, seq: header.id.seq };
        self.finish(input, delivered_at, handled, None);
        true
    }

    /// The packet stays in its slot while the handler reads it; the borrow ends before the cursor moves on.
    fn deliver_packet(&mut self) -> bool {
        let Runner { input, component, outputs, ports, timers, paths, .. } = &mut *self.runner;
        let Some((lane, header, payload)) = input.peek() else { return false };
        let delivered_at = self.time.merge(header.stamp);
        let event = Event::new(&lane.topic, header, payload);
        let parts = Parts { component: component.as_mut(), outputs, ports, timers };
        let handled = handle(parts, |c, cx| c.on_event(cx, &event), delivered_at, Some(header.id));
        let open = (handled.touched != 0).then(|| Open {
            trigger: paths.trigger(lane),
            stamp: header.stamp,
            touched: handled.touched,
        });
        let input = Input::Packet { lane: header.id.lane, seq: header.id.seq };
        self.finish(input, delivered_at, handled, open);
        self.runner.input.advance();
        true
    }

    /// Commits the delivery, then its effects, and keeps the books.
    fn finish(&mut self, input: Input, delivered_at: Stamp, handled: Handled, open: Option<Open>) {
        let Runner { index, name, outputs, stats, .. } = &mut *self.runner;
        let mut entry = Some(Delivery { component: *index, input, outcome: handled.outcome });
        let (log, attributes) = (&mut *self.log, Attributes::default());
        if let Err(fault) = log.stage(TypeId::of::<Delivery>(), &mut entry, delivered_at, attributes, input.packet()) {
            tracing::error!(%fault, component = name, "delivery not logged; replay of this run will differ");
        }
        log.commit();
        self.time.hlc.observe(delivered_at.after(handled.effects));
        for output in bits(handled.touched) {
            outputs[output].1.commit();
        }
        bump(&stats.handled, 1);
        bump(&stats.published, handled.effects);
        self.close();
        self.open = open;
        if let Some(fault) = handled.fault {
            fail(self.runner, &fault, handled.outcome, delivered_at);
        }
    }

    /// Books the delivery that the newest reading ended.
    fn close(&mut self) {
        let Some(Open { trigger, stamp, touched }) = self.open.take() else { return };
        let elapsed_ns = self.time.now.since(stamp);
        let Runner { outputs, stats, paths, .. } = &mut *self.runner;
        stats.latency.record(elapsed_ns);
        for output in bits(touched) {
            paths.record(trigger, output, outputs[output].1.as_ref(), elapsed_ns);
        }
    }

    /// Says how many packets wait. The lanes are counted only when some are known to: their counts are their producers' lines, which a
    /// poll must not take away.
    fn count_queue(&mut self, end: &End) {
        let Runner { input, backlog, stats, .. } = &mut *self.runner;
        let is_empty = matches!(end, End::NothingThere) && input.hold_left_ns().is_none();
        stats.set_queue(if is_empty { 0 } else { input.lag() + backlog.len() as u64 });
        stats.set_late(input.late());
    }
}

/// A dispatcher's clocks during a turn.
struct Time<'a> {
    hlc: &'a mut Hlc,
    clock: &'a dyn TimeSource,
    /// The newest reading; zero before the first.
    now: Stamp,
}

impl Time<'_> {
    fn look(&mut self) {
        self.now = self.clock.now_ns().map_or(self.now, |now| Stamp(now.as_nanos()));
    }

    fn tick(&mut self) -> Stamp {
        match self.hlc.tick() {
            Ok(stamp) => self.read(stamp),
            Err(_) => self.hlc.last().after(1),
        }
    }

    fn merge(&mut self, seen: Stamp) -> Stamp {
        match self.hlc.merge(seen) {
            Ok(stamp) => self.read(stamp),
            // Packets of this node never exceed the offset limit; a refused merge only means an odd clock, and order must hold anyway.
            Err(_) => {
                self.look();
                self.hlc.observe(seen);
                self.hlc.last().after(1)
            }
        }
    }

    /// Keeps the reading that `stamp` was made of.
    fn read(&mut self, stamp: Stamp) -> Stamp {
        // The logical part of a stamp is its distance from the physical clock.
        self.now = Stamp(stamp.0.saturating_sub(self.hlc.logical_time().logical));
        stamp
    }
}

/// The numbers of the bits that are set, the least first.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = set.trailing_zeros() as usize;
        set &= set.checked_sub(1)?;
        Some(bit)
    })
}

fn fail(runner: &mut Runner, fault: &str, outcome: Outcome, at: Stamp) {
    bump(&runner.stats.faults, 1);
    runner.stats.set_last_fault(fault.to_owned());
    tracing::warn!(component = runner.name, fault, "handler failed; its effects were undone");
    let what = if outcome == Outcome::Panic { "terminated" } else { "fault" };
    (runner.observer)(&runner.name, what, fault);
    if outcome != Outcome::Panic {
        return;
    }
    runner.component = (runner.factory)();
    runner.timers = Timers::default();
    let window = u64::try_from(runner.restart.within.as_nanos()).unwrap_or(u64::MAX);
    runner.recent_restarts.retain(|r| at.since(*r) < window);
    if runner.recent_restarts.len() >= runner.restart.at_most as usize {
        tracing::error!(component = runner.name, "restart budget is spent; the component is given up");
        runner.stats.set_state(RunState::Failed);
        // Nobody may have to wait for what it does not read any more.
        runner.input.detach();
        runner.backlog.clear();
        (runner.observer)(&runner.name, "budget_spent", "it stays down; the other components go on");
        return;
    }
    runner.recent_restarts.push(at);
    bump(&runner.stats.restarts, 1);
    runner.stats.add_instance();
    (runner.observer)(&runner.name, "started", "from its factory");
}

#[cfg(test)]
#[path = "turn/tests.rs"]
mod tests;
