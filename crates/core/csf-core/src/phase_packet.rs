//! A message as the edges of the fabric hold it: a payload of any Rust type with everything that travels beside it (FAB-010 to FAB-018).
//!
//! The hot path keeps the same things apart, in the slot's header and the lane; a [`PhasePacket`] carries them together, for code that
//! holds, queues or erases whole packets.

use std::any::Any;

use serde::{Deserialize, Serialize};

use crate::{ComponentId, LaneId, LogicalTime, MessageId, NanoTime, Priority, QuantumOffset, TaskId};

/// Every optimisation the machine offers (FAB-013).
pub const SIMD_ALL: u8 = 0xFF;

/// How a packet is to be delivered (FAB-013).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryOptions {
    /// The publisher waits until every subscriber has accepted it.
    pub guaranteed_delivery: bool,
    /// How often a subscriber that rejects it gets it again.
    pub max_retries: u8,
    /// How long the publisher waits, nanoseconds.
    pub timeout_ns: u64,
    /// Whether subscribers are matched with vector instructions. The result is the same.
    pub use_hardware_acceleration: bool,
    /// Which instruction sets may be used, one bit each; [`SIMD_ALL`] for all.
    pub simd_flags: u8,
}

impl Default for DeliveryOptions {
    /// Not guaranteed, 3 retries and 1 s where it is, all acceleration.
    fn default() -> Self {
        Self {
            guaranteed_delivery: false,
            max_retries: 3,
            timeout_ns: 1_000_000_000,
            use_hardware_acceleration: true,
            simd_flags: SIMD_ALL,
        }
    }
}

/// Who sends a packet, to whom, how urgently (FAB-012).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingMetadata {
    /// The sender.
    pub source_id: ComponentId,
    /// The sending task.
    pub source_task_id: Option<TaskId>,
    /// One bit per addressed component.
    pub target_component_mask: u64,
    /// Queueing class.
    pub priority: Priority,
    /// Latest useful processing time, on the fabric's clock.
    pub deadline_ns: Option<NanoTime>,
    /// Bytes of the payload, as far as known.
    pub size_hint: usize,
    /// How it is to be delivered.
    pub delivery_options: DeliveryOptions,
}

/// A packet's place among its causes and in its stream's rhythm (FAB-014). "Quantum" is the product's word for phase tracking.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantumCorrelation {
    /// The stream's fitted periodic component.
    pub quantum_offset: QuantumOffset,
    /// What must be delivered before it.
    pub causal_dependencies: Vec<MessageId>,
    /// Phase of the packet in its stream's cycle, radians in `[0, 2π)`; zero where no period is known.
    pub temporal_phase: f64,
    /// How predictable the stream is, 0 to 1; zero while it is not tracked.
    pub coherence_score: f32,
}

/// Position in a distributed trace, as in W3C Trace Context.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TraceSpan {
    /// Identity of the trace; zero when there is none.
    pub trace_id: u128,
    /// The span that sent the packet.
    pub span_id: u64,
    /// Whether the trace is recorded.
    pub is_sampled: bool,
}

/// A whole message. `id`, `timestamp` and the correlation's measured parts are filled in when it is published.
#[derive(Clone, Debug, PartialEq)]
pub struct PhasePacket<T: ?Sized> {
    /// Identity, for tracking and correlation; of lane 0.0.0 until it is published.
    pub id: MessageId,
    /// Entry into the fabric, hybrid logical time.
    pub timestamp: LogicalTime,
    /// Sender, addressees, urgency.
    pub routing_metadata: RoutingMetadata,
    /// Causes and rhythm.
    pub quantum_correlation: QuantumCorrelation,
    /// Position in a distributed trace.
    pub trace_span: TraceSpan,
    /// The content; last, so that a packet of a known type is a packet of an unknown one without moving (`Box`, `Arc` and references
    /// coerce).
    pub payload: T,
}

/// A packet whose payload's type is known at run time only.
pub type AnyPacket = PhasePacket<dyn Any + Send + Sync>;

impl<T> PhasePacket<T> {
    /// A packet to everyone, with normal priority.
    #[must_use]
    pub fn new(payload: T, source_id: ComponentId) -> Self {
        Self {
            id: LaneId { node: 0, incarnation: 0, lane: 0 }.message(0),
            timestamp: LogicalTime::default(),
            routing_metadata: RoutingMetadata {
                source_id,
                source_task_id: None,
                target_component_mask: u64::MAX,
                priority: Priority::default(),
                deadline_ns: None,
                size_hint: size_of::<T>(),
                delivery_options: DeliveryOptions::default(),
            },
            quantum_correlation: QuantumCorrelation::default(),
            trace_span: TraceSpan::default(),
            payload,
        }
    }

    /// A packet of a stream whose periodic component is known, from [`ComponentId::EventStore`] until `source` says otherwise.
    #[must_use]
    pub fn with_quantum_optimization(payload: T, offset: QuantumOffset) -> Self {
        let mut packet = Self::new(payload, ComponentId::EventStore);
        packet.quantum_correlation.quantum_offset = offset;
        packet
    }

    /// Sets the sender.
    #[must_use]
    pub fn with_source(mut self, source_id: ComponentId) -> Self {
        self.routing_metadata.source_id = source_id;
        self
    }

    /// Sets the sending task.
    #[must_use]
    pub fn with_source_task(mut self, task: TaskId) -> Self {
        self.routing_metadata.source_task_id = Some(task);
        self
    }

    /// Sets the queueing class.
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.routing_metadata.priority = priority;
        self
    }

    /// Sets the latest useful processing time.
    #[must_use]
    pub fn with_deadline(mut self, deadline: NanoTime) -> Self {
        self.routing_metadata.deadline_ns = Some(deadline);
        self
    }

    /// Addresses the components of this mask only.
    #[must_use]
    pub fn with_targets(mut self, mask: u64) -> Self {
        self.routing_metadata.target_component_mask = mask;
        self
    }

    /// Lets the publisher wait until every subscriber has accepted the packet, and a subscriber that rejects it get it again.
    #[must_use]
    pub fn with_guaranteed_delivery(mut self, max_retries: u8) -> Self {
        let options = &mut self.routing_metadata.delivery_options;
        (options.guaranteed_delivery, options.max_retries) = (true, max_retries);
        self
    }

    /// Sets how long the publisher of a guaranteed packet waits.
    #[must_use]
    pub fn with_timeout(mut self, timeout_ns: u64) -> Self {
        self.routing_metadata.delivery_options.timeout_ns = timeout_ns;
        self
    }

    /// Sets the position in a distributed trace.
    #[must_use]
    pub fn with_trace_span(mut self, span: TraceSpan) -> Self {
        self.trace_span = span;
        self
    }

    /// Adds packets that must be delivered before this one.
    pub fn add_temporal_correlation(&mut self, causes: Vec<MessageId>) {
        self.quantum_correlation.causal_dependencies.extend(causes);
    }
}
