//! What every journal does: the order, the refusals and the reads of `csf_core::port::journal`.

use std::ops::ControlFlow;

use csf_core::port::{
    Append, Batch, ExpectedVersion, Journal, JournalError, JournalReader, LaneBatch, LaneInfo, LaneKind, NewEvent,
    Refused, Scan, StoredPacket,
};
use csf_core::{ClockDomain, Header, LaneId, MeasuredAt, Priority, Stamp};
use serde_json::json;

use crate::SeededRng;

/// Runs the suite. Each call of `make` gives a new, empty journal.
///
/// # Panics
/// With the claim that does not hold.
pub fn journal(make: impl Fn() -> Box<dyn Journal>) {
    super::events::events(&make);
    a_new_journal_is_empty(make());
    every_part_of_a_packet_is_kept(make());
    positions_continue_without_gap(make());
    lane_sequences_continue_without_gap(make());
    a_refused_append_leaves_nothing(make());
    lanes_are_events_and_keep_their_order(make());
    reads_agree_with_a_model(make());
    large_payloads_are_kept(make());
    readers_see_what_was_appended_before_the_call(make());
}

/// Runs the part about restarts. `open` opens the same store again and again; the journal before has been dropped by then.
///
/// # Panics
/// With the claim that does not hold.
pub fn journal_restart(open: impl Fn() -> Box<dyn Journal>) {
    let mut first = open();
    let incarnation = first.incarnation();
    assert!(incarnation >= 1, "incarnations count from 1");
    append(&mut *first, &batch_of(&[(lane(1), 0, 1), (lane(2), 0, 2)]));
    append(&mut *first, &run());
    drop(first);

    let mut second = open();
    assert_eq!(second.incarnation(), incarnation + 1, "every start is a new incarnation");
    assert_eq!(second.position(), 3, "what was appended is there after a restart");
    let mut reader = reader(&*second);
    assert_eq!(scan_all(&mut *reader).len(), 2, "packets survive a restart");
    assert_not_contiguous(
        second.append(&batch_of(&[(lane(1), 0, 4)])),
        1,
        0,
        "a lane continues where it stood before the restart",
    );
    append(&mut *second, &batch_of(&[(lane(1), 1, 4)]));
    let again = second.append(&run()).expect("the batch is committed");
    assert!(
        matches!(again.appends[..], [Err(Refused::WrongVersion { actual: 1, .. })]),
        "stream versions survive a restart, got {again:?}"
    );
    drop(second);
    assert_eq!(open().incarnation(), incarnation + 2, "an incarnation counts, whatever it appended");
    super::events::events_restart(open);
}

fn a_new_journal_is_empty(mut journal: Box<dyn Journal>) {
    assert_eq!(journal.position(), 0, "a new journal is at position 0");
    let mut reader = reader(&*journal);
    assert!(scan_all(&mut *reader).is_empty());
    assert!(reader.lanes().expect("lanes").is_empty());
    assert!(reader.events("run", 1, 10).expect("events").is_empty());
    assert_eq!(reader.packet(lane(1).message(0)).expect("packet"), None);
    assert_eq!(reader.size().expect("size").position, 0);
    let receipt = journal.append(&Batch::default()).expect("an empty batch is an append");
    assert_eq!((receipt.position, journal.position()), (0, 0), "an empty batch takes no position");
}

fn every_part_of_a_packet_is_kept(mut journal: Box<dyn Journal>) {
    let plain = packet(lane(3), 0, 1);
    let mut full = packet(lane(3), 1, 2);
    full.header.measured_at = Some(MeasuredAt::new(ClockDomain::OS, u64::MAX));
    full.header.cause = Some(LaneId { node: u16::MAX, incarnation: u32::MAX, lane: u16::MAX }.message(u64::MAX));
    full.header.priority = Priority::Critical;
    full.header.deadline = Some(Stamp(5));
    full.header.targets = 0b101;
    let mut empty = packet(lane(3), 2, 3);
    empty.header.stamp = Stamp(u64::MAX);
    empty.header.priority = Priority::Low;
    empty.payload.clear();
    let packets = vec![plain, full, empty];
    append(&mut *journal, &Batch { packets: vec![LaneBatch::of(packets.clone())], ..Batch::default() });
    assert_eq!(scan_all(&mut *reader(&*journal)), packets, "a packet is read as it was written");
}

fn positions_continue_without_gap(mut journal: Box<dyn Journal>) {
    assert_not_contiguous(journal.append(&batch_of(&[(lane(1), 0, 2)])), 1, 2, "positions start at 1");
    assert_not_contiguous(journal.append(&batch_of(&[(lane(1), 0, 0)])), 1, 0, "no packet has position 0");
    append(&mut *journal, &batch_of(&[(lane(1), 0, 1), (lane(2), 0, 3), (lane(1), 1, 2)]));
    assert_eq!(journal.position(), 3, "positions may be spread over the lanes of a batch");
    assert_not_contiguous(journal.append(&batch_of(&[(lane(1), 2, 3)])), 4, 3, "a position is used once");
    assert_not_contiguous(
        journal.append(&batch_of(&[(lane(1), 2, 4), (lane(2), 1, 6)])),
        5,
        6,
        "a batch has no gap inside",
    );
    assert_not_contiguous(
        journal.append(&batch_of(&[(lane(1), 2, 4), (lane(2), 1, 4)])),
        5,
        4,
        "a batch repeats no position",
    );
    assert_not_contiguous(
        journal.append(&batch_of(&[(lane(1), 2, u64::MAX)])),
        4,
        u64::MAX,
        "no position is too far to be refused",
    );
    append(&mut *journal, &batch_of(&[(lane(1), 2, 4)]));
}

fn lane_sequences_continue_without_gap(mut journal: Box<dyn Journal>) {
    append(&mut *journal, &batch_of(&[(lane(1), 0, 1), (lane(2), 17, 2)]));
    assert_not_contiguous(journal.append(&batch_of(&[(lane(1), 2, 3)])), 1, 2, "a lane has no gap");
    assert_not_contiguous(journal.append(&batch_of(&[(lane(1), 0, 3)])), 1, 0, "a lane repeats nothing");
    append(&mut *journal, &batch_of(&[(lane(1), 1, 3), (lane(2), 18, 4)]));
    let descending =
        Batch { packets: vec![LaneBatch::of([packet(lane(1), 2, 6), packet(lane(1), 3, 5)])], ..Batch::default() };
    let result = journal.append(&descending);
    assert!(
        matches!(result, Err(JournalError::NotContiguous { .. })),
        "positions ascend within a lane, got {result:?}"
    );
    let mixed =
        Batch { packets: vec![LaneBatch::of([packet(lane(1), 2, 5), packet(lane(2), 19, 6)])], ..Batch::default() };
    let result = journal.append(&mixed);
    assert!(matches!(result, Err(JournalError::NotContiguous { .. })), "a lane batch holds one lane, got {result:?}");
    let twice = Batch {
        packets: vec![LaneBatch::of([packet(lane(1), 2, 5)]), LaneBatch::of([packet(lane(1), 3, 6)])],
        ..Batch::default()
    };
    append(&mut *journal, &twice);
    assert_eq!(
        reader(&*journal).lane(lane(1), 0, 10).expect("lane").len(),
        4,
        "a lane may come in two parts of a batch"
    );
}

fn a_refused_append_leaves_nothing(mut journal: Box<dyn Journal>) {
    append(&mut *journal, &batch_of(&[(lane(1), 0, 1)]));
    let mut bad = batch_of(&[(lane(1), 1, 2), (lane(4), 0, 4)]);
    bad.lanes.push(info(4, "nav.imu"));
    bad.appends = run().appends;
    assert_not_contiguous(journal.append(&bad), 3, 4, "a batch has no gap inside");
    let mut reader = reader(&*journal);
    assert_eq!(journal.position(), 1, "a refused batch takes no position");
    assert_eq!(scan_all(&mut *reader).len(), 1, "a refused batch leaves no packet");
    assert!(reader.lanes().expect("lanes").is_empty(), "a refused batch leaves no lane");
    assert!(reader.events("run", 1, 10).expect("events").is_empty(), "a refused batch leaves no event");
    bad.packets[1] = LaneBatch::of([packet(lane(4), 0, 3)]);
    append(&mut *journal, &bad);
    assert_eq!(journal.position(), 5, "two packets, a lane and an event");
}

fn lanes_are_events_and_keep_their_order(mut journal: Box<dyn Journal>) {
    let mut batch = batch_of(&[(lane(9), 0, 1)]);
    batch.lanes = vec![info(9, "nav.imu"), info(2, "nav.gnss")];
    append(&mut *journal, &batch);
    assert_eq!(journal.position(), 3, "a lane takes a position");
    let again = Batch { lanes: vec![info(2, "nav.gnss"), info(5, "nav.mag")], ..Batch::default() };
    append(&mut *journal, &again);
    assert_eq!(journal.position(), 4, "a lane known already takes none");
    let changed = Batch { lanes: vec![info(5, "nav.baro")], ..Batch::default() };
    let result = journal.append(&changed);
    assert!(matches!(result, Err(JournalError::NotContiguous { .. })), "a lane does not change, got {result:?}");
    let mut reader = reader(&*journal);
    let lanes: Vec<u16> = reader.lanes().expect("lanes").iter().map(|info| info.id.lane).collect();
    assert_eq!(lanes, [9, 2, 5], "lanes come in order of first appearance");
    let events = reader.events("csf.lane", 1, 10).expect("events");
    assert_eq!(events.iter().map(|e| (e.position, e.version)).collect::<Vec<_>>(), [(2, 1), (3, 2), (4, 3)]);
    assert_eq!(events[0].stamp, Stamp(1_000), "a lane is stamped as its first packet");
}

/// Random appends, then every kind of read against the same question asked of a plain list.
fn reads_agree_with_a_model(mut journal: Box<dyn Journal>) {
    let mut rng = SeededRng::new(0x6a6f_7572);
    let mut model: Vec<StoredPacket> = Vec::new();
    let mut next = [0u64; 5];
    for _ in 0..40 {
        let mut lanes: Vec<LaneBatch> = vec![LaneBatch::default(); next.len()];
        // Some lanes are busy and some almost silent, so that blocks of very different spans are merged.
        for offset in 0..rng.below(120) {
            let number = (rng.below(40).isqrt() as usize).min(next.len() - 1);
            let mut packet = packet(lane(number as u16), next[number], journal.position() + 1 + offset);
            packet.payload = vec![number as u8; rng.below(2_000) as usize];
            next[number] += 1;
            model.push(packet.clone());
            lanes[number].push(packet);
        }
        let appends = (0..rng.below(3)).map(|_| noise().into()).collect();
        append(&mut *journal, &Batch { lanes: Vec::new(), packets: lanes, appends });
    }
    let mut reader = reader(&*journal);
    assert_eq!(scan_all(&mut *reader), model, "a scan gives every packet, ascending in position");
    for _ in 0..300 {
        let from_position = rng.below(journal.position() + 3);
        let limit = rng.below(60) as usize;
        let lanes: Vec<LaneId> = (0..rng.below(4)).map(|_| lane(rng.below(6) as u16)).collect();
        let is_wanted =
            |p: &&StoredPacket| p.position >= from_position && (lanes.is_empty() || lanes.contains(&p.header.id.lane));
        let expected: Vec<StoredPacket> = model.iter().filter(is_wanted).take(limit).cloned().collect();
        let scan = Scan { from_position, limit, lanes: lanes.clone() };
        assert_eq!(reader.scan(&scan).expect("scan"), expected, "{scan:?}");
        let (mut seen, at_most) = (Vec::new(), rng.below(60) as usize);
        let mut look = |packet: &StoredPacket| {
            if seen.len() == at_most {
                return ControlFlow::Break(());
            }
            seen.push(packet.clone());
            ControlFlow::Continue(())
        };
        reader.visit(&scan, &mut look).expect("visit");
        assert_eq!(seen, expected[..at_most.min(expected.len())], "{scan:?}, left after {at_most}");
        let one = lane(rng.below(6) as u16);
        let of_lane: Vec<&StoredPacket> = model.iter().filter(|p| p.header.id.lane == one).collect();
        let from_seq = rng.below(of_lane.len() as u64 + 2);
        let expected: Vec<StoredPacket> =
            of_lane.iter().skip(from_seq as usize).take(limit).map(|p| (*p).clone()).collect();
        assert_eq!(reader.lane(one, from_seq, limit).expect("lane"), expected, "lane {one} from {from_seq}, {limit}");
        assert_eq!(
            reader.packet(one.message(from_seq)).expect("packet").as_ref(),
            of_lane.get(from_seq as usize).copied()
        );
        let newest: Vec<StoredPacket> = of_lane.iter().rev().take(limit).map(|p| (*p).clone()).collect();
        assert_eq!(reader.lane_tail(one, limit).expect("tail"), newest, "tail of lane {one}, {limit}");
    }
    assert!(reader.scan(&Scan { from_position: u64::MAX, limit: 5, lanes: Vec::new() }).expect("scan").is_empty());
    assert!(reader.lane(lane(0), u64::MAX, 5).expect("lane").is_empty());
}

fn large_payloads_are_kept(mut journal: Box<dyn Journal>) {
    let packets: Vec<StoredPacket> = [0, 100_000, 65_536, 65_490, 1, 3_000_000]
        .into_iter()
        .enumerate()
        .map(|(i, len)| StoredPacket { payload: vec![i as u8; len], ..packet(lane(1), i as u64, i as u64 + 1) })
        .collect();
    append(&mut *journal, &Batch { packets: vec![LaneBatch::of(packets.clone())], ..Batch::default() });
    assert_eq!(scan_all(&mut *reader(&*journal)), packets, "a payload larger than a block is kept");
}

fn readers_see_what_was_appended_before_the_call(mut journal: Box<dyn Journal>) {
    let mut early = reader(&*journal);
    for n in 0..5 {
        append(&mut *journal, &batch_of(&[(lane(1), n, n + 1)]));
        let seen = scan_all(&mut *early);
        assert_eq!(seen.len() as u64, n + 1, "a reader sees an append that returned before its call");
        assert_eq!(early.size().expect("size").position, n + 1);
    }
    let bytes = early.size().expect("size").bytes;
    assert!(bytes > 0, "what is stored takes bytes");
    drop(journal);
    assert_eq!(scan_all(&mut *early).len(), 5, "a reader outlives the writer");
}

pub(super) fn lane(number: u16) -> LaneId {
    LaneId { node: 1, incarnation: 1, lane: number }
}

fn info(number: u16, topic: &str) -> LaneInfo {
    LaneInfo {
        id: lane(number),
        topic: topic.to_owned(),
        author: "suite".to_owned(),
        message: "suite.message@1".to_owned(),
        kind: LaneKind::Source,
    }
}

fn packet(lane: LaneId, seq: u64, position: u64) -> StoredPacket {
    // Saturating, so that impossible positions can be tried.
    let stamp = Stamp(position.saturating_mul(1_000));
    StoredPacket { position, header: Header::new(lane.message(seq), stamp), payload: position.to_le_bytes().to_vec() }
}

/// A batch of small packets given as lane, sequence, position; grouped by lane.
fn batch_of(packets: &[(LaneId, u64, u64)]) -> Batch {
    let mut lanes: Vec<LaneBatch> = Vec::new();
    for &(lane, seq, position) in packets {
        let packet = packet(lane, seq, position);
        match lanes.iter_mut().find(|batch| batch.packets[0].header.id.lane == lane) {
            Some(batch) => batch.push(packet),
            None => lanes.push(LaneBatch::of([packet])),
        }
    }
    Batch { packets: lanes, ..Batch::default() }
}

fn noise() -> NewEvent {
    NewEvent::new("noise", "happened", Stamp(77), json!({"text": "ü", "n": [1, null]}))
}

/// The first event of stream `run`.
fn run() -> Batch {
    let append = Append::events([NewEvent { stream: "run".into(), ..noise() }]);
    Batch { appends: vec![append.expecting("run", ExpectedVersion::NoStream)], ..Batch::default() }
}

fn append(journal: &mut dyn Journal, batch: &Batch) {
    let before = journal.position();
    let receipt = journal.append(batch).expect("the append is in order");
    assert_eq!(receipt.position, journal.position(), "the receipt covers everything appended");
    let packets: usize = batch.packets.iter().map(|lane| lane.packets.len()).sum();
    let events: usize = batch.appends.iter().map(|append| append.events.len()).sum();
    assert!(receipt.position >= before + (packets + events) as u64, "everything takes a position");
}

fn reader(journal: &dyn Journal) -> Box<dyn JournalReader> {
    journal.reader().expect("a reader opens beside the writer")
}

fn scan_all(reader: &mut dyn JournalReader) -> Vec<StoredPacket> {
    reader.scan(&Scan { from_position: 0, limit: usize::MAX, lanes: Vec::new() }).expect("scan")
}

#[track_caller]
fn assert_not_contiguous(result: Result<csf_core::port::Receipt, JournalError>, wanted: u64, given: u64, claim: &str) {
    match result {
        Err(JournalError::NotContiguous { expected, got, .. }) => {
            assert_eq!((expected, got), (wanted, given), "{claim}")
        }
        other => panic!("{claim}, got {other:?}"),
    }
}
