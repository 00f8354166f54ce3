//! The design principles as claims about the bus (FAB-002). Each is judged twice: on the bus as it is, and with the principle broken on
//! purpose, which its judge must notice. Hardware acceleration has its judge beside the matcher.

use csf_bus::{Interest, Order, PhaseCoherenceBus, Start, TopicError};
use csf_core::port::{EventBusTx, LaneKind};
use csf_core::{Attributes, BusError, ComponentId, Message, MessageId, PhasePacket, Priority};
use futures_util::FutureExt;

use super::{Number, Word, bus_with, number};

/// Zero copy: two subscribers see a payload in one place.
#[test]
fn zero_copy_is_one_place_and_a_copied_payload_is_found() {
    let places = |is_copied: bool| {
        let bus = bus_with(8);
        let mut publisher = bus.publisher::<Number>("n", "a", LaneKind::Source).unwrap();
        let mut subscribers = [(); 2].map(|()| bus.subscriber::<Number>("n", Interest::new()).unwrap());
        publisher.try_publish(number(7), Attributes::default()).unwrap();
        let place = |payload: &Number| (payload.value, (&raw const *payload).addr());
        subscribers.each_mut().map(|subscriber| {
            if is_copied {
                let (_, copy) = subscriber.recv().now_or_never().unwrap();
                // Both copies live at once, so that neither can take the other's place.
                return place(Box::leak(Box::new(copy)));
            }
            subscriber.poll(|_, payload| place(payload)).unwrap()
        })
    };
    let is_shared = |[one, two]: [(u64, usize); 2]| one == two;
    assert!(is_shared(places(false)));
    assert!(!is_shared(places(true)), "the judge sees no copy");
}

/// Temporal coherence: an effect comes after its cause, whatever its urgency.
#[test]
fn temporal_coherence_is_causal_order_and_a_dropped_dependency_is_found() {
    let order = |names_its_cause: bool| {
        let bus = bus_with(8);
        let [mut cause, mut effect] =
            ["a", "b"].map(|author| bus.publisher::<Number>("n", author, LaneKind::Source).unwrap());
        let interest = Interest::new().start(Start::Earliest).order(Order::Urgency);
        let mut subscriber = bus.subscriber::<Number>("n", interest).unwrap();
        let id = cause.try_publish(number(1), Attributes::default()).unwrap();
        let causes: &[MessageId] = if names_its_cause { &[id] } else { &[] };
        let urgent = Attributes::default().with_priority(Priority::Critical);
        effect.try_publish_caused(number(2), urgent, causes).unwrap();
        [(); 2].map(|()| subscriber.poll(|_, n| n.value).unwrap())
    };
    let is_causal = |order: [u64; 2]| order == [1, 2];
    assert!(is_causal(order(true)));
    assert!(!is_causal(order(false)), "the judge sees no dropped dependency");
}

/// Type safety: whoever asks for another type than the topic's is refused, in words that name both.
#[test]
fn type_safety_is_a_refusal_and_a_wrong_type_is_found() {
    fn opens<T: Message>(bus: &PhaseCoherenceBus) -> Result<(), TopicError> {
        bus.publisher::<T>("n", "a", LaneKind::Source)?;
        bus.subscriber::<T>("n", Interest::new())?;
        Ok(())
    }
    let bus = bus_with(8);
    assert_eq!(opens::<Number>(&bus), Ok(()));
    let refusal = TopicError::WrongType {
        name: "n".to_owned(),
        carries: "test.number@1".to_owned(),
        wanted: "test.word@1".to_owned(),
    };
    assert_eq!(opens::<Word>(&bus), Err(refusal));
}

/// Production reliability: a refusal is told to who asked, and counted for who watches, also where the caller swallows it.
#[test]
fn reliability_is_a_typed_error_and_a_swallowed_one_is_found() {
    #[derive(Clone)]
    struct Job;
    let refused = |is_swallowed: bool| {
        let bus = super::bus();
        let _slow = bus.receiver::<Job>(Interest::new()).unwrap();
        let publish = || bus.try_publish(PhasePacket::new(Job, ComponentId::custom(1)));
        let mut told = 0;
        for _ in 0..bus.config().channel_buffer_size + 3 {
            match publish() {
                Err(BusError::ResourceExhausted { .. }) if !is_swallowed => told += 1,
                other => drop(other),
            }
        }
        (told, bus.get_stats().packets_dropped)
    };
    let is_reliable = |(told, counted): (u64, u64)| counted > 0 && told == counted;
    assert_eq!(refused(false), (3, 3));
    assert!(is_reliable(refused(false)));
    assert!(!is_reliable(refused(true)), "the judge sees no swallowed error");
}
