//! Payloads from nothing to 16 MiB: every subscriber sees every byte, and when all is over none is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread;

use csf_bus::{Interest, Policy, Receiver, Subscriber, TopicSpec};
use csf_core::port::{EventBusTx, LaneKind, Payload};
use csf_core::{Attributes, ComponentId, Message, PhasePacket};
use futures_util::FutureExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::bus;

const SIZES: [usize; 7] = [0, 1, 64, 1 << 10, 64 << 10, 1 << 20, 16 << 20];
const POLICIES: [Policy; 4] = [Policy::Block, Policy::DropOldest, Policy::DropNewest, Policy::Conflate];
/// More than a lane of two slots and a spare of two hold.
const PACKETS: u8 = 7;

/// Bytes that live somewhere.
type Ledger = Arc<AtomicI64>;

#[derive(Serialize, Deserialize, JsonSchema)]
struct Blob {
    bytes: Vec<u8>,
    #[serde(skip)]
    ledger: Ledger,
}

impl Blob {
    fn new(bytes: Vec<u8>, ledger: &Ledger) -> Self {
        ledger.fetch_add(Self::weight(&bytes), Ordering::Relaxed);
        Self { bytes, ledger: ledger.clone() }
    }

    /// One more, so that empty ones are counted too.
    fn weight(bytes: &[u8]) -> i64 {
        bytes.len() as i64 + 1
    }
}

impl Clone for Blob {
    fn clone(&self) -> Self {
        panic!("the bus clones nothing")
    }
}

impl Drop for Blob {
    fn drop(&mut self) {
        self.ledger.fetch_sub(Self::weight(&self.bytes), Ordering::Relaxed);
    }
}

impl Message for Blob {
    const NAME: &'static str = "test.blob";
    const VERSION: u16 = 1;
}

/// Bytes that differ from packet to packet and from place to place: a period of 251, a prime, is no divisor of any line or page.
fn content(size: usize, packet: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..251).map(|i: u8| i.wrapping_add(packet.wrapping_mul(37))).collect();
    while bytes.len() < size {
        let more = bytes.len().min(size - bytes.len());
        bytes.extend_from_within(..more);
    }
    bytes.truncate(size);
    bytes
}

/// Which packet it is; panics where a byte is another one's.
fn packet_of(bytes: &[u8], size: usize) -> u8 {
    let packet = (0..PACKETS).find(|packet| bytes == content(size, *packet));
    packet.unwrap_or_else(|| panic!("{} bytes of {size} are nobody's", bytes.len()))
}

/// What a reader of this policy sees of packets 0 to 6 when it reads at the end, on a lane of two slots: what is in the slots, what was
/// put aside and no more, the newest.
fn expected(policy: Policy) -> (Vec<u8>, u64) {
    match policy {
        Policy::Block => ((0..PACKETS).collect(), 0),
        Policy::DropOldest => (vec![5, 6], 5),
        Policy::DropNewest => (vec![0, 1, 5, 6], 3),
        Policy::Conflate => (vec![6], 6),
        Policy::Sample { .. } => unreachable!("no reader of these tests samples"),
    }
}

/// Counts what is expected of a packet's content once for each reader and packet; the blocking reader reads each packet as it comes.
fn check(policy: Policy, seen: &[u8], lost: u64, size: usize) {
    let (expected, expected_lost) = expected(policy);
    // Nothing tells two packets without bytes apart.
    let expected = if size == 0 { vec![0; expected.len()] } else { expected };
    assert_eq!((seen, lost), (&expected[..], expected_lost), "{policy:?}, {size} bytes");
}

#[test]
fn typed_payloads_of_every_size_arrive_whole_and_leave_nothing() {
    for size in SIZES {
        let ledger = Ledger::default();
        let bus = bus();
        bus.declare(TopicSpec::new::<Blob>("b").capacity(2).history(0)).unwrap();
        let mut publisher = bus.publisher::<Blob>("b", "a", LaneKind::Source).unwrap();
        let subscriber = |policy| bus.subscriber::<Blob>("b", Interest::new().policy(policy)).unwrap();
        let mut subscribers = POLICIES.map(|policy| (policy, subscriber(policy), Vec::new()));
        let read = |subscriber: &mut Subscriber<Blob>, seen: &mut Vec<u8>| {
            while let Some(packet) = subscriber.poll(|_, blob| packet_of(&blob.bytes, size)) {
                seen.push(packet);
            }
        };
        for packet in 0..PACKETS {
            publisher.try_publish(Blob::new(content(size, packet), &ledger), Attributes::default()).unwrap();
            let [(_, blocking, seen), ..] = &mut subscribers;
            read(blocking, seen);
        }
        for (policy, mut subscriber, mut seen) in subscribers {
            read(&mut subscriber, &mut seen);
            check(policy, &seen, subscriber.lost(), size);
        }
        drop((publisher, bus));
        assert_eq!(ledger.load(Ordering::Relaxed), 0, "bytes that nobody dropped, or twice, of {size} each");
    }
}

/// FAB-018: the same at the edge, with payloads that are whole in their slots up to 1 MiB, and boxed ones beyond.
#[test]
fn edge_payloads_of_every_size_arrive_whole_and_leave_nothing() {
    fn of<T: Payload>(size: usize, make: impl Fn(Vec<u8>) -> T, bytes: impl Fn(&T) -> &[u8]) {
        let ledger = Ledger::default();
        let bus = bus_of_two();
        let receiver = |policy| bus.receiver::<(T, Blob)>(Interest::new().policy(policy)).unwrap();
        let mut receivers = POLICIES.map(|policy| (policy, receiver(policy), Vec::new()));
        let read = |receiver: &mut Receiver<(T, Blob)>, seen: &mut Vec<u8>| {
            while let Some(delivery) = receiver.try_recv() {
                seen.push(packet_of(bytes(&delivery.payload.0), size));
            }
        };
        for packet in 0..PACKETS {
            // The second half of the payload is there to be counted.
            let payload = (make(content(size, packet)), Blob::new(Vec::new(), &ledger));
            bus.publish(PhasePacket::new(payload, ComponentId::custom(1))).now_or_never().unwrap().unwrap();
            let [(_, blocking, seen), ..] = &mut receivers;
            read(blocking, seen);
        }
        for (policy, mut receiver, mut seen) in receivers {
            read(&mut receiver, &mut seen);
            check(policy, &seen, receiver.lost(), size);
        }
        drop(bus);
        assert_eq!(ledger.load(Ordering::Relaxed), 0, "packets that nobody dropped, or twice, of {size} bytes");
    }
    fn inline<const N: usize>() {
        of::<[u8; N]>(N, |bytes| bytes.try_into().unwrap(), |payload| payload);
    }
    // A payload of 1 MiB goes over the stack a few times in a build without optimisation.
    let inlined = || {
        inline::<0>();
        inline::<1>();
        inline::<64>();
        inline::<{ 1 << 10 }>();
        inline::<{ 64 << 10 }>();
        inline::<{ 1 << 20 }>();
    };
    thread::Builder::new().stack_size(256 << 20).spawn(inlined).unwrap().join().unwrap();
    for size in SIZES {
        of::<Box<[u8]>>(size, Vec::into_boxed_slice, |payload| payload);
    }
}

fn bus_of_two() -> csf_bus::PhaseCoherenceBus {
    csf_bus::PhaseCoherenceBus::new(csf_bus::BusConfig { channel_buffer_size: 2, ..bus().config().clone() })
}
