//! Messages of the stream, in order, become starts and commits again.
//!
//! A commit whose last part never came was never made: the next start, or the next commit's first part, puts it aside.
//! Invariant: what comes out continues what came before, in incarnation and position; anything else is an error.

use csf_core::Incarnation;

use super::message::{Content, Message};
use crate::commit::Commit;

/// Largest commit, bytes: it is put together in memory.
pub(crate) const COMMIT_BYTES_MAX: usize = 256 << 20;

/// What the messages so far have come to.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Which journal; nothing before the first message.
    pub(crate) journal: Option<u128>,
    /// The newest start.
    pub(crate) incarnation: Incarnation,
    /// The newest position.
    pub(crate) position: u64,
    /// The commit in the making.
    parts: Vec<u8>,
    next_part: u32,
}

/// What a message did.
#[derive(Debug)]
pub(crate) enum Replayed {
    /// A writer began.
    Start,
    /// More is to come.
    Part,
    /// A commit is whole.
    Commit(Commit<'static>),
}

impl Replay {
    pub(crate) fn new(journal: Option<u128>, incarnation: Incarnation, position: u64) -> Self {
        Self { journal, incarnation, position, ..Self::default() }
    }

    /// The next message of the stream.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Replayed, String> {
        let message = Message::decode(bytes).map_err(|e| e.to_string())?;
        if self.journal.is_some_and(|journal| journal != message.journal) {
            return Err("it is of another journal".to_owned());
        }
        match message.content {
            Content::Start { position, .. } => {
                let expected = (self.incarnation.saturating_add(1), self.position);
                if (message.incarnation, position) != expected {
                    return Err(format!(
                        "start {} at position {position}, expected start {} at {}",
                        message.incarnation, expected.0, expected.1
                    ));
                }
                (self.journal, self.incarnation) = (Some(message.journal), message.incarnation);
                self.clear();
                Ok(Replayed::Start)
            }
            Content::Part { .. } if self.journal.is_none() || message.incarnation != self.incarnation => {
                Err(format!("it is of start {}, expected {}", message.incarnation, self.incarnation))
            }
            Content::Part { number, is_last, bytes } => self.part(number, is_last, bytes),
        }
    }

    fn part(&mut self, number: u32, is_last: bool, bytes: &[u8]) -> Result<Replayed, String> {
        if number == 0 {
            self.clear();
        }
        if number != self.next_part {
            return Err(format!("part {number} of a commit, expected part {}", self.next_part));
        }
        if self.parts.len() + bytes.len() > COMMIT_BYTES_MAX {
            return Err(format!("a commit of more than {COMMIT_BYTES_MAX} bytes"));
        }
        self.next_part += 1;
        if !is_last {
            self.parts.extend_from_slice(bytes);
            return Ok(Replayed::Part);
        }
        let commit = match number {
            0 => Commit::decode(bytes),
            _ => {
                self.parts.extend_from_slice(bytes);
                Commit::decode(&self.parts)
            }
        };
        self.clear();
        let commit = commit.map_err(|e| e.to_string())?;
        if commit.after != self.position {
            return Err(format!("a commit after position {}, expected one after {}", commit.after, self.position));
        }
        self.position = commit.position();
        Ok(Replayed::Commit(commit))
    }

    fn clear(&mut self) {
        self.next_part = 0;
        self.parts = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use csf_core::Stamp;
    use csf_core::port::NewEvent;
    use serde_json::json;

    use super::*;
    use crate::plan::{Planned, Step};

    fn message(incarnation: Incarnation, content: Content<'_>) -> Vec<u8> {
        Message { journal: 5, incarnation, content }.encode()
    }

    fn start(incarnation: Incarnation, position: u64) -> Vec<u8> {
        message(incarnation, Content::Start { writer: 1, position })
    }

    fn commit(after: u64) -> Vec<u8> {
        let event = NewEvent::new("a", "k", Stamp(1), json!({ "n": after }));
        let planned = Planned { position: after + 1, version: after + 1, event: Cow::Owned(event) };
        let steps = Cow::Owned(vec![Step::Keep(planned)]);
        Commit { after, packets_end: after, blocks: Cow::Owned(Vec::new()), steps }.encode()
    }

    fn whole(after: u64) -> Vec<u8> {
        message(1, Content::Part { number: 0, is_last: true, bytes: &commit(after) })
    }

    #[test]
    fn a_commit_in_parts_counts_with_its_last() {
        let mut replay = Replay::default();
        assert!(matches!(replay.feed(&start(1, 0)), Ok(Replayed::Start)));
        let bytes = commit(0);
        let part = |number: u32, is_last, range: std::ops::Range<usize>| {
            message(1, Content::Part { number, is_last, bytes: &bytes[range] })
        };
        assert!(matches!(replay.feed(&part(0, false, 0..3)), Ok(Replayed::Part)));
        assert!(matches!(replay.feed(&part(1, false, 3..5)), Ok(Replayed::Part)));
        assert_eq!(replay.position, 0);
        assert!(matches!(replay.feed(&part(2, true, 5..bytes.len())), Ok(Replayed::Commit(_))));
        assert_eq!(replay.position, 1);
    }

    #[test]
    fn an_unfinished_commit_was_never_made() {
        let mut replay = Replay::default();
        replay.feed(&start(1, 0)).unwrap();
        let half = message(1, Content::Part { number: 0, is_last: false, bytes: b"half" });
        replay.feed(&half).unwrap();
        assert!(matches!(replay.feed(&whole(0)), Ok(Replayed::Commit(_))), "the writer went on");
        replay.feed(&half).unwrap();
        assert!(matches!(replay.feed(&start(2, 1)), Ok(Replayed::Start)), "another writer began");
        let rest = message(2, Content::Part { number: 1, is_last: true, bytes: b"rest" });
        assert!(replay.feed(&rest).is_err(), "its rest has nothing to follow");
    }

    #[test]
    fn what_does_not_continue_is_refused() {
        let fed = |messages: &[Vec<u8>]| {
            let mut replay = Replay::default();
            messages.iter().try_for_each(|message| replay.feed(message).map(drop))
        };
        assert!(fed(&[whole(0)]).is_err(), "a journal begins with a start");
        assert!(fed(&[start(2, 0)]).is_err(), "starts count from 1");
        assert!(fed(&[start(1, 0), start(1, 0)]).is_err(), "a start counts once");
        assert!(fed(&[start(1, 0), whole(1)]).is_err(), "positions have no gap");
        assert!(fed(&[start(1, 0), whole(0), whole(0)]).is_err(), "a commit counts once");
        assert!(fed(&[start(1, 0), start(2, 0), whole(0)]).is_err(), "a fenced writer writes no more");
        let foreign = Message { journal: 6, incarnation: 2, content: Content::Start { writer: 1, position: 0 } };
        assert!(fed(&[start(1, 0), foreign.encode()]).is_err(), "another journal's message");
        assert!(fed(&[start(1, 0), whole(0), start(2, 1)]).is_ok());
    }
}
