//! The component path: a packet goes to a component on a dispatcher, whose handler publishes another. As a node wires it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use csf_bus::{Doorbell, EffectWriter, Interest, Order, PhaseCoherenceBus, Publisher, Start, Subscriber, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Component, Context, Event, Fault, MessageType};
use csf_runtime::config::RestartSettings;
use csf_runtime::exec::{
    ComponentStats, Desk, Dispatcher, DispatcherHandle, Failing, Machine, Recorder, RecorderHandle, Runner, Timers,
};
use csf_runtime::{DELIVERY_TOPIC, Delivery, World};
use csf_sim::MemoryStore;
use tokio::runtime::Runtime;

use super::bus::new_bus;
use crate::clock::pin;
use crate::load::{Missing, joined};
use crate::payload::{CAPACITY, End, Frame, SMALL};

const REQUESTS: &str = "bench.requests";
const ANSWERS: &str = "bench.answers";
const COMPONENT: &str = "echo";
const DISPATCHER: &str = "bench-dispatch";
/// Slots of the delivery log, as in a node.
const DELIVERIES: usize = 8192;
/// The dispatcher spins so long before it sleeps: longer than the load pauses.
const SPIN_NS: u64 = 1_000_000_000;
/// A handler may take so long, as a node has it by default.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Whether the journal is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recording {
    /// Nobody reads along.
    Off,
    /// The recorder's thread appends every packet and delivery to a journal in memory.
    On,
}

/// Answers every frame with the same.
struct Echo;

impl Component for Echo {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        cx.publish("out", *event.get::<Frame<SMALL>>()?)?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// The end that asks.
pub struct Asking {
    publisher: Publisher<Frame<SMALL>>,
    subscriber: Subscriber<Frame<SMALL>>,
}

/// The threads that answer; they end when it is dropped.
pub struct Answering {
    runtime: Runtime,
    dispatcher: DispatcherHandle,
    recorder: Option<RecorderHandle>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.dispatcher.stop().await;
            if let Some(recorder) = &self.recorder {
                recorder.stop().await;
            }
        });
    }
}

/// Starts the component, its dispatcher on core 1.
pub fn start(recording: Recording) -> Result<(Asking, Answering), Missing> {
    let bus = new_bus(super::time::source());
    wire(&bus, recording).map_err(|e| Missing(format!("the component does not start: {e}")))
}

fn wire(bus: &PhaseCoherenceBus, recording: Recording) -> Result<(Asking, Answering), Box<dyn std::error::Error>> {
    for topic in [REQUESTS, ANSWERS] {
        bus.declare(TopicSpec::new::<Frame<SMALL>>(topic).capacity(CAPACITY))?;
    }
    bus.declare(TopicSpec::new::<Delivery>(DELIVERY_TOPIC).capacity(DELIVERIES))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let world = {
        let _inside = runtime.enter();
        World::machine()
    };
    let log = bus.publisher::<Delivery>(DELIVERY_TOPIC, DISPATCHER, LaneKind::Delivery)?;
    let recorder = match recording {
        Recording::Off => None,
        Recording::On => {
            let topics = [REQUESTS, ANSWERS, DELIVERY_TOPIC];
            let lanes =
                bus.subscribe_any(&topics, Interest::new().start(Start::Earliest).order(Order::Stamp), Arc::default())?;
            let types = [MessageType::of::<Frame<SMALL>>(), MessageType::of::<Delivery>()];
            let messages = types.into_iter().map(|message| (message.full_name(), message)).collect();
            let delivery_of = BTreeMap::from([(COMPONENT.to_owned(), log.info().id)]);
            Some(Recorder::start(Box::new(MemoryStore::default().open()?), lanes, messages, delivery_of, &world)?)
        }
    };
    let types = [MessageType::of::<Frame<SMALL>>(), MessageType::of::<Delivery>()];
    let messages = Arc::new(types.into_iter().map(|message| (message.full_name(), message)).collect());
    let bell = Arc::new(Doorbell::default());
    let runner = Runner {
        index: 0,
        name: COMPONENT.to_owned(),
        machine: Some(Box::new(Machine {
            component: Box::new(Echo),
            ports: vec!["out"],
            outputs: vec![("out".to_owned(), bus.effect_writer::<Frame<SMALL>>(ANSWERS, COMPONENT)?)],
        })),
        factory: Arc::new(|| Box::new(Echo)),
        input: bus.subscribe_any(
            &[REQUESTS],
            Interest::new().start(Start::Earliest).order(Order::Stamp),
            bell.clone(),
        )?,
        timers: Timers::default(),
        restart: RestartSettings::default(),
        stuck_after: Some(STUCK_AFTER),
        desk: Some(Box::new(Desk::new(messages))),
        stats: Arc::new(ComponentStats::default()),
        paths: Default::default(),
        backlog: Default::default(),
        recent_restarts: Vec::new(),
        failing: Failing::default(),
        checkpoint: None,
        is_broken: false,
        untold: None,
        is_paused: false,
        is_held: false,
        tie: None,
        observer: Arc::new(|_, _, _| {}),
        incidents: Arc::new(|_| {}),
    };
    let asking = Asking {
        publisher: bus.publisher(REQUESTS, "bench", LaneKind::Source)?,
        subscriber: bus.subscriber(ANSWERS, Interest::new())?,
    };
    let (clock, log): (_, Box<dyn EffectWriter>) = (super::time::source(), Box::new(log));
    // Threads inherit the core of who starts them.
    let dispatcher = thread::scope(|scope| {
        joined(scope.spawn(|| {
            pin(1);
            Dispatcher::start(DISPATCHER, vec![runner], log, bus.hlc(), clock, bell, SPIN_NS, &world)
        }))
    })?;
    Ok((asking, Answering { runtime, dispatcher, recorder }))
}

impl End for Asking {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.publisher.try_publish(Frame::new(number), Attributes::default()).is_ok()
    }

    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Some(frame) = self.subscriber.poll(|_, frame| frame.sum()) else { return 0 };
        *sum = sum.wrapping_add(frame);
        1
    }

    fn send(&mut self, number: u64) {
        while !self.try_send(number) {
            std::hint::spin_loop();
        }
    }

    fn recv(&mut self, sum: &mut u64) -> usize {
        *sum = sum.wrapping_add(self.subscriber.wait(|_, frame| frame.sum()));
        1
    }
}
