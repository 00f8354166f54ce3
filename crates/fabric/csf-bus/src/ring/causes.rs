//! Causes beyond the first, of the few packets that have several: beside the slots, as long as somebody may read the packet.

use std::collections::BTreeMap;
use std::sync::Arc;

use csf_core::MessageId;

use super::platform::{Lock, Platform};

pub(super) struct MoreCauses<P: Platform>(P::Lock<BTreeMap<u64, Arc<[MessageId]>>>);

impl<P: Platform> MoreCauses<P> {
    pub(super) fn new() -> Self {
        Self(Lock::new(BTreeMap::new()))
    }

    /// Adds a packet's, and forgets those of packets below the gate, whose slots nobody reads any more.
    pub(super) fn add(&self, seq: u64, causes: &[MessageId], gate: u64) {
        self.0.with(|table| {
            *table = table.split_off(&gate);
            table.insert(seq, causes.into());
        });
    }

    pub(super) fn get(&self, seq: u64) -> Option<Arc<[MessageId]>> {
        self.0.with(|table| table.get(&seq).cloned())
    }
}
