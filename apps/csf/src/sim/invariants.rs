//! What must hold after every run, whatever went wrong in it.

use std::collections::BTreeMap;
use std::time::Duration;

use csf_core::port::{JournalReader, LaneInfo, LaneKind, StoredPacket};
use csf_core::{ClockDomain, LaneId, Stamp};
use csf_runtime::node::TreeNode;
use csf_runtime::replay::replay;
use csf_sim::SimDisk;

use super::client::Acknowledged;
use super::{Measurements, Scenario};

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
    let lanes = match reader.lanes() {
        Ok(lanes) => lanes,
        Err(error) => {
            return Found { violations: vec![format!("the journal cannot be read: {error}")], packets: 0, digest: 0 };
        }
    };
    let mut audit = Audit::new(&lanes, &scenario.measurements);
    let packets = disk.with_packets(|packets| {
        packets.iter().for_each(|packet| audit.look_at(packet));
        packets.len() as u64
    });
    let Audit { mut violations, digest, .. } = audit;
    nothing_lost(scenario, reader.as_mut(), &lanes, acknowledged, &mut violations);
    no_gaps(reader.as_mut(), packets, &mut violations);
    match replay(reader.as_mut(), &scenario.catalogue, None, &mut |_| ()) {
        Ok(resumption) => violations.extend(resumption.report.first_difference.map(|difference| {
            format!("replay differs at {} on `{}`: {}", difference.id, difference.topic, difference.what)
        })),
        Err(error) => violations.push(format!("replay fails: {error}")),
    }
    violations.truncate(MOST_VIOLATIONS);
    Found { violations, packets, digest: digest.0 }
}

fn nothing_lost(
    scenario: &Scenario,
    reader: &mut dyn JournalReader,
    lanes: &[LaneInfo],
    acknowledged: &[Acknowledged],
    violations: &mut Vec<String>,
) {
    for Acknowledged { id, topic, payload } in acknowledged {
        let Ok(Some(packet)) = reader.packet(*id) else {
            violations.push(format!("{id} on `{topic}` was acknowledged and is not in the journal"));
            continue;
        };
        let lane = lanes.iter().find(|lane| lane.id == id.lane);
        let message = lane.and_then(|lane| scenario.catalogue.messages.get(&lane.message));
        let stored = message.and_then(|m| (m.to_json)((m.decode)(&packet.payload).ok()?.as_ref()).ok());
        if stored.as_ref() != Some(payload) {
            violations.push(format!("{id} on `{topic}` is in the journal with another payload"));
        }
    }
}

/// One pass over the packets, in order of their positions: positions grow, lanes have no gap, a packet comes after its cause, in position
/// and in time, and what a source measured is there once and in order, over all lives.
struct Audit<'a> {
    lanes: Vec<LaneAudit>,
    places: BTreeMap<LaneId, usize>,
    sources: Vec<SourceAudit<'a>>,
    position: u64,
    digest: Digest,
    violations: Vec<String>,
}

/// What one author measured on one topic, over all lives.
struct SourceAudit<'a> {
    lane: &'a LaneInfo,
    newest: u64,
    count: usize,
    /// What it measures when nothing goes wrong.
    expected: &'a [u64],
}

#[derive(Default)]
struct LaneAudit {
    /// Of all its packets: the lane's numbers are their places.
    stamps: Vec<Stamp>,
    /// Of a source: its place among them.
    source: Option<usize>,
}

impl<'a> Audit<'a> {
    fn new(lanes: &'a [LaneInfo], measurements: &'a Measurements) -> Self {
        let mut audit = Self {
            lanes: Vec::new(),
            places: BTreeMap::new(),
            sources: Vec::new(),
            position: 0,
            digest: Digest::default(),
            violations: Vec::new(),
        };
        for lane in lanes {
            let source = (lane.kind == LaneKind::Source).then(|| {
                let key = (lane.author.clone(), lane.topic.clone());
                let is_same = |known: &SourceAudit<'_>| known.lane.author == key.0 && known.lane.topic == key.1;
                audit.sources.iter().position(is_same).unwrap_or_else(|| {
                    let expected = measurements.get(&key).map_or(&[][..], Vec::as_slice);
                    audit.sources.push(SourceAudit { lane, newest: 0, count: 0, expected });
                    audit.sources.len() - 1
                })
            });
            let place = audit.place(lane.id);
            audit.lanes[place].source = source;
        }
        audit
    }

    /// Where a lane lies; the journal may hold one that it does not describe.
    fn place(&mut self, lane: LaneId) -> usize {
        *self.places.entry(lane).or_insert_with(|| {
            self.lanes.push(LaneAudit::default());
            self.lanes.len() - 1
        })
    }

    fn look_at(&mut self, packet: &StoredPacket) {
        self.digest.add(packet);
        if self.violations.len() < MOST_VIOLATIONS {
            let place = self.place(packet.header.id.lane);
            self.in_order(place, packet);
            self.after_its_cause(packet);
            self.sources_go_on(place, packet);
        }
    }

    fn in_order(&mut self, place: usize, packet: &StoredPacket) {
        let header = &packet.header;
        if packet.position <= self.position {
            self.violations.push(format!("position {} follows {}", packet.position, self.position));
        }
        self.position = packet.position;
        let lane = &mut self.lanes[place];
        if header.id.seq != lane.stamps.len() as u64 {
            self.violations.push(format!("{} follows {} packets of its lane", header.id, lane.stamps.len()));
        }
        if lane.stamps.last().is_some_and(|before| header.stamp <= *before) {
            self.violations.push(format!("{} is not stamped after the one before it on its lane", header.id));
        }
        lane.stamps.push(header.stamp);
    }

    fn after_its_cause(&mut self, packet: &StoredPacket) {
        let (id, Some(cause)) = (packet.header.id, packet.header.cause) else { return };
        let stamps = self.places.get(&cause.lane).map_or(&[][..], |place| &self.lanes[*place].stamps);
        match usize::try_from(cause.seq).ok().and_then(|seq| stamps.get(seq)) {
            None => self.violations.push(format!("{id} is in the journal before its cause {cause}")),
            Some(stamp) if *stamp >= packet.header.stamp => {
                self.violations.push(format!("{id} is not stamped after its cause {cause}"));
            }
            Some(_) => {}
        }
    }

    fn sources_go_on(&mut self, place: usize, packet: &StoredPacket) {
        let Some(measured_at) = packet.header.measured_at else { return };
        let Some(source) = self.lanes[place].source.map(|source| &mut self.sources[source]) else { return };
        let (id, topic, author) = (packet.header.id, &source.lane.topic, &source.lane.author);
        // The machine's own clock may stand for a while.
        let least = source.newest + u64::from(measured_at.clock != ClockDomain::OS);
        if measured_at.ns < least {
            self.violations.push(format!("{id} on `{topic}` was not measured after the one `{author}` sent before"));
        }
        if source.expected.get(source.count).is_some_and(|expected| *expected != measured_at.ns) {
            self.violations.push(format!("{id} on `{topic}` is not what `{author}` measures {}th", source.count + 1));
        }
        source.newest = measured_at.ns;
        source.count += 1;
    }
}

/// When each author measured what it published on each topic, on clocks that are not the machine's.
pub(super) fn measurements(disk: &SimDisk) -> Measurements {
    let lanes: BTreeMap<LaneId, LaneInfo> =
        disk.reader().lanes().unwrap_or_default().into_iter().map(|lane| (lane.id, lane)).collect();
    let mut measurements = Measurements::new();
    disk.with_packets(|packets| {
        for packet in packets {
            let measured_at = packet.header.measured_at.filter(|at| at.clock != ClockDomain::OS);
            let lane = lanes.get(&packet.header.id.lane).filter(|lane| lane.kind == LaneKind::Source);
            let (Some(measured_at), Some(lane)) = (measured_at, lane) else { continue };
            measurements.entry((lane.author.clone(), lane.topic.clone())).or_default().push(measured_at.ns);
        }
    });
    measurements
}

/// Every position is a packet or an event.
fn no_gaps(reader: &mut dyn JournalReader, packets: u64, violations: &mut Vec<String>) {
    let size = reader.size().map_or(0, |size| size.position);
    // Packets are in order of their positions, without doubles: that was looked at before.
    let known = [csf_runtime::runs::RUN_STREAM, csf_runtime::node::DEAD_LETTER_STREAM, "csf.lane"]
        .map(|stream| reader.events(stream, 0, usize::MAX).map_or(0, |e| e.len()));
    if size.checked_sub(packets) != Some(known.iter().sum::<usize>() as u64) {
        violations.push(format!("{size} positions, but {packets} packets and {known:?} events"));
    }
}

/// No budget is overdrawn. `renewed` says how many restarts there were when a service got another budget.
pub(super) fn budgets(tree: &TreeNode, run: Duration, renewed: &BTreeMap<String, u64>) -> Vec<String> {
    let mut violations: Vec<String> = tree.children.iter().flat_map(|child| budgets(child, run, renewed)).collect();
    let restarts = tree.restarts - renewed.get(&tree.name).copied().unwrap_or(0).min(tree.restarts);
    if let Some(budget) = &tree.budget
        && restarts > u64::from(budget.at_most)
        // Over a longer run than that more restarts are allowed than at once.
        && u128::from(budget.within_ms) >= run.as_millis()
        && tree.kind == "service"
    {
        violations.push(format!("`{}` was restarted {restarts} times, {} are allowed", tree.name, budget.at_most));
    }
    if let Some(budget) = tree.budget.as_ref().filter(|budget| u128::from(budget.within_ms) >= run.as_millis()) {
        // Each start of a supervisor has the budget anew, and each restart of it is one of those below.
        let allowed = (u64::from(budget.at_most) + 1) * (tree.restarts + 1) - 1;
        for child in tree.children.iter().filter(|child| child.kind != "supervisor") {
            let restarts = child.restarts - renewed.get(&child.name).copied().unwrap_or(0).min(child.restarts);
            if restarts > allowed {
                let (name, above) = (&child.name, &tree.name);
                violations
                    .push(format!("`{name}` was restarted {restarts} times below `{above}`, {allowed} are allowed"));
            }
        }
    }
    violations
}

/// Restarts of one service.
pub(super) fn restarts_of(tree: &TreeNode, name: &str) -> u64 {
    let own = if tree.kind == "service" && tree.name == name { tree.restarts } else { 0 };
    own + tree.children.iter().map(|child| restarts_of(child, name)).sum::<u64>()
}

pub(super) fn restarts(tree: &TreeNode) -> u64 {
    tree.restarts + tree.children.iter().map(restarts).sum::<u64>()
}

/// A number over everything that is added, the same for the same things. Reference: the folded multiplication of Wang Yi's wyhash.
#[derive(Clone, Copy)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Digest {
    /// Goes on from `start`.
    pub(super) fn over(start: u64, lines: &[String]) -> String {
        let mut digest = Self(start);
        lines.iter().for_each(|line| digest.bytes(line.as_bytes()));
        format!("{:016x}", digest.0)
    }

    fn add(&mut self, packet: &StoredPacket) {
        let header = &packet.header;
        let cause = header.cause.map_or(0, |cause| cause.seq << 16 ^ u64::from(cause.lane.lane));
        for word in [packet.position, header.id.seq, u64::from(header.id.lane.lane), header.stamp.0, cause] {
            self.word(word);
        }
        self.bytes(&packet.payload);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        // The length tells how many bytes of the last word are there.
        self.word(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn word(&mut self, word: u64) {
        // An odd constant; the sum keeps a zero product from staying one.
        let wide = u128::from(self.0 ^ word) * 0xa076_1d64_78bd_642f;
        self.0 = (wide as u64 ^ (wide >> 64) as u64).wrapping_add(0xe703_7ed1_a0b4_28db);
    }
}
