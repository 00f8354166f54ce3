//! FAB-011: each builder call changes exactly its own field.

use csf_core::{ComponentId, LaneId, MessageId, NanoTime, PhasePacket, Priority, QuantumOffset, TaskId, TraceSpan};
use proptest::prelude::*;

type Packet = PhasePacket<u32>;

/// A call, and the same change made by hand.
#[derive(Clone, Debug)]
enum Call {
    Source(u16),
    Task(u64),
    Priority(Priority),
    Deadline(u64),
    Targets(u64),
    Guaranteed(u8),
    Timeout(u64),
    Span(u128, u64),
    Causes(Vec<MessageId>),
}

impl Call {
    fn build(&self, packet: Packet) -> Packet {
        match self {
            Self::Source(n) => packet.with_source(ComponentId::custom(*n)),
            Self::Task(n) => packet.with_source_task(TaskId(*n)),
            Self::Priority(priority) => packet.with_priority(*priority),
            Self::Deadline(ns) => packet.with_deadline(NanoTime::from_nanos(*ns)),
            Self::Targets(mask) => packet.with_targets(*mask),
            Self::Guaranteed(retries) => packet.with_guaranteed_delivery(*retries),
            Self::Timeout(ns) => packet.with_timeout(*ns),
            Self::Span(trace_id, span_id) => packet.with_trace_span(span(*trace_id, *span_id)),
            Self::Causes(causes) => {
                let mut packet = packet;
                packet.add_temporal_correlation(causes.clone());
                packet
            }
        }
    }

    fn change(&self, packet: &mut Packet) {
        let routing = &mut packet.routing_metadata;
        match self {
            Self::Source(n) => routing.source_id = ComponentId::custom(*n),
            Self::Task(n) => routing.source_task_id = Some(TaskId(*n)),
            Self::Priority(priority) => routing.priority = *priority,
            Self::Deadline(ns) => routing.deadline_ns = Some(NanoTime::from_nanos(*ns)),
            Self::Targets(mask) => routing.target_component_mask = *mask,
            Self::Guaranteed(retries) => {
                routing.delivery_options.guaranteed_delivery = true;
                routing.delivery_options.max_retries = *retries;
            }
            Self::Timeout(ns) => routing.delivery_options.timeout_ns = *ns,
            Self::Span(trace_id, span_id) => packet.trace_span = span(*trace_id, *span_id),
            Self::Causes(causes) => packet.quantum_correlation.causal_dependencies.extend(causes.iter().copied()),
        }
    }
}

fn span(trace_id: u128, span_id: u64) -> TraceSpan {
    TraceSpan { trace_id, span_id, is_sampled: true }
}

fn call() -> impl Strategy<Value = Call> {
    let priority = prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High, Priority::Critical]);
    let id = any::<(u16, u32, u16, u64)>()
        .prop_map(|(node, incarnation, lane, seq)| LaneId { node, incarnation, lane }.message(seq));
    prop_oneof![
        any::<u16>().prop_map(Call::Source),
        any::<u64>().prop_map(Call::Task),
        priority.prop_map(Call::Priority),
        any::<u64>().prop_map(Call::Deadline),
        any::<u64>().prop_map(Call::Targets),
        any::<u8>().prop_map(Call::Guaranteed),
        any::<u64>().prop_map(Call::Timeout),
        any::<(u128, u64)>().prop_map(|(trace, span)| Call::Span(trace, span)),
        prop::collection::vec(id, 0..4).prop_map(Call::Causes),
    ]
}

proptest! {
    #[test]
    fn each_call_changes_exactly_its_own_field(payload: u32, source: u16, calls in prop::collection::vec(call(), 0..12)) {
        let mut expected = Packet::new(payload, ComponentId::custom(source));
        let mut built = expected.clone();
        for call in calls {
            built = call.build(built);
            call.change(&mut expected);
            prop_assert_eq!(&built, &expected, "{:?}", call);
        }
    }
}

#[test]
fn a_new_packet_is_for_everyone_and_promises_nothing() {
    let packet = Packet::new(7, ComponentId::custom(1));
    let routing = packet.routing_metadata;
    assert_eq!((routing.target_component_mask, routing.priority), (u64::MAX, Priority::Normal));
    assert_eq!((routing.deadline_ns, routing.source_task_id, routing.size_hint), (None, None, 4));
    let options = routing.delivery_options;
    assert_eq!(
        (options.guaranteed_delivery, options.use_hardware_acceleration, options.simd_flags),
        (false, true, 0xFF)
    );
    assert!(packet.quantum_correlation.causal_dependencies.is_empty());
}

/// FAB-015's example offsets.
#[test]
fn a_known_rhythm_is_the_packets_own() {
    let offset = QuantumOffset::new(0.5, 0.1, 1000.0).unwrap();
    let packet = PhasePacket::with_quantum_optimization(7u32, offset);
    assert_eq!(packet.quantum_correlation.quantum_offset, offset);
    assert_eq!(packet, {
        let mut same = Packet::new(7, ComponentId::EventStore);
        same.quantum_correlation.quantum_offset = offset;
        same
    });
}
