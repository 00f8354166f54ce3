//! A component's turn: up to so many deliveries, each committed before the next.
//!
//! Order of a delivery: the handler runs when its outputs and the delivery log have room; the delivery is committed to the log, then
//! the effects to their lanes.
//!
//! The clock is read once per delivery, when it is stamped. The same reading ends the delivery before, whose effects were committed just
//! then, and tells which timers are due: a timer that falls due lets the delivery pass that is running, and one more. The last delivery
//! of a turn takes one reading more.

use std::any::TypeId;
use std::panic::{AssertUnwindSafe, catch_unwind};

use csf_bus::{CREDIT, EffectWriter};
use csf_core::port::{HlcClock, TimeSource};
use csf_core::{Attributes, Component, Context, Event, Fault, MessageId, Stamp, TimerId};
use csf_time::Hlc;

use super::crew::{Held, Seat};
use super::failing::Failure;
use super::handler::{Handled, Parts, handle};
use super::runner::{Machine, Runner};
use super::stats::bump;
use crate::{Delivery, Input, Outcome};

/// Events one component may handle before the next one's turn.
const LENGTH: usize = 64;

/// One turn of one component.
pub(super) struct Turn<'a, 's> {
    seat: Seat<'s>,
    log: &'a mut dyn EffectWriter,
    time: Time<'a>,
    /// Whether handlers run without the lock, where they can be given up.
    is_watched: bool,
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

/// Whether an event is over.
#[derive(PartialEq)]
enum Verdict {
    Over,
    /// It failed and is to be tried again.
    Again,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Came {
    /// Nothing is there.
    Idle,
    /// Something is there that has no room for its effects.
    HeldUp,
    /// Something was handled.
    Busy,
}

/// Why a turn ended.
enum End {
    Over,
    NothingThere,
    NoCredit,
}

/// What a step came to.
#[derive(PartialEq)]
enum Step {
    Handled,
    NothingThere,
    /// The handler took too long and was given up, and this dispatcher with it.
    Revoked,
}

impl<'a, 's> Turn<'a, 's> {
    pub(super) fn new(
        mut seat: Seat<'s>,
        log: &'a mut dyn EffectWriter,
        hlc: &'a mut Hlc,
        clock: &'a dyn TimeSource,
        may_watch: bool,
    ) -> Self {
        let is_watched = may_watch && seat.runner().stuck_after.is_some();
        Self { seat, log, time: Time { hlc, clock, now: Stamp::ZERO }, is_watched, open: None }
    }

    /// The lock, `None` when the dispatcher was given up; and what the turn came to.
    pub(super) fn run(mut self) -> (Option<Held<'s>>, Came) {
        if !self.begin() {
            let came = self.without_room();
            return (self.seat.leave(), came);
        }
        let (mut handled, mut end) = (0, End::Over);
        while handled < LENGTH && self.seat.runner().is_open() {
            if !self.has_credit() {
                end = End::NoCredit;
                break;
            }
            match self.step() {
                Step::Handled => handled += 1,
                Step::NothingThere => {
                    end = End::NothingThere;
                    break;
                }
                Step::Revoked => return (None, Came::Busy),
            }
        }
        if self.open.is_some() {
            self.time.look();
            self.close();
        }
        self.count_queue(&end);
        let came = match end {
            _ if handled > 0 => Came::Busy,
            End::NoCredit => self.without_room(),
            End::Over | End::NothingThere => Came::Idle,
        };
        (self.seat.leave(), came)
    }

    /// Without room it is idle only when there is nothing to handle.
    fn without_room(&mut self) -> Came {
        let Runner { input, backlog, .. } = self.seat.runner();
        if backlog.is_empty() && input.peek().is_none() { Came::Idle } else { Came::HeldUp }
    }

    /// False when the log has no room for what must be told first.
    fn begin(&mut self) -> bool {
        if let Some(input) = self.seat.runner().untold {
            if !self.log.has_room(1) {
                return false;
            }
            let at = self.time.tick();
            let runner = self.seat.runner();
            runner.untold = None;
            let delivery = Delivery { component: runner.index, input, outcome: Outcome::Done };
            write(self.log, delivery, at);
        }
        let runner = self.seat.runner();
        runner.keep(&*self.log);
        if runner.timers.next().is_some() {
            self.time.look();
        }
        true
    }

    fn has_credit(&mut self) -> bool {
        let outputs = self.seat.runner().machine.as_mut().map(|machine| &mut machine.outputs);
        self.log.has_room(1) && outputs.into_iter().flatten().all(|(_, output)| output.has_room(CREDIT as u64))
    }

    /// Delivers one timer or packet.
    fn step(&mut self) -> Step {
        if let Some((at, timer)) = self.seat.runner().timers.next()
            && at <= self.time.now
        {
            return self.deliver_timer(at, timer);
        }
        match self.deliver_backlog() {
            Step::NothingThere => self.deliver_packet(),
            step => step,
        }
    }

    fn deliver_timer(&mut self, at: Stamp, timer: TimerId) -> Step {
        self.time.hlc.observe(at);
        let delivered_at = self.time.tick();
        self.seat.runner().timers.clear(timer);
        let input = Input::Timer(timer);
        let Some(handled) = self.call(input, delivered_at, None, |c, cx| c.on_timer(cx, timer)) else {
            return Step::Revoked;
        };
        if self.finish(input, delivered_at, handled, None) == Verdict::Again {
            self.seat.runner().timers.set(timer, at);
        }
        Step::Handled
    }

    /// What an earlier start recorded and did not deliver. Its latency would be the time between the starts.
    fn deliver_backlog(&mut self) -> Step {
        let Some((lane, header, payload)) = self.seat.runner().backlog.pop_front() else { return Step::NothingThere };
        let delivered_at = self.time.merge(header.stamp);
        let input = Input::Packet { lane: header.id.lane, seq: header.id.seq };
        let event = Event::new(&lane.topic, &header, payload.as_ref());
        let Some(handled) = self.call(input, delivered_at, Some(header.id), |c, cx| c.on_event(cx, &event)) else {
            return Step::Revoked;
        };
        if self.finish(input, delivered_at, handled, None) == Verdict::Again {
            self.seat.runner().backlog.push_front((lane, header, payload));
        }
        Step::Handled
    }

    /// The packet stays in its slot while the handler reads it; the borrow ends before the cursor moves on. A watched handler reads a
    /// copy, since it may never return.
    fn deliver_packet(&mut self) -> Step {
        let is_watched = self.is_watched;
        let Runner { input, machine, paths, desk, .. } = self.seat.runner();
        let Some((lane, header, payload)) = input.peek() else { return Step::NothingThere };
        let (id, stamp) = (header.id, header.stamp);
        let trigger = paths.trigger(lane);
        let delivered_at = self.time.merge(stamp);
        let input = Input::Packet { lane: id.lane, seq: id.seq };
        let copy = if is_watched { desk.take_if(|desk| desk.lay(lane, header, payload)) } else { None };
        let handled = if let Some(desk) = copy {
            let event = desk.event().expect("it was laid down");
            let handled = self.call(input, delivered_at, Some(id), |c, cx| c.on_event(cx, &event));
            let Some(handled) = handled else { return Step::Revoked };
            self.seat.runner().desk = Some(desk);
            handled
        } else {
            let Some(machine) = machine else { return Step::NothingThere };
            let Machine { component, ports, outputs } = &mut **machine;
            let event = Event::new(&lane.topic, header, payload);
            let parts = Parts { component: component.as_mut(), outputs, ports };
            handle(parts, |c, cx| c.on_event(cx, &event), delivered_at, Some(id))
        };
        let open = (handled.touched != 0).then_some(Open { trigger, stamp, touched: handled.touched });
        if self.finish(input, delivered_at, handled, open) == Verdict::Over {
            self.seat.runner().input.advance();
        }
        Step::Handled
    }

    /// Runs a handler whose event does not lie on the bus; `None` when it was given up.
    fn call(
        &mut self,
        input: Input,
        delivered_at: Stamp,
        cause: Option<MessageId>,
        call: impl FnOnce(&mut dyn Component, &mut Context<'_>) -> Result<(), Fault>,
    ) -> Option<Handled> {
        let mut machine = self.seat.runner().machine.take().expect("an open runner has its machine");
        let run = || {
            let Machine { component, ports, outputs } = &mut *machine;
            handle(Parts { component: component.as_mut(), outputs, ports }, call, delivered_at, cause)
        };
        if !self.is_watched {
            let handled = run();
            self.seat.runner().machine = Some(machine);
            return Some(handled);
        }
        let (handled, is_revoked) = self.seat.lend(input, delivered_at, run);
        if is_revoked {
            discard(machine);
            return None;
        }
        self.seat.runner().machine = Some(machine);
        Some(handled)
    }

    /// Commits the delivery, then its effects, and keeps the books.
    fn finish(&mut self, input: Input, delivered_at: Stamp, handled: Handled, open: Option<Open>) -> Verdict {
        let runner = self.seat.runner();
        let (outcome, failures) = match handled.outcome {
            Outcome::Done if !runner.failing.is_empty() => {
                runner.failing.clear(input);
                (Outcome::Done, 0)
            }
            Outcome::Done => (Outcome::Done, 0),
            failed => runner.judge(input, failed),
        };
        let runner = self.seat.runner();
        let id = write(self.log, Delivery { component: runner.index, input, outcome }, delivered_at);
        self.time.hlc.observe(delivered_at.after(handled.effects));
        let outputs = runner.machine.as_mut().map(|machine| &mut machine.outputs[..]).unwrap_or_default();
        for output in bits(handled.touched) {
            outputs[output].1.commit();
        }
        for (timer, at) in handled.timers {
            runner.timers.set(timer, at);
        }
        bump(&runner.stats.handled, 1);
        bump(&runner.stats.published, handled.effects);
        self.close();
        self.open = open;
        if let Some(fault) = &handled.fault {
            self.seat.runner().fail(&Failure { id, input, outcome, failures, fault, at: delivered_at });
        }
        if outcome == Outcome::Failed { Verdict::Again } else { Verdict::Over }
    }

    /// Books the delivery that the newest reading ended.
    fn close(&mut self) {
        let Some(Open { trigger, stamp, touched }) = self.open.take() else { return };
        let elapsed_ns = self.time.now.since(stamp);
        let Runner { machine, stats, paths, .. } = self.seat.runner();
        stats.latency.record(elapsed_ns);
        let outputs = machine.as_ref().map(|machine| &machine.outputs[..]).unwrap_or_default();
        for output in bits(touched) {
            paths.record(trigger, output, outputs[output].1.as_ref(), elapsed_ns);
        }
    }

    /// Says how many packets wait. The lanes are counted only when some are known to: their counts are their producers' lines, which a
    /// poll must not take away.
    fn count_queue(&mut self, end: &End) {
        let Runner { input, backlog, stats, .. } = self.seat.runner();
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

/// Logs a delivery.
pub(super) fn write(log: &mut dyn EffectWriter, delivery: Delivery, at: Stamp) -> MessageId {
    let cause = delivery.input.packet();
    let (mut entry, next) = (Some(delivery), log.next_id());
    let staged = log.stage(TypeId::of::<Delivery>(), &mut entry, at, Attributes::default(), cause);
    log.commit();
    staged.unwrap_or_else(|fault| {
        tracing::error!(%fault, "delivery not logged; replay of this run will differ");
        next
    })
}

/// Lets go of what a handler left behind that was given up.
#[cold]
fn discard(mut machine: Box<Machine>) {
    machine.outputs.iter_mut().for_each(|(_, output)| output.rollback());
    // A component is a stranger's code, also in its drop.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(machine)));
}

#[cfg(test)]
#[path = "turn/tests.rs"]
mod tests;
