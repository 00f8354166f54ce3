//! The packed form of packets, the same in every store.

pub(crate) mod block;
pub(crate) mod pack;
pub(crate) mod unpack;
pub(crate) mod varint;
