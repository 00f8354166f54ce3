//! The wire form of a stamp and the node that made it: 10 bytes whose order as bytes is the order in time.

use csf_core::{NodeId, Stamp};

/// A stamp with its node: 8 bytes of nanoseconds and 2 of node id, both big-endian. Ordered by stamp, ties by node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WireStamp {
    /// The stamp.
    pub stamp: Stamp,
    /// The node whose clock made it.
    pub node_id: NodeId,
}

impl WireStamp {
    /// Length of the wire form.
    pub const LEN: usize = 10;

    /// The wire form.
    #[must_use]
    pub fn encode(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.stamp.as_nanos().to_be_bytes());
        bytes[8..].copy_from_slice(&self.node_id.to_be_bytes());
        bytes
    }

    /// From the wire form; every value is valid.
    #[must_use]
    pub const fn decode(bytes: [u8; Self::LEN]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j] = bytes;
        Self { stamp: Stamp(u64::from_be_bytes([a, b, c, d, e, f, g, h])), node_id: NodeId::from_be_bytes([i, j]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_wire_form_keeps_value_and_order(a: (u64, u16), b: (u64, u16)) {
            let [a, b] = [a, b].map(|(ns, node_id)| WireStamp { stamp: Stamp(ns), node_id });
            prop_assert_eq!(WireStamp::decode(a.encode()), a);
            prop_assert_eq!(a.encode().cmp(&b.encode()), a.cmp(&b));
        }
    }

    #[test]
    fn the_bytes_are_big_endian() {
        let wire = WireStamp { stamp: Stamp(0x0102_0304_0506_0708), node_id: 0x090a };
        assert_eq!(wire.encode(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
