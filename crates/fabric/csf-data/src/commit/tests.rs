//! The law of a commit's bytes: what is written is read, and anything else is refused without a panic.

use csf_core::port::{EventCause, StoredPacket};
use csf_core::{Header, LaneId};
use proptest::prelude::*;

use super::*;
use crate::packed::pack::pack;

fn any_event() -> impl Strategy<Value = NewEvent> {
    let id = proptest::option::of(any::<u128>().prop_map(EventId::from_u128));
    let tags = proptest::collection::vec("[a-z:é]{1,9}", 0..4);
    let author = proptest::option::of("[a-z]{0,9}");
    (id, "[a-z-]{1,20}", "[a-z]{1,9}", any::<u64>(), tags, author, any::<u32>()).prop_map(
        |(id, stream, kind, stamp, tags, author, n)| NewEvent {
            id,
            stream,
            kind,
            stamp: Stamp(stamp),
            tags,
            origin: Origin { cause: author.is_some().then_some(EventCause::Event(7)), author, correlation: None },
            data: serde_json::json!({ "n": n, "text": "ü" }).into(),
        },
    )
}

/// Three packets, any events, and a change of a stream.
fn any_commit() -> impl Strategy<Value = Commit<'static>> {
    (0..1u64 << 60, proptest::collection::vec((any_event(), 1..1000u64), 0..6), any::<bool>()).prop_map(
        |(after, events, is_closed)| {
            let lane = LaneId { node: 1, incarnation: 2, lane: 3 };
            let packet = |n: u64| {
                let header = Header::new(lane.message(n), Stamp(n));
                StoredPacket { position: after + 1 + n, header, payload: vec![n as u8; 9] }
            };
            let mut blocks = Vec::new();
            pack(&[packet(0), packet(1), packet(2)], &mut blocks);
            let packets_end = after + 3;
            let kept = (packets_end + 1..).zip(events).map(|(position, (event, version))| {
                Step::Keep(Planned { position, version, event: Cow::Owned(event) })
            });
            let head = StreamHead { version: 9, first: 4, is_closed };
            let steps = kept.chain([Step::Change { stream: "s".to_owned(), head }]).collect::<Vec<_>>();
            Commit { after, packets_end, blocks: Cow::Owned(blocks), steps: Cow::Owned(steps) }
        },
    )
}

proptest! {
    #[test]
    fn commits_survive(commit in any_commit()) {
        let bytes = commit.encode();
        let read = Commit::decode(&bytes).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{commit:?}"));
        prop_assert_eq!(read.position(), commit.position());
        for len in 0..bytes.len() {
            prop_assert!(Commit::decode(&bytes[..len]).is_err(), "a commit cut short is none");
        }
    }

    #[test]
    fn any_bytes_are_a_commit_or_a_refusal(bytes: Vec<u8>) {
        if let Err(e) = Commit::decode(&bytes) {
            prop_assert!(e.offset <= bytes.len());
        }
    }

    #[test]
    fn a_damaged_commit_is_one_or_a_refusal(commit in any_commit(), at: prop::sample::Index, byte: u8) {
        let mut bytes = commit.encode();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Commit::decode(&bytes);
    }
}

/// Written by hand from `docs/formats/jetstream.md`.
#[test]
fn the_form_is_the_one_that_is_written_down() {
    let json = serde_json::json!({ "n": 1 });
    let event = NewEvent::new("order-1", "placed", Stamp(1000), json).with_tag("a:1");
    let head = StreamHead { version: 3, first: 2, is_closed: false };
    let steps = vec![
        Step::Keep(Planned { position: 18, version: 3, event: Cow::Owned(event) }),
        Step::Change { stream: "order-1".to_owned(), head },
    ];
    let commit = Commit { after: 17, packets_end: 17, blocks: Cow::Borrowed(&[]), steps: Cow::Owned(steps) };
    let bytes = b"\x11\x11\x00\x02\
        \x00\x03\x07order-1\x06placed\xe8\x07\x01\x03a:1\x00\x07{\"n\":1}\
        \x02\x07order-1\x03\x02";
    assert_eq!(commit.encode(), bytes);
    assert_eq!(commit.position(), 18);
}
