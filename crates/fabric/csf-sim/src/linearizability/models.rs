//! The objects that histories are held against.

use csf_core::port::ExpectedVersion;

use super::Sequential;

/// A stream of a log: numbers are appended under an expectation, and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct VersionedStream(Vec<u64>);

/// What a stream is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamCall {
    /// Append this number.
    Append(u64, ExpectedVersion),
    /// Read all.
    Read,
}

/// What a stream answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamAnswer {
    /// It was appended as this version.
    Appended(u64),
    /// It has another number of events: this one.
    Refused(u64),
    /// Everything.
    Events(Vec<u64>),
}

impl Sequential for VersionedStream {
    type Call = StreamCall;
    type Answer = StreamAnswer;

    fn after(&self, call: &StreamCall, answer: Option<&StreamAnswer>) -> Option<Self> {
        let version = self.0.len() as u64;
        let is_fine = match (call, answer) {
            (StreamCall::Read, None) => true,
            (StreamCall::Read, Some(StreamAnswer::Events(events))) => *events == self.0,
            (StreamCall::Append(_, expected), Some(StreamAnswer::Refused(actual))) => {
                !expected.holds(version) && *actual == version
            }
            (StreamCall::Append(number, expected), answer) => {
                let is_told = match answer {
                    None => true,
                    Some(StreamAnswer::Appended(told)) => expected.holds(version) && *told == version + 1,
                    Some(_) => false,
                };
                if is_told && expected.holds(version) {
                    let mut after = self.clone();
                    after.0.push(*number);
                    return Some(after);
                }
                is_told
            }
            _ => false,
        };
        is_fine.then(|| self.clone())
    }
}

/// A lock with a lease, and a resource behind a fence: whoever is certain of its lease is the last that was granted the lock, and the resource
/// takes no token older than one it has taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FencedLock {
    granted: u64,
    fence: u64,
}

/// What a lock and its resource are asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockCall {
    /// Grant it.
    Acquire,
    /// Is the lease of this token certain?
    IsValid(u64),
    /// Let this token pass.
    Pass(u64),
}

/// What they answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockAnswer {
    /// Granted, with this token.
    Token(u64),
    /// Granted to nobody.
    Refused,
    /// It is certain; it has passed.
    Yes,
    /// It is not.
    No,
}

impl Sequential for FencedLock {
    type Call = LockCall;
    type Answer = LockAnswer;

    fn after(&self, call: &LockCall, answer: Option<&LockAnswer>) -> Option<Self> {
        match (call, answer) {
            (LockCall::Acquire, Some(LockAnswer::Token(token))) if *token > self.granted => {
                Some(Self { granted: *token, ..self.clone() })
            }
            // Nobody holds a token that was not told.
            (LockCall::Acquire, Some(LockAnswer::Refused) | None) => Some(self.clone()),
            (LockCall::IsValid(token), Some(LockAnswer::Yes)) if *token == self.granted => Some(self.clone()),
            // A lease may end at any time.
            (LockCall::IsValid(_), Some(LockAnswer::No) | None) => Some(self.clone()),
            (LockCall::Pass(token), Some(LockAnswer::Yes) | None) if *token >= self.fence => {
                Some(Self { fence: *token, ..self.clone() })
            }
            (LockCall::Pass(token), Some(LockAnswer::No) | None) if *token < self.fence => Some(self.clone()),
            _ => None,
        }
    }
}
