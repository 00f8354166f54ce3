//! Who writes, who reads, who is behind, and what it costs in memory: topic by topic, for people and for `csf doctor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_core::Stamp;
use serde::{Deserialize, Serialize};

use crate::topic::Topic;
use crate::{Doorbell, Interest, PhaseCoherenceBus, Policy, Start};

/// A topic's traffic since the start of the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopicTraffic {
    /// Name.
    pub name: String,
    /// Lanes, one for each producer.
    pub lanes: usize,
    /// Packets committed.
    pub packets: u64,
    /// Slots of one lane.
    pub capacity: u64,
    /// Bytes of the slots of all lanes, payloads in the slots included; what payloads own elsewhere is not in it.
    pub slot_bytes: u64,
    /// How often a producer found its lane full.
    pub refusals: u64,
    /// The newest packet that is still there.
    pub newest: Option<NewestPacket>,
    /// Who reads it, most behind first.
    pub subscribers: Vec<SubscriberTraffic>,
}

/// A topic's newest packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewestPacket {
    /// Its stamp.
    pub stamp: Stamp,
    /// Bytes of its encoded payload; zero when it has no byte form.
    pub bytes: u64,
}

/// One subscriber's share of a topic, over all lanes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriberTraffic {
    /// What it calls itself.
    pub label: String,
    /// Whether it holds producers back when it is slow.
    pub blocks: bool,
    /// Packets committed that it has not passed.
    pub lag: u64,
    /// Packets handed out.
    pub delivered: u64,
    /// Packets lost to its policy.
    pub lost: u64,
    /// Packets it did not want.
    pub rejected: u64,
}

/// What the doctor's own look is called, so that it can be told from the patients.
const LOOK: &str = "csf doctor";

impl PhaseCoherenceBus {
    /// The traffic of every topic, by name. Looks at the newest packets in their slots, without holding anybody back.
    #[must_use]
    pub fn traffic(&self) -> Vec<TopicTraffic> {
        self.topics().iter().map(|topic| self.traffic_of(topic)).collect()
    }

    fn traffic_of(&self, topic: &Arc<Topic>) -> TopicTraffic {
        let mut subscribers: BTreeMap<Arc<str>, SubscriberTraffic> = BTreeMap::new();
        let (mut capacity, mut slot_bytes) = (0, 0);
        topic.for_each_ring(|ring| {
            capacity = ring.capacity();
            slot_bytes += ring.bytes();
            ring.for_each_reader(|label, blocks, lag, totals| {
                let entry = subscribers.entry(label.clone()).or_default();
                entry.blocks |= blocks;
                entry.lag += lag;
                entry.delivered += totals.delivered;
                entry.lost += totals.lost;
                entry.rejected += totals.rejected;
            });
        });
        let mut subscribers: Vec<_> = subscribers
            .into_iter()
            .map(|(label, traffic)| SubscriberTraffic { label: label.to_string(), ..traffic })
            .collect();
        subscribers.sort_by_key(|subscriber| std::cmp::Reverse(subscriber.lag));
        TopicTraffic {
            name: topic.spec().name.clone(),
            lanes: topic.lanes().len(),
            packets: topic.packets(),
            capacity,
            slot_bytes,
            refusals: topic.refusals(),
            newest: self.newest(topic),
            subscribers,
        }
    }

    fn newest(&self, topic: &Arc<Topic>) -> Option<NewestPacket> {
        let interest = Interest::new().policy(Policy::DropOldest).start(Start::Last(1)).label(LOOK);
        let mut look = self.subscribe_any(&[&topic.spec().name], interest, Arc::new(Doorbell::default())).ok()?;
        let packets = look.lanes().iter_mut().filter_map(|lane| {
            let (header, bytes) = lane.encoded()?;
            Some(NewestPacket { stamp: header.stamp, bytes: bytes.len() as u64 })
        });
        packets.max_by_key(|packet| packet.stamp)
    }
}
