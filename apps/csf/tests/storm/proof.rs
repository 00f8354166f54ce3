//! What must hold of the journal after a storm.

use std::collections::{BTreeMap, BTreeSet};

use csf_core::Stamp;
use csf_core::port::{JournalReader, LaneInfo, LaneKind, StoredPacket};
use csf_runtime::Catalogue;
use csf_runtime::runs::chapters;
use csf_runtime::topology::Topology;

use crate::load::{Number, Relayed};
use crate::plan::CHAINS;

/// Faults told at most.
const TOLD: usize = 10;

/// What the journal shows.
#[derive(Default)]
pub(crate) struct Findings {
    /// Packets of the storm's topics.
    pub(crate) messages: u64,
    pub(crate) lost: u64,
    pub(crate) reordered: u64,
    /// In words, the first ones.
    pub(crate) told: Vec<String>,
}

impl Findings {
    fn tell(&mut self, what: String) {
        if self.told.len() < TOLD {
            self.told.push(what);
        }
    }

    /// `values` have to be 0, 1, 2 … but for gaps that `may_skip` allows after a packet.
    fn sequence(&mut self, what: &str, values: &[(u64, Stamp)], may_skip: impl Fn(Stamp, Stamp) -> bool) {
        for pair in values.windows(2) {
            let ((before, from), (after, to)) = (pair[0], pair[1]);
            if after <= before {
                self.reordered += 1;
                self.tell(format!("{what}: {after} after {before}"));
            } else if after > before + 1 && !may_skip(from, to) {
                self.lost += after - before - 1;
                self.tell(format!("{what}: {after} follows {before}"));
            }
        }
    }

    fn whole(&mut self, what: &str, values: &[(u64, Stamp)], count: u64) {
        self.sequence(what, values, |_, _| false);
        let (first, last) = (values.first().map(|v| v.0), values.last().map(|v| v.0));
        if first != Some(0) || last != count.checked_sub(1) {
            self.lost += 1;
            self.tell(format!("{what}: from {first:?} to {last:?}, expected 0 to {count} without the end"));
        }
    }
}

/// Decoded packets of one author on one topic, over all starts, in order of stamps.
fn stream<T: csf_core::Message>(
    reader: &mut dyn JournalReader,
    catalogue: &Catalogue,
    lanes: &[LaneInfo],
) -> Result<Vec<(Stamp, T)>, String> {
    let mut packets: Vec<StoredPacket> = Vec::new();
    for lane in lanes {
        packets.extend(reader.lane(lane.id, 0, usize::MAX >> 1).map_err(|e| e.to_string())?);
    }
    packets.sort_by_key(|packet| (packet.header.stamp, packet.header.id));
    let message = &catalogue.messages[&csf_core::MessageType::of::<T>().full_name()];
    let decode = |packet: StoredPacket| {
        let value = (message.decode)(&packet.payload).map_err(|e| e.to_string())?.downcast::<T>();
        Ok((packet.header.stamp, *value.map_err(|_| "of another type".to_owned())?))
    };
    packets.into_iter().map(decode).collect()
}

/// Looks at everything the storm left.
pub(crate) fn look(reader: &mut dyn JournalReader, catalogue: &Catalogue) -> Result<Findings, String> {
    let mut findings = Findings::default();
    let mut by_writer: BTreeMap<(String, String), Vec<LaneInfo>> = BTreeMap::new();
    for lane in reader.lanes().map_err(|e| e.to_string())? {
        if lane.kind != LaneKind::Delivery {
            by_writer.entry((lane.topic.clone(), lane.author.clone())).or_default().push(lane);
        }
    }
    let chapters = chapters(reader).map_err(|e| e.to_string())?;
    let topologies: Vec<(Stamp, Topology)> = chapters
        .iter()
        .map(|chapter| Ok((chapter.stamp, chapter.topology(catalogue).map_err(|e| e.to_string())?)))
        .collect::<Result<_, String>>()?;
    let core: BTreeSet<String> = (0..CHAINS).flat_map(|c| [format!("r{c}"), format!("s{c}")]).collect();
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for ((topic, author), lanes) in &by_writer {
        let what = format!("`{topic}` by {author}");
        if lanes[0].kind == LaneKind::Source {
            let numbers = stream::<Number>(reader, catalogue, lanes)?;
            findings.messages += numbers.len() as u64;
            let values: Vec<_> = numbers.iter().map(|(stamp, number)| (number.value, *stamp)).collect();
            findings.whole(&what, &values, values.len() as u64);
            counts.insert(topic.clone(), values.len() as u64);
        }
    }
    for ((topic, author), lanes) in by_writer.iter().filter(|(_, lanes)| lanes[0].kind == LaneKind::Effect) {
        let what = format!("`{topic}` by {author}");
        let relayed = stream::<Relayed>(reader, catalogue, lanes)?;
        findings.messages += relayed.len() as u64;
        if core.contains(topic) {
            let count = counts[&format!("n{}", &topic[1..])];
            let values: Vec<_> = relayed.iter().map(|(stamp, relayed)| (relayed.value, *stamp)).collect();
            let states: Vec<_> = relayed.iter().map(|(stamp, relayed)| (relayed.count, *stamp)).collect();
            findings.whole(&what, &values, count);
            findings.whole(&format!("state of {author}"), &states, count);
            continue;
        }
        let inputs: BTreeSet<&str> = relayed.iter().map(|(_, relayed)| relayed.topic.as_str()).collect();
        for input in inputs {
            let values: Vec<_> = relayed
                .iter()
                .filter(|(_, relayed)| relayed.topic == input)
                .map(|(stamp, relayed)| (relayed.value, *stamp))
                .collect();
            // It may miss what came while it was not there, read something else or wrote elsewhere.
            let connected = |topology: &Topology| {
                topology.component(author).is_some_and(|node| {
                    let settings = &node.settings;
                    settings.reads.iter().any(|t| t.value == input)
                        && settings.writes.values().any(|t| t.value == *topic)
                })
            };
            let may_skip = |from: Stamp, to: Stamp| {
                topologies.iter().any(|(at, topology)| from < *at && *at <= to && !connected(topology))
            };
            findings.sequence(&format!("{what} from `{input}`"), &values, may_skip);
        }
    }
    Ok(findings)
}
