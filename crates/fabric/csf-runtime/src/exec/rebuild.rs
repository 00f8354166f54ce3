//! A component's state made again: its last checkpoint, then the deliveries since as the journal has them, with effects suppressed.
//!
//! Bounded by what lies between two checkpoints. Everything it reads is durable: the journal holds a delivery's input before the delivery.
//! A state is believed when its snapshot restores to the same bytes and every repeated delivery ends, and publishes, as it did: otherwise
//! this node would go on other than its replay.

use std::collections::BTreeMap;

use csf_bus::EffectWriter;
use csf_core::port::{JournalReader, LaneInfo};
use csf_core::{Component, Event, LaneId, MessageType};

use super::failing::Rebuild;
use super::handler::{Parts, handle};
use super::repeat::{LaneBook, RepeatWriter};
use super::runner::{Machine, Timers};
use crate::{Delivery, Input, Outcome};

/// Deliveries read from the journal at once.
const CHUNK: usize = 4096;

/// A component with the state it had before a failed delivery.
pub struct Rebuilt {
    /// The state machine.
    pub component: Box<dyn Component>,
    /// Its timers.
    pub timers: Timers,
    /// Whether its state is lost: it was made by its factory.
    pub is_anew: bool,
    /// In words.
    pub detail: String,
}

impl Rebuild {
    /// Makes the state again; anew when that cannot be done. Everything up to `until` is durable.
    #[must_use]
    pub fn run(&self, reader: &mut dyn JournalReader, messages: &BTreeMap<String, MessageType>) -> Rebuilt {
        self.try_run(reader, messages).unwrap_or_else(|reason| self.anew(reason))
    }

    /// Made by its factory, because of `reason`.
    #[must_use]
    pub fn anew(&self, reason: String) -> Rebuilt {
        Rebuilt { component: (self.factory)(), timers: Timers::default(), is_anew: true, detail: reason }
    }

    fn try_run(
        &self,
        reader: &mut dyn JournalReader,
        messages: &BTreeMap<String, MessageType>,
    ) -> Result<Rebuilt, String> {
        let checkpoint = &*self.checkpoint;
        if checkpoint.next.lane != self.until.lane {
            return Err("its checkpoint is of another dispatcher".to_owned());
        }
        let snapshot = checkpoint.snapshot.as_ref().ok_or("its snapshot panicked")?;
        let mut component = (self.factory)();
        component.restore(snapshot).map_err(|fault| fault.to_string())?;
        if component.snapshot() != *snapshot {
            return Err("its snapshot does not restore to the same state".to_owned());
        }
        let mut made = Vec::new();
        let outputs = checkpoint.outputs.iter().map(|(port, info, next)| {
            let message = messages.get(&info.message).ok_or_else(|| format!("{} is unknown", info.message))?;
            let book = LaneBook::starting_at(*next);
            made.push(book.clone());
            let muted = RepeatWriter { info: info.clone(), message: *message, book };
            Ok::<_, String>((port.clone(), Box::new(muted) as Box<dyn EffectWriter>))
        });
        let outputs = outputs.collect::<Result<_, _>>()?;
        let machine = Machine { component, ports: self.ports.clone(), outputs };
        let lanes = reader.lanes().map_err(|e| e.to_string())?.into_iter().map(|lane| (lane.id, lane)).collect();
        let timers = checkpoint.timers.clone();
        let mut past = Past { number: self.number, machine, made, timers, lanes, messages };
        let mut repeated = 0_u64;
        let mut from = checkpoint.next.seq;
        while from <= self.until.seq {
            let packets = reader.lane(self.until.lane, from, CHUNK).map_err(|e| e.to_string())?;
            let last = packets.last().ok_or("the journal lacks deliveries")?.header.id.seq;
            for packet in packets.iter().take_while(|packet| packet.header.id.seq <= self.until.seq) {
                repeated += u64::from(past.repeat(reader, packet)?);
            }
            from = last + 1;
        }
        let Past { machine, timers, .. } = past;
        let detail = format!("a checkpoint and {repeated} deliveries");
        Ok(Rebuilt { component: machine.component, timers, is_anew: false, detail })
    }
}

/// A component on its way from its checkpoint.
struct Past<'a> {
    number: u16,
    machine: Machine,
    /// What repeated deliveries would have published. Shared with the outputs.
    made: Vec<LaneBook>,
    timers: Timers,
    lanes: BTreeMap<LaneId, LaneInfo>,
    messages: &'a BTreeMap<String, MessageType>,
}

impl Past<'_> {
    /// Repeats a delivery if it is this component's and had a place in its state.
    fn repeat(
        &mut self,
        reader: &mut dyn JournalReader,
        packet: &csf_core::port::StoredPacket,
    ) -> Result<bool, String> {
        let decoded = (MessageType::of::<Delivery>().decode)(&packet.payload).map_err(|e| e.to_string())?;
        let Ok(delivery) = decoded.downcast::<Delivery>() else { return Ok(false) };
        if delivery.component != self.number || delivery.outcome == Outcome::Failed {
            return Ok(false);
        }
        if let Input::Timer(timer) = delivery.input {
            self.timers.clear(timer);
        }
        if delivery.outcome == Outcome::Skipped {
            return Ok(false);
        }
        let at = packet.header.stamp;
        let Machine { component, ports, outputs } = &mut self.machine;
        let parts = Parts { component: component.as_mut(), outputs, ports };
        let handled = match delivery.input {
            Input::Timer(timer) => handle(parts, |c, cx| c.on_timer(cx, timer), at, None),
            Input::Packet { lane, seq } => {
                let id = lane.message(seq);
                let lane = self.lanes.get(&lane).ok_or_else(|| format!("the lane of {id} is not in the journal"))?;
                let found = reader.packet(id).map_err(|e| e.to_string())?;
                let found = found.ok_or_else(|| format!("{id} is not in the journal"))?;
                let message = self.messages.get(&lane.message).ok_or_else(|| format!("{} is unknown", lane.message))?;
                let payload = (message.decode)(&found.payload).map_err(|e| e.to_string())?;
                let event = Event::new(&lane.topic, &found.header, payload.as_ref());
                handle(parts, |c, cx| c.on_event(cx, &event), at, Some(id))
            }
            Input::Reset | Input::Renewal => return Err("it was made anew meanwhile".to_owned()),
        };
        if handled.outcome != delivery.outcome {
            return Err(format!("its delivery {} ended otherwise when it was repeated", packet.header.id));
        }
        for (_, output) in outputs.iter_mut() {
            output.commit();
        }
        for (header, payload) in self.made.iter().flat_map(LaneBook::take_all) {
            // An effect may be on its way to the journal yet.
            let id = header.id;
            let recorded = reader.packet(id).map_err(|e| e.to_string())?;
            if recorded.is_some_and(|recorded| recorded.payload != payload) {
                return Err(format!("it published {id} otherwise when it was repeated"));
            }
        }
        handled.timers.into_iter().for_each(|(timer, at)| self.timers.set(timer, at));
        Ok(true)
    }
}
