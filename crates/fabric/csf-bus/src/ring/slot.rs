//! A slot: 64 bytes of header, then the payload. Offsets only, no pointers, so that the same bytes may lie in shared memory.

use csf_core::{Attributes, ClockDomain, Header, LaneId, MeasuredAt, MessageId, Priority, Stamp};

/// Bytes of the header, the commit word included: one cache line, so that a small payload's line is its neighbour.
pub(crate) const HEADER_BYTES: usize = 64;

/// The header behind the commit word.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(crate) struct SlotHeader {
    stamp: u64,
    pub(crate) targets: u64,
    deadline: u64,
    cause_seq: u64,
    cause_incarnation: u32,
    cause_node: u16,
    cause_lane: u16,
    measured_ns: u64,
    clock: u16,
    priority: u8,
    pub(crate) flags: u8,
    reserved: u32,
}

const _: () = assert!(size_of::<SlotHeader>() == HEADER_BYTES - size_of::<u64>());

pub(crate) mod flag {
    /// The payload is a value that must be dropped.
    pub(crate) const INIT: u8 = 1;
    pub(crate) const CAUSE: u8 = 2;
    pub(crate) const DEADLINE: u8 = 4;
    pub(crate) const MEASURED: u8 = 8;
    /// Further causes lie in the lane's side table.
    pub(crate) const MORE_CAUSES: u8 = 16;
}

impl SlotHeader {
    /// Writes a header where it lies, field by field: one that is built elsewhere and copied is read back by wider loads than it was
    /// written with, and waits for its own stores. The first cause goes in; further ones are the lane's.
    #[inline(always)]
    pub(crate) fn fill(&mut self, stamp: Stamp, attributes: &Attributes, causes: &[MessageId]) {
        self.stamp = stamp.0;
        self.targets = attributes.targets;
        self.priority = attributes.priority as u8;
        let mut flags = flag::INIT;
        if let Some(deadline) = attributes.deadline {
            self.deadline = deadline.0;
            flags |= flag::DEADLINE;
        }
        if let Some(MeasuredAt { clock, ns }) = attributes.measured_at {
            self.measured_ns = ns;
            self.clock = clock.number();
            flags |= flag::MEASURED;
        }
        if let [MessageId { lane, seq }, more @ ..] = causes {
            self.cause_seq = *seq;
            self.cause_incarnation = lane.incarnation;
            self.cause_node = lane.node;
            self.cause_lane = lane.lane;
            flags |= flag::CAUSE;
            if !more.is_empty() {
                flags |= flag::MORE_CAUSES;
            }
        }
        self.flags = flags;
    }

    #[inline(always)]
    pub(crate) fn has_more_causes(&self) -> bool {
        self.flags & flag::MORE_CAUSES != 0
    }

    #[inline(always)]
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp(self.stamp)
    }

    #[inline(always)]
    pub(crate) fn cause(&self) -> Option<MessageId> {
        (self.flags & flag::CAUSE != 0).then_some(MessageId {
            lane: LaneId { node: self.cause_node, incarnation: self.cause_incarnation, lane: self.cause_lane },
            seq: self.cause_seq,
        })
    }

    #[inline(always)]
    pub(crate) fn deadline(&self) -> Option<Stamp> {
        (self.flags & flag::DEADLINE != 0).then_some(Stamp(self.deadline))
    }

    #[inline(always)]
    pub(crate) fn priority(&self) -> Priority {
        match self.priority {
            0 => Priority::Low,
            1 => Priority::Normal,
            2 => Priority::High,
            _ => Priority::Critical,
        }
    }

    /// The header as the interfaces show it; `id` is the slot's.
    #[inline(always)]
    pub(crate) fn view(&self, id: MessageId) -> Header {
        Header {
            id,
            stamp: self.stamp(),
            measured_at: (self.flags & flag::MEASURED != 0)
                .then_some(MeasuredAt::new(ClockDomain::from_number(self.clock), self.measured_ns)),
            cause: self.cause(),
            priority: self.priority(),
            deadline: self.deadline(),
            targets: self.targets,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id() -> impl Strategy<Value = MessageId> {
        any::<(u16, u32, u16, u64)>()
            .prop_map(|(node, incarnation, lane, seq)| LaneId { node, incarnation, lane }.message(seq))
    }

    proptest! {
        /// FAB-011: every attribute reaches the reader, and touches no other.
        #[test]
        fn a_header_comes_out_as_it_went_in(
            id in id(),
            cause in prop::option::of(id()),
            (stamp, targets) in any::<(u64, u64)>(),
            deadline in prop::option::of(any::<u64>()),
            measured in prop::option::of(any::<u64>()),
            priority in prop::sample::select(vec![Priority::Low, Priority::Normal, Priority::High, Priority::Critical]),
        ) {
            let attributes = Attributes {
                measured_at: measured.map(|ns| MeasuredAt::new(ClockDomain::OS, ns)),
                priority,
                deadline: deadline.map(Stamp),
                targets,
            };
            let mut header = SlotHeader::default();
            header.fill(Stamp(stamp), &attributes, cause.as_slice());
            let header = header.view(id);
            prop_assert_eq!(header.id, id);
            prop_assert_eq!(header.stamp, Stamp(stamp));
            prop_assert_eq!(header.cause, cause);
            prop_assert_eq!(header.measured_at, attributes.measured_at);
            prop_assert_eq!((header.priority, header.deadline, header.targets), (priority, attributes.deadline, targets));
        }
    }
}
