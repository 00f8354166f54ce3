//! The law of the packed form: what is packed is unpacked, and anything else is refused without a panic.

use csf_core::port::StoredPacket;
use csf_core::{ClockDomain, Header, LaneId, MeasuredAt, MessageId, Priority, Stamp};
use proptest::prelude::*;

use super::pack;
use crate::packed::block::{BODY_BYTES_MAX, Block, HEADER_BYTES};
use crate::packed::unpack::{BlockReader, UnpackError, unpack};

const LANE: LaneId = LaneId { node: 3, incarnation: 70_000, lane: 12 };

fn any_id() -> impl Strategy<Value = MessageId> {
    (0..4u16, any::<u32>(), 0..100u16, any::<u64>())
        .prop_map(|(node, incarnation, lane, seq)| LaneId { node, incarnation: incarnation % 3, lane }.message(seq))
}

fn any_header() -> impl Strategy<Value = Header> {
    let priority =
        prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High), Just(Priority::Critical)];
    let measured = proptest::option::of(
        ("[a-zé]{0,3}", any::<u64>()).prop_map(|(clock, ns)| MeasuredAt::new(ClockDomain::intern(&clock).unwrap(), ns)),
    );
    let cause = proptest::option::of(any_id());
    let targets = prop_oneof![Just(u64::MAX), any::<u64>()];
    (any::<u64>(), measured, cause, priority, proptest::option::of(any::<u64>()), targets).prop_map(
        |(stamp, measured_at, cause, priority, deadline, targets)| Header {
            id: LANE.message(0),
            stamp: Stamp(stamp),
            measured_at,
            cause,
            priority,
            deadline: deadline.map(Stamp),
            targets,
        },
    )
}

/// Packets of one lane with steps of position between 1 and 2^40.
fn any_packets(payload_max: usize, count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<StoredPacket>> {
    let payload = proptest::collection::vec(any::<u8>(), 0..payload_max);
    let packet = (any_header(), 1..1u64 << 40, payload);
    (0..1u64 << 60, proptest::collection::vec(packet, count)).prop_map(|(first_seq, packets)| {
        let mut position = 0;
        let place = |(i, (mut header, step, payload)): (usize, (Header, u64, Vec<u8>))| {
            position += step;
            header.id = LANE.message(first_seq + i as u64);
            StoredPacket { position, header, payload }
        };
        packets.into_iter().enumerate().map(place).collect()
    })
}

fn packed(packets: &[StoredPacket]) -> Vec<Block> {
    let mut blocks = Vec::new();
    pack(packets, &mut blocks);
    blocks
}

fn unpacked(blocks: &[Block]) -> Vec<StoredPacket> {
    blocks.iter().flat_map(|block| unpack(&block.body).unwrap()).collect()
}

proptest! {
    #[test]
    fn packets_survive_packing(packets in any_packets(40, 0..100)) {
        let blocks = packed(&packets);
        prop_assert_eq!(unpacked(&blocks), packets);
    }

    #[test]
    fn the_index_facts_are_those_of_the_packets(packets in any_packets(4_000, 1..60)) {
        let blocks = packed(&packets);
        for block in &blocks {
            let inside = unpack(&block.body).unwrap();
            prop_assert!(block.body.len() <= BODY_BYTES_MAX || inside.len() == 1);
            prop_assert_eq!(block.header.count as usize, inside.len());
            prop_assert_eq!(block.header.first_position, inside[0].position);
            prop_assert_eq!(block.header.first_seq, inside[0].header.id.seq);
            prop_assert_eq!(block.last_position, inside[inside.len() - 1].position);
            prop_assert_eq!(block.stamps.0, inside.iter().map(|p| p.header.stamp.0).min().unwrap());
            prop_assert_eq!(block.stamps.1, inside.iter().map(|p| p.header.stamp.0).max().unwrap());
        }
        prop_assert_eq!(unpacked(&blocks), packets);
    }

    #[test]
    fn any_bytes_are_packets_or_an_error_with_a_place(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Err(UnpackError { offset, .. }) = unpack(&bytes) {
            prop_assert!(offset <= bytes.len());
        }
    }

    /// With a valid checksum the parser itself is reached.
    #[test]
    fn any_content_under_a_valid_checksum_is_refused_or_read(
        packets in any_packets(20, 1..20),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut content = packed(&packets).remove(0).body;
        content.truncate(content.len() - 4);
        for (at, byte) in changes {
            let at = at.index(content.len() - 1) + 1;
            content[at] = byte;
        }
        content.extend_from_slice(&crc32fast::hash(&content).to_le_bytes());
        if let Err(UnpackError { offset, .. }) = unpack(&content) {
            prop_assert!(offset <= content.len());
        }
    }

    #[test]
    fn one_flipped_bit_is_found(packets in any_packets(20, 1..20), at: prop::sample::Index, bit in 0..8u8) {
        let mut body = packed(&packets).remove(0).body;
        let at = at.index(body.len());
        body[at] ^= 1 << bit;
        prop_assert!(unpack(&body).is_err());
    }
}

fn plain(seq: u64, payload: usize) -> StoredPacket {
    let header = Header::new(LANE.message(seq), Stamp(1_000 + seq));
    StoredPacket { position: 10 + seq, header, payload: vec![0xab; payload] }
}

/// Written by hand from `docs/formats/journal.md`.
#[test]
fn the_documented_example_is_what_is_written() {
    let mut second = plain(8, 2);
    second.header.cause = Some(LaneId { node: 1, incarnation: 2, lane: 3 }.message(4));
    second.header.measured_at = Some(MeasuredAt::new(ClockDomain::intern("px4").unwrap(), 1));
    let body = packed(&[plain(7, 1), second]).remove(0).body;
    let mut expected = vec![1, 3, 0, 0x70, 0x11, 1, 0, 12, 0, 2, 0, 0, 0];
    expected.extend(7u64.to_le_bytes());
    expected.extend(17u64.to_le_bytes());
    expected.extend(1_007u64.to_le_bytes());
    expected.extend([0x10, 0, 0, 1, 0xab]);
    expected.extend([0x13, 1, 2, 0, 3, b'p', b'x', b'4', 2, 0, 1, 2, 3, 8, 2, 0xab, 0xab]);
    assert_eq!(body[..body.len() - 4], expected);
    assert_eq!(body[body.len() - 4..], crc32fast::hash(&expected).to_le_bytes());
}

#[test]
fn a_regular_stream_costs_few_bytes_beside_its_payload() {
    let packets: Vec<StoredPacket> = (0..300).map(|seq| plain(seq, 100)).collect();
    let bytes: usize = packed(&packets).iter().map(|block| block.body.len()).sum();
    assert!(bytes - 300 * 100 < 300 * 5 + 100, "{bytes} bytes for 300 packets of 100");
}

#[test]
fn more_clocks_and_cause_lanes_than_a_table_holds_are_kept() {
    let packets: Vec<StoredPacket> = (0..500)
        .map(|seq| {
            let mut packet = plain(seq, 0);
            packet.header.measured_at =
                Some(MeasuredAt::new(ClockDomain::intern(&format!("clock-{}", seq % 90)).unwrap(), seq));
            packet.header.cause = Some(LaneId { node: 1, incarnation: 1, lane: (seq % 90) as u16 }.message(seq));
            packet
        })
        .collect();
    assert_eq!(unpacked(&packed(&packets)), packets);
}

#[test]
fn a_block_is_closed_at_its_limit_and_a_larger_packet_stands_alone() {
    let sizes = [10, BODY_BYTES_MAX, 10, 10, BODY_BYTES_MAX / 2, BODY_BYTES_MAX / 2, 0];
    let packets: Vec<StoredPacket> = sizes.iter().zip(0..).map(|(&size, seq)| plain(seq, size)).collect();
    let counts: Vec<u32> = packed(&packets).iter().map(|block| block.header.count).collect();
    assert_eq!(counts, [1, 1, 3, 2]);
    assert_eq!(unpacked(&packed(&packets)), packets);
}

#[test]
fn a_reader_stops_after_an_error() {
    let mut body = packed(&[plain(0, 3), plain(1, 3)]).remove(0).body;
    body[HEADER_BYTES] = 0xff;
    body.truncate(body.len() - 4);
    body.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    let mut reader = BlockReader::new(body).unwrap();
    let error = reader.next().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "byte 38: reserved flags are set");
    assert!(reader.next().is_none());
}
