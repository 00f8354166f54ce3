//! What must hold after every run, whatever went wrong in it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use csf_core::port::{JournalReader, LaneInfo, LaneKind, Scan, StoredPacket};
use csf_core::{LaneId, Stamp};
use csf_runtime::node::TreeNode;
use csf_runtime::replay::replay;
use csf_sim::SimDisk;

use super::Scenario;
use super::client::Acknowledged;

/// Violations told per run; the first says enough.
const MOST_VIOLATIONS: usize = 10;

/// What a look at the journal found.
pub(super) struct Found {
    pub(super) violations: Vec<String>,
    pub(super) packets: u64,
    pub(super) digest: u64,
}

/// Nothing acknowledged is lost; the journal is a causally closed prefix without gaps; sources went on where they were; replay repeats
/// it bit for bit.
pub(super) fn journal(scenario: &Scenario, disk: &SimDisk, acknowledged: &[Acknowledged]) -> Found {
    let mut reader = disk.reader();
    let mut violations = Vec::new();
    let size = reader.size().map_or(0, |size| size.position);
    let scan = Scan { from_position: 1, limit: usize::try_from(size).unwrap_or(usize::MAX), lanes: Vec::new() };
    let (packets, lanes) = match (reader.scan(&scan), reader.lanes()) {
        (Ok(packets), Ok(lanes)) => (packets, lanes),
        (Err(error), _) | (_, Err(error)) => {
            return Found { violations: vec![format!("the journal cannot be read: {error}")], packets: 0, digest: 0 };
        }
    };
    let lanes: BTreeMap<LaneId, LaneInfo> = lanes.into_iter().map(|l| (l.id, l)).collect();
    nothing_lost(scenario, &packets, &lanes, acknowledged, &mut violations);
    in_order(&packets, &mut violations);
    no_gaps(reader.as_mut(), &packets, size, &mut violations);
    sources_go_on(&packets, &lanes, &mut violations);
    match replay(reader.as_mut(), &scenario.catalogue, None, &mut |_| ()) {
        Ok(resumption) => violations.extend(resumption.report.first_difference.map(|difference| {
            format!("replay differs at {} on `{}`: {}", difference.id, difference.topic, difference.what)
        })),
        Err(error) => violations.push(format!("replay fails: {error}")),
    }
    violations.truncate(MOST_VIOLATIONS);
    // The same for the same build: its keys are fixed.
    let mut digest = DefaultHasher::new();
    for packet in &packets {
        let header = &packet.header;
        let cause = header.cause.map_or(0, |cause| cause.seq ^ u64::from(cause.lane.lane));
        for word in [packet.position, header.id.seq, u64::from(header.id.lane.lane), header.stamp.0, cause] {
            digest.write_u64(word);
        }
        digest.write(&packet.payload);
    }
    Found { violations, packets: packets.len() as u64, digest: digest.finish() }
}

fn nothing_lost(
    scenario: &Scenario,
    packets: &[StoredPacket],
    lanes: &BTreeMap<LaneId, LaneInfo>,
    acknowledged: &[Acknowledged],
    violations: &mut Vec<String>,
) {
    let wanted: HashSet<_> = acknowledged.iter().map(|a| a.id).collect();
    let by_id: HashMap<_, &StoredPacket> =
        packets.iter().filter(|p| wanted.contains(&p.header.id)).map(|p| (p.header.id, p)).collect();
    for Acknowledged { id, topic, payload } in acknowledged {
        let Some(packet) = by_id.get(id) else {
            violations.push(format!("{id} on `{topic}` was acknowledged and is not in the journal"));
            continue;
        };
        let message = lanes.get(&id.lane).and_then(|lane| scenario.catalogue.messages.get(&lane.message));
        let stored = message.and_then(|m| (m.to_json)((m.decode)(&packet.payload).ok()?.as_ref()).ok());
        if stored.as_ref() != Some(payload) {
            violations.push(format!("{id} on `{topic}` is in the journal with another payload"));
        }
    }
}

/// Positions grow, lanes have no gap, and a packet comes after its cause, in position and in time.
fn in_order(packets: &[StoredPacket], violations: &mut Vec<String>) {
    let mut next: HashMap<LaneId, (u64, Stamp)> = HashMap::new();
    let mut seen: HashMap<_, Stamp> = HashMap::with_capacity(packets.len());
    let mut position = 0;
    for packet in packets {
        let header = &packet.header;
        if packet.position <= position {
            violations.push(format!("position {} follows {position}", packet.position));
            return;
        }
        position = packet.position;
        let (seq, stamp) = next.get(&header.id.lane).copied().unwrap_or((0, Stamp::ZERO));
        if header.id.seq != seq {
            violations.push(format!("{} follows number {seq} of its lane", header.id));
        }
        if header.stamp <= stamp {
            violations.push(format!("{} is not stamped after the one before it on its lane", header.id));
        }
        next.insert(header.id.lane, (header.id.seq + 1, header.stamp));
        if let Some(cause) = header.cause {
            match seen.get(&cause) {
                None => violations.push(format!("{} is in the journal before its cause {cause}", header.id)),
                Some(stamp) if *stamp >= header.stamp => {
                    violations.push(format!("{} is not stamped after its cause {cause}", header.id));
                }
                Some(_) => {}
            }
        }
        seen.insert(header.id, header.stamp);
        if violations.len() >= MOST_VIOLATIONS {
            return;
        }
    }
}

/// Every position is a packet or an event.
fn no_gaps(reader: &mut dyn JournalReader, packets: &[StoredPacket], size: u64, violations: &mut Vec<String>) {
    // Packets are in order of their positions, without doubles: that was looked at before.
    let events = size - packets.len() as u64;
    let known = [csf_runtime::runs::RUN_STREAM, csf_runtime::node::DEAD_LETTER_STREAM, "csf.lane"]
        .map(|stream| reader.events(stream, 0, usize::MAX).map_or(0, |e| e.len()));
    if events != known.iter().sum::<usize>() as u64 {
        violations.push(format!("{size} positions, but {} packets and {known:?} events", packets.len()));
    }
}

/// What a source measured arrives once and in order, over all lives.
fn sources_go_on(packets: &[StoredPacket], lanes: &BTreeMap<LaneId, LaneInfo>, violations: &mut Vec<String>) {
    let mut newest: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for packet in packets {
        let Some(lane) = lanes.get(&packet.header.id.lane).filter(|l| l.kind == LaneKind::Source) else { continue };
        let Some(measured_at) = packet.header.measured_at else { continue };
        let before = newest.entry((&lane.author, &lane.topic)).or_default();
        if measured_at.ns < *before {
            let what = format!(
                "{} on `{}` was measured before the one `{}` sent before",
                packet.header.id, lane.topic, lane.author
            );
            violations.push(what);
            return;
        }
        *before = measured_at.ns;
    }
}

/// No budget is overdrawn.
pub(super) fn budgets(tree: &TreeNode) -> Vec<String> {
    let mut violations: Vec<String> = tree.children.iter().flat_map(budgets).collect();
    if let Some(budget) = &tree.budget
        && tree.restarts > u64::from(budget.at_most)
        && budget.within_ms >= 60_000
        && tree.kind == "service"
    {
        violations
            .push(format!("`{}` was restarted {} times, {} are allowed", tree.name, tree.restarts, budget.at_most));
    }
    violations
}

pub(super) fn restarts(tree: &TreeNode) -> u64 {
    tree.restarts + tree.children.iter().map(restarts).sum::<u64>()
}

pub(super) fn digest(trace: &[String], journal: u64) -> String {
    let mut digest = DefaultHasher::new();
    digest.write_u64(journal);
    trace.iter().for_each(|line| digest.write(line.as_bytes()));
    format!("{:016x}", digest.finish())
}
