//! A message of the stream: the start of a writer, or a part of a commit. A commit counts once its last part is there.
//!
//! Every message names its journal and its writer's incarnation, under a checksum. The bytes are described in `docs/formats/jetstream.md`.

use csf_core::Incarnation;

/// First bytes of every message: `csfm`, and the form this file describes.
const MAGIC: [u8; 5] = *b"csfm\x01";
/// Everything but the content.
pub(crate) const FRAME_BYTES: usize = 34;
/// CRC-32 (IEEE 802.3) of everything before it.
const CHECKSUM_BYTES: usize = 4;
/// Content of a start.
const START_BYTES: usize = 24;

mod kind {
    pub(super) const START: u8 = 1;
    pub(super) const PART: u8 = 2;
    pub(super) const LAST: u8 = 3;
}

/// What a message says, without its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content<'m> {
    /// A writer begins; all before it are fenced.
    Start {
        /// Chosen at random: it tells two that begin at once apart.
        writer: u128,
        /// Where the journal stands.
        position: u64,
    },
    /// A part of a commit.
    Part {
        /// From 0.
        number: u32,
        /// Whether the commit ends here.
        is_last: bool,
        bytes: &'m [u8],
    },
}

/// A message of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Message<'m> {
    /// Chosen at random when the stream's first message was written.
    pub(crate) journal: u128,
    pub(crate) incarnation: Incarnation,
    pub(crate) content: Content<'m>,
}

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct NoMessage {
    pub(crate) reason: &'static str,
}

impl<'m> Message<'m> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, number, start, part): (_, _, _, &[u8]) = match self.content {
            Content::Start { writer, position } => {
                let mut start = [0; START_BYTES];
                start[..16].copy_from_slice(&writer.to_be_bytes());
                start[16..].copy_from_slice(&position.to_le_bytes());
                (kind::START, 0, Some(start), &[])
            }
            Content::Part { number, is_last, bytes } => {
                (if is_last { kind::LAST } else { kind::PART }, number, None, bytes)
            }
        };
        let content = start.as_ref().map_or(part, |start| &start[..]);
        let mut out = Vec::with_capacity(FRAME_BYTES + content.len());
        out.extend_from_slice(&MAGIC);
        out.push(kind);
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.journal.to_be_bytes());
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(content);
        let checksum = crc32fast::hash(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    pub(crate) fn decode(bytes: &'m [u8]) -> Result<Self, NoMessage> {
        let fail = |reason| Err(NoMessage { reason });
        let Some((framed, sum)) = bytes.split_last_chunk::<CHECKSUM_BYTES>() else { return fail("it is cut off") };
        let Some((head, content)) = framed.split_at_checked(FRAME_BYTES - CHECKSUM_BYTES) else {
            return fail("it is cut off");
        };
        if head[..4] != MAGIC[..4] {
            return fail("it is no message of a journal");
        }
        if head[4] != MAGIC[4] {
            return fail("it is of a form that this build does not know; use a newer csf");
        }
        if crc32fast::hash(framed) != u32::from_le_bytes(*sum) {
            return fail("the checksum does not fit the content");
        }
        let number = u32::from_le_bytes(part(head, 26));
        let content = match head[5] {
            kind::START if content.len() == START_BYTES && number == 0 => Content::Start {
                writer: u128::from_be_bytes(part(content, 0)),
                position: u64::from_le_bytes(part(content, 16)),
            },
            kind::PART | kind::LAST => Content::Part { number, is_last: head[5] == kind::LAST, bytes: content },
            _ => return fail("it is of no known kind"),
        };
        Ok(Self {
            journal: u128::from_be_bytes(part(head, 10)),
            incarnation: u32::from_le_bytes(part(head, 6)),
            content,
        })
    }
}

/// The checksum that ends a message.
pub(crate) fn checksum(message: &[u8]) -> u32 {
    message.last_chunk::<CHECKSUM_BYTES>().map_or(0, |sum| u32::from_le_bytes(*sum))
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn survives(content: Content<'_>) {
        let message = Message { journal: u128::MAX / 7, incarnation: 70_000, content };
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes), Ok(message));
        assert!((0..bytes.len()).all(|len| Message::decode(&bytes[..len]).is_err()), "a message cut short is none");
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(Message::decode(&bad).is_err(), "byte {at} is under the checksum");
        }
    }

    #[test]
    fn messages_survive_and_damaged_ones_are_refused() {
        survives(Content::Start { writer: 9, position: 1 << 40 });
        survives(Content::Part { number: 3, is_last: false, bytes: b"abc" });
        survives(Content::Part { number: 0, is_last: true, bytes: b"" });
    }

    #[test]
    fn the_form_is_the_one_that_is_written_down() {
        let message =
            Message { journal: 1, incarnation: 2, content: Content::Part { number: 3, is_last: true, bytes: b"x" } };
        let bytes = message.encode();
        assert_eq!(bytes[..6], *b"csfm\x01\x03");
        assert_eq!(bytes[6..10], [2, 0, 0, 0]);
        assert_eq!(bytes[10..26], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(bytes[26..31], [3, 0, 0, 0, b'x']);
        assert_eq!(bytes[31..], crc32fast::hash(&bytes[..31]).to_le_bytes());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_a_refusal(bytes: Vec<u8>) {
            let _ = Message::decode(&bytes);
        }
    }
}
