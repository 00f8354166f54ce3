//! The Phase Coherence Bus: typed publish/subscribe inside a process, by reference, with time and cause on every packet.
//!
//! A topic is the union of its lanes; a lane is one producer's ring, so publishing shares no counter with any other producer.
//! Subscribers read the slots in place and merge lanes by urgency or stamp, never an effect before its cause.
//! At the edge, whole packets of any Rust type travel on the same lanes (FAB-032):
//!
//! ```
//! use csf_bus::{BusConfig, PhaseCoherenceBus};
//! use csf_core::port::{EventBusRx, EventBusTx};
//! use csf_core::{ComponentId, NanoTime, PhasePacket, Priority};
//!
//! #[derive(Clone)]
//! struct SensorData {
//!     temperature: f32,
//!     pressure: f32,
//!     timestamp: NanoTime,
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
//! # runtime.block_on(async {
//! let bus = PhaseCoherenceBus::new(BusConfig::default());
//! let mut receiver = bus.subscribe::<SensorData>().await?;
//! let data = SensorData { temperature: 23.5, pressure: 1013.25, timestamp: NanoTime::ZERO };
//! let packet = PhasePacket::new(data, ComponentId::custom(1)).with_priority(Priority::High).with_targets(0xFF);
//! let id = bus.publish(packet).await?;
//!
//! let received = receiver.recv().await.expect("the bus lives");
//! assert_eq!(received.id, id);
//! assert_eq!((received.payload.temperature, received.payload.pressure), (23.5, 1013.25));
//! # assert_eq!(received.payload.timestamp, NanoTime::ZERO);
//! # Ok::<(), csf_core::BusError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Invariant: a blocking subscriber loses nothing; a lossy one knows how many packets it lost.

#![expect(unsafe_code, reason = "slots are shared between one producer and its readers; the protocols are in ring/")]

mod bus;
mod doorbell;
mod edge;
mod external;
mod health;
mod interest;
mod lane;
mod mailbox;
mod matcher;
mod merge;
mod monitor;
mod publisher;
mod real_timer;
mod ring;
mod subscriber;
mod subscription;
mod topic;
mod traffic;
mod workload;

pub use bus::{BusConfig, Channel, PhaseCoherenceBus, TopicError, WeakBus};
pub use doorbell::Doorbell;
pub use edge::{
    CentralMessageBus, Delivery, DowncastPacket, HardwareRouter, Receiver, RouterParts, RouterStats, TemporalMessage,
};
pub use external::{ExternalSession, TemporalCoordinationBus};
pub use health::{LATENCY_LIMIT_NS, THROUGHPUT_LIMIT_MPS};
pub use interest::{Expired, Interest};
pub use lane::{Content, LaneReader};
pub use mailbox::{Mailbox, MailboxSender, Refused};
pub use matcher::{Instructions, Matcher};
pub use merge::Order;
pub use monitor::{DEAD_LETTERS_MAX, DeadLetter, DeliveryTimes, TemporalViolation, ViolationKind};
pub use publisher::{EdgeError, EdgePublisher, EffectWriter, Publisher};
pub use ring::{Policy, Start, prefer_symmetric_fences};
pub use subscriber::Subscriber;
pub use subscription::Subscription;
pub use topic::{EdgeOpener, Topic, TopicSpec};
pub use traffic::{NewestPacket, SubscriberTraffic, TopicTraffic};
pub use workload::{WORKLOAD_WARN_NS, WorkloadData, WorkloadReport, process_high_performance_workload};

/// Packets a component may publish on one output in one delivery; it gets an event only when this many slots are free.
pub const CREDIT: usize = 16;
