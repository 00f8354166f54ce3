//! The keys of an event: a number for each name by which it can be found.

use std::hash::{BuildHasherDefault, Hash, Hasher};

use csf_core::port::{EventId, category};
use siphasher::sip::SipHasher13;

/// What is asked for. SipHash-1-3 with key 0 over a letter for the sort of name and the name; two names of one number are told apart by looking.
/// Reference: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sqlite) struct Key(u64);

impl Key {
    pub(in crate::sqlite) fn stream(stream: &str) -> Self {
        Self::of(b's', stream.as_bytes())
    }

    pub(in crate::sqlite) fn category(category: &str) -> Self {
        Self::of(b'c', category.as_bytes())
    }

    pub(in crate::sqlite) fn kind(kind: &str) -> Self {
        Self::of(b'k', kind.as_bytes())
    }

    pub(in crate::sqlite) fn tag(tag: &str) -> Self {
        Self::of(b't', tag.as_bytes())
    }

    pub(in crate::sqlite) fn id(id: EventId) -> Self {
        Self::of(b'i', &id.as_u128().to_be_bytes())
    }

    fn of(sort: u8, name: &[u8]) -> Self {
        let mut hasher = SipHasher13::new();
        hasher.write(&[sort]);
        hasher.write(name);
        Self(hasher.finish())
    }

    /// As the index has it.
    pub(super) fn signed(self) -> i64 {
        self.0.cast_signed()
    }
}

/// All keys of an event.
pub(in crate::sqlite) fn keys<'e>(
    stream: &'e str,
    kind: &'e str,
    id: Option<EventId>,
    tags: &'e [String],
) -> impl Iterator<Item = Key> + 'e {
    [Key::stream(stream), Key::category(category(stream)), Key::kind(kind)]
        .into_iter()
        .chain(id.map(Key::id))
        .chain(tags.iter().map(|tag| Key::tag(tag)))
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0);
    }
}

/// A hash of keys, which are hashes already.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AsItIs(u64);

pub(super) type ByKey = BuildHasherDefault<AsItIs>;

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}
