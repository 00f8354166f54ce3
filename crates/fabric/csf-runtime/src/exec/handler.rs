//! One call of a component's handler: its effects are staged while it runs, and undone when it fails.
//!
//! Live and in replay alike; effect `i` of a delivery is stamped `delivered_at + i`.

use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};

use csf_bus::{CREDIT, EffectWriter};
use csf_core::{Attributes, Component, Context, EffectSink, Fault, MessageId, Stamp, TimerId};

use super::Timers;
use crate::Outcome;
use crate::pack::ComponentFactory;
use crate::topology::ComponentNode;

/// The parts of a runner that a handler call touches.
pub(crate) struct Parts<'a> {
    pub(crate) component: &'a mut dyn Component,
    pub(crate) outputs: &'a mut [(String, Box<dyn EffectWriter>)],
    pub(crate) ports: &'a [&'static str],
}

pub(crate) struct Handled {
    pub(crate) outcome: Outcome,
    pub(crate) effects: u64,
    pub(crate) fault: Option<String>,
    /// One bit per output that has staged packets.
    pub(crate) touched: u64,
    /// Timers that it set.
    pub(crate) timers: Vec<(TimerId, Stamp)>,
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
        return Handled { outcome, effects, fault, touched, timers };
    }
    for (_, output) in outputs {
        output.rollback();
    }
    Handled { outcome, effects: 0, fault, touched: 0, timers: Vec::new() }
}

/// What goes on after an instance whose options changed: with its state and timers where the new one takes them over, else anew. Live and
/// in replay alike.
pub(crate) fn hand_over(
    old: &dyn Component,
    timers: Timers,
    was: &ComponentNode,
    node: &ComponentNode,
) -> (Box<dyn Component>, Timers) {
    let mut new = (node.factory)();
    // A component is a stranger's code, and its panic here must not be the node's.
    let took = was.kind.name == node.kind.name
        && catch_unwind(AssertUnwindSafe(|| new.take_over(&old.snapshot()))).unwrap_or(false);
    if took { (new, timers) } else { ((node.factory)(), Timers::default()) }
}

/// A fresh instance with the state of one that works; `None` when its snapshot does not restore to the same bytes: then that one goes on.
/// Live and in replay alike.
pub(crate) fn renew(old: &dyn Component, factory: &ComponentFactory) -> Option<Box<dyn Component>> {
    let fresh = || {
        let snapshot = old.snapshot();
        let mut fresh = factory();
        fresh.restore(&snapshot).ok()?;
        (fresh.snapshot() == snapshot).then_some(fresh)
    };
    // A component is a stranger's code, and its panic here must not be the node's.
    catch_unwind(AssertUnwindSafe(fresh)).ok().flatten()
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text =
        panic.downcast_ref::<&str>().map(|s| (*s).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "panicked".to_owned())
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
