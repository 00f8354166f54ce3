//! Faults seeded into a running node on purpose (`csf up --fault NAME`), so that what `csf doctor` says can be checked.
//!
//! Each lies on topics called `fault.NAME`, or, for the slow subscriber, on all that the node records; none touches the content of a
//! topic of the configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use csf_bus::{Doorbell, Interest, PhaseCoherenceBus, TopicSpec};
use csf_core::port::LaneKind;
use csf_core::{Attributes, Message, Stamp, TimeResult};
use csf_runtime::emergency::{EmergencyReason, EmergencyShutdownHandler};
use csf_runtime::node::Node;
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::diagnostic::Failure;

/// What is wrong with the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Fault {
    /// A blocking subscriber that takes five packets a second.
    SlowSubscriber,
    /// The processor's counter is not used.
    NoTsc,
    /// Payloads of 8 MiB.
    LargePayload,
    /// A producer that follows stamps 400 ms ahead of this node's clock.
    Skew,
    /// Packets that name causes which never come.
    Violation,
    /// A panic that no supervisor stands above.
    Panic,
    /// A task that panics again and again, as one of tokio's.
    PanicTask,
    /// Critical errors until the process ends.
    Critical,
    /// A limit of the machine that the node cannot do without.
    Exhausted,
    /// Somebody where nobody may be.
    Breach,
}

/// How far [`Fault::Skew`] is ahead.
const AHEAD_NS: u64 = 400_000_000;
const LARGE_BYTES: usize = 8 << 20;
/// Time between two deeds.
const PERIOD: Duration = Duration::from_millis(200);

/// What the faults publish.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
struct Ballast(Vec<u8>);

impl Message for Ballast {
    const NAME: &'static str = "fault.ballast";
    const VERSION: u16 = 1;
}

/// The clock of a node with this fault.
pub(crate) fn clock(fault: Option<Fault>) -> TimeResult<Arc<SystemClock>> {
    match fault {
        Some(Fault::NoTsc) => SystemClock::without_hardware("it was switched off with --fault no-tsc"),
        _ => SystemClock::detect(),
    }
}

/// A fault at work; ends when dropped.
pub(crate) struct Seeded {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Seeded {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A fault that panicked has done its work.
            let _ = thread.join();
        }
    }
}

/// Starts the fault.
pub(crate) fn seed(fault: Fault, node: &Node, emergency: &Arc<EmergencyShutdownHandler>) -> Result<Seeded, Failure> {
    let refused = |e: &dyn std::fmt::Display| Failure::new("CSF-0104", format!("the fault cannot be seeded: {e}"));
    let bus = node.bus().clone();
    let mut deed = match emergency_deed(fault, emergency) {
        Some(deed) => deed,
        None => deed(fault, &bus).map_err(|e| refused(&e))?,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let run = move || {
        while !stopped.load(Ordering::Acquire) {
            deed();
            std::thread::park_timeout(PERIOD);
        }
    };
    let thread = std::thread::Builder::new().name("csf-fault".to_owned()).spawn(run).map_err(|e| refused(&e))?;
    Ok(Seeded { stop, thread: Some(thread) })
}

type Deed = Box<dyn FnMut() + Send>;

/// What the faults do that end the process, and the one that must not.
fn emergency_deed(fault: Fault, emergency: &Arc<EmergencyShutdownHandler>) -> Option<Deed> {
    let handler = emergency.clone();
    let seeded = || "seeded with --fault".to_owned();
    Some(match fault {
        Fault::Panic => Box::new(|| panic!("seeded with --fault")),
        Fault::PanicTask => {
            let runtime = tokio::runtime::Handle::current();
            Box::new(move || drop(runtime.spawn(async { panic!("seeded with --fault") })))
        }
        Fault::Critical => Box::new(move || handler.critical_error("seeded with --fault")),
        Fault::Exhausted => Box::new(move || handler.emergency_shutdown(EmergencyReason::ResourceExhaustion(seeded()))),
        Fault::Breach => Box::new(move || handler.emergency_shutdown(EmergencyReason::SecurityBreach(seeded()))),
        _ => return None,
    })
}

/// What the fault does once a period.
fn deed(fault: Fault, bus: &PhaseCoherenceBus) -> Result<Deed, csf_bus::TopicError> {
    let topic = |name: &'static str| {
        let spec =
            TopicSpec { recorded: false, doc: Some("seeded fault".to_owned()), ..TopicSpec::new::<Ballast>(name) };
        bus.declare(spec.capacity(64))?;
        bus.publisher::<Ballast>(name, "fault", LaneKind::Source)
    };
    let attributes = Attributes::default();
    Ok(match fault {
        Fault::NoTsc | Fault::Panic | Fault::PanicTask | Fault::Critical | Fault::Exhausted | Fault::Breach => {
            Box::new(|| {})
        }
        Fault::SlowSubscriber => {
            let topics = bus.topics();
            // The node's own topics are none of a subscriber's business.
            let names = topics.iter().filter(|t| t.spec().recorded).map(|t| t.spec().name.as_str());
            let names: Vec<&str> = names.filter(|name| !name.starts_with("csf.")).collect();
            let interest = Interest::new().label("fault:slow-subscriber");
            let mut subscription = bus.subscribe_any(&names, interest, Arc::new(Doorbell::default()))?;
            Box::new(move || {
                if subscription.peek().is_some() {
                    subscription.advance();
                }
            })
        }
        Fault::LargePayload => {
            let mut publisher = topic("fault.large-payload")?;
            let mut subscriber = bus.subscriber::<Ballast>("fault.large-payload", Interest::new().label("fault"))?;
            Box::new(move || {
                // A full lane would be another fault.
                let _ = publisher.try_publish(Ballast(vec![7; LARGE_BYTES]), attributes);
                subscriber.poll(|_, ballast| ballast.0.len());
            })
        }
        Fault::Skew => {
            let (mut publisher, clock) = (topic("fault.skew")?, bus.config().time_source.clone());
            Box::new(move || {
                let now_ns = clock.now_ns().map_or(0, |now| now.as_nanos());
                publisher.observe(Stamp(now_ns + AHEAD_NS));
                let _ = publisher.try_publish(Ballast(Vec::new()), attributes);
            })
        }
        Fault::Violation => {
            let (mut effects, causes) = (topic("fault.violation")?, topic("fault.violation")?);
            let mut subscriber = bus.subscriber::<Ballast>("fault.violation", Interest::new().label("fault"))?;
            Box::new(move || {
                // The lane of the causes stays open, and empty.
                let _ = effects.try_publish_caused(Ballast(Vec::new()), attributes, &[causes.next_id()]);
                subscriber.poll(|_, _| ());
            })
        }
    })
}
