//! What of an actor stays while its instances come and go: the mailbox, how often its first message failed, what it has done.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_bus::Mailbox;
use csf_core::{Header, MessageId};
use serde::Serialize;

use super::address::Letter;
use super::definition::Settings;
use super::{ActorState, Address, AskError, Envelope};

/// Dead letters kept per actor; older ones are only counted.
pub const DEAD_LETTERS_KEPT: usize = 64;

/// What an actor has done, over all instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ActorStats {
    /// Instances started.
    pub starts: u64,
    /// Messages handled.
    pub handled: u64,
    /// Times that handling a message ended with an error or took too long. Panics and kills are the supervisor's reports.
    pub failed: u64,
    /// Messages that failed too often.
    pub dead: u64,
    /// Messages that nobody will handle: the mailbox was dropped, or the actor ended for good.
    pub unhandled: u64,
    /// Answers that nobody waited for any more.
    pub late_answers: u64,
}

/// A message that an actor failed at too often.
#[derive(Debug, Clone)]
pub struct DeadMessage<M> {
    /// Its packet's.
    pub header: Header,
    /// The message.
    pub message: M,
    /// How often it was tried.
    pub attempts: u32,
    /// The last failure.
    pub reason: Arc<str>,
}

/// Counts and dead letters. Each count has one writer at a time, the instance or its desk.
pub(super) struct Ledger<M> {
    pub(super) starts: AtomicU64,
    pub(super) handled: AtomicU64,
    pub(super) failed: AtomicU64,
    unhandled: AtomicU64,
    late_answers: AtomicU64,
    dead_count: AtomicU64,
    dead: Mutex<VecDeque<DeadMessage<M>>>,
}

impl<M: Clone> Ledger<M> {
    pub(super) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let (starts, handled, failed) = (zero(), zero(), zero());
        let (unhandled, late_answers, dead_count) = (zero(), zero(), zero());
        Self { starts, handled, failed, unhandled, late_answers, dead_count, dead: Mutex::default() }
    }

    /// For the one writer.
    pub(super) fn count(counter: &AtomicU64) {
        counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> ActorStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ActorStats {
            starts: of(&self.starts),
            handled: of(&self.handled),
            failed: of(&self.failed),
            dead: of(&self.dead_count),
            unhandled: of(&self.unhandled),
            late_answers: of(&self.late_answers),
        }
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<DeadMessage<M>>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn dead(&self) -> Vec<DeadMessage<M>> {
        self.letters().iter().cloned().collect()
    }

    fn bury(&self, letter: DeadMessage<M>) {
        Self::count(&self.dead_count);
        let mut letters = self.letters();
        if letters.len() == DEAD_LETTERS_KEPT {
            letters.pop_front();
        }
        letters.push_back(letter);
    }
}

/// How often the first message of the mailbox was tried, and how it failed last.
#[derive(Default)]
struct Attempts {
    of: Option<MessageId>,
    count: u32,
    reason: Option<Arc<str>>,
}

/// The reading end of the mailbox: with the instance, or on the desk.
pub(super) struct Seat<S: ActorState> {
    pub(super) mailbox: Mailbox<Letter<S>>,
    attempts: Attempts,
}

/// What became of looking at the first message.
pub(super) enum Turn<'a, S: ActorState> {
    Empty,
    /// It had failed too often and was buried.
    Buried,
    Try(Header, &'a Letter<S>),
}

impl<S: ActorState> Seat<S> {
    pub(super) const fn new(mailbox: Mailbox<Letter<S>>) -> Self {
        Self { mailbox, attempts: Attempts { of: None, count: 0, reason: None } }
    }

    /// Begins an attempt at the first message.
    #[inline]
    pub(super) fn turn(&mut self, attempts_max: u32, ledger: &Ledger<S::Message>) -> Turn<'_, S> {
        let Some((header, _)) = self.mailbox.peek() else { return Turn::Empty };
        if self.attempts.of == Some(header.id) {
            if self.attempts.count >= attempts_max {
                self.bury(ledger);
                return Turn::Buried;
            }
            self.attempts.count += 1;
        } else {
            self.attempts.of = Some(header.id);
            self.attempts.count = 1;
            self.attempts.reason = None;
        }
        match self.mailbox.peek() {
            Some((header, letter)) => Turn::Try(header, letter),
            None => Turn::Empty,
        }
    }

    /// Notes how the attempt failed; the last allowed one buries the message at once.
    pub(super) fn failed(&mut self, reason: Arc<str>, attempts_max: u32, ledger: &Ledger<S::Message>) {
        Ledger::<S::Message>::count(&ledger.failed);
        self.attempts.reason = Some(reason);
        if self.attempts.count >= attempts_max {
            self.bury(ledger);
        }
    }

    #[cold]
    fn bury(&mut self, ledger: &Ledger<S::Message>) {
        let attempts = self.attempts.count;
        let reason = self.attempts.reason.take().unwrap_or_else(|| "its handler panicked or was killed".into());
        if let Some((header, letter)) = self.mailbox.peek() {
            answer(letter, Err(AskError::Failed { attempts, reason: reason.clone() }), ledger);
            ledger.bury(DeadMessage { header, message: letter.message().clone(), attempts, reason });
        }
        self.mailbox.advance();
    }

    /// Throws away what is there.
    pub(super) fn clear(&mut self, ledger: &Ledger<S::Message>) {
        while let Some((_, letter)) = self.mailbox.peek() {
            answer(letter, Err(AskError::Ended), ledger);
            Ledger::<S::Message>::count(&ledger.unhandled);
            self.mailbox.advance();
        }
    }
}

/// Answers who asked; an answer that nobody waits for is counted.
#[inline]
pub(super) fn answer<M: Clone, R>(letter: &Envelope<M, R>, answer: Result<R, AskError>, ledger: &Ledger<M>) {
    if let Some(reply) = &letter.reply
        && !reply.answer(answer)
    {
        Ledger::<M>::count(&ledger.late_answers);
    }
}

/// One actor, apart from its instances. When its supervisor forgets it and the last instance is gone, it closes its mailbox for good.
pub(super) struct Desk<S: ActorState> {
    pub(super) address: Address<S>,
    pub(super) settings: Arc<Settings>,
    pub(super) make: Arc<dyn Fn() -> S + Send + Sync>,
    seat: Mutex<Option<Seat<S>>>,
}

impl<S: ActorState> Desk<S> {
    pub(super) fn new(
        address: Address<S>,
        settings: Arc<Settings>,
        make: Arc<dyn Fn() -> S + Send + Sync>,
        seat: Seat<S>,
    ) -> Self {
        Self { address, settings, make, seat: Mutex::new(Some(seat)) }
    }

    fn seat(&self) -> MutexGuard<'_, Option<Seat<S>>> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The mailbox, for an instance; `None` while another has it.
    pub(super) fn sit(self: &Arc<Self>) -> Option<Sitting<S>> {
        let seat = self.seat().take();
        Some(Sitting { seat: Some(seat?), desk: self.clone() })
    }
}

impl<S: ActorState> Drop for Desk<S> {
    fn drop(&mut self) {
        self.address.sender.close();
        if let Some(mut seat) = self.seat().take() {
            seat.clear(&self.address.ledger);
        }
    }
}

/// An instance with its mailbox, which goes back to the desk however the instance ends.
pub(super) struct Sitting<S: ActorState> {
    seat: Option<Seat<S>>,
    pub(super) desk: Arc<Desk<S>>,
}

impl<S: ActorState> Sitting<S> {
    pub(super) fn parts(&mut self) -> (&mut Seat<S>, &Desk<S>) {
        (self.seat.as_mut().expect("it has its seat until it is dropped"), &self.desk)
    }
}

impl<S: ActorState> Drop for Sitting<S> {
    fn drop(&mut self) {
        *self.desk.seat() = self.seat.take();
    }
}
