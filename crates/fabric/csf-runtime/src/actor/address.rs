//! Where an actor is reached: whatever instance of it runs, or will.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use csf_bus::{Interest, MailboxSender, Refused, Subscriber, TopicError};
use csf_core::port::{Sleep, Timer};
use csf_core::{Attributes, Header, MessageId};

use super::desk::Ledger;
use super::reply::{ReplySlot, reply_slot};
use super::{ActorState, ActorStats, DeadMessage};

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No answer came in time; one that comes later is dropped and counted ([`ActorStats::late_answers`]).
    #[error("no answer within {0:?}; raise the time-out, or look why the actor is slow")]
    TimedOut(Duration),
    /// The actor takes no messages: it stops, or will never be started again.
    #[error("the actor takes no messages")]
    Closed,
    /// The actor failed at it as often as it may.
    #[error("the actor failed at the message {attempts} times: {reason}")]
    Failed {
        /// How often.
        attempts: u32,
        /// The last failure.
        reason: Arc<str>,
    },
    /// The actor ended for good, or was restarted without its mailbox, before it came to the message.
    #[error("the actor ended before it came to the message")]
    Ended,
}

/// What a slot of a mailbox holds.
pub struct Envelope<M, R> {
    message: M,
    pub(super) reply: Option<Arc<ReplySlot<R>>>,
}

impl<M, R> Envelope<M, R> {
    /// What was sent.
    pub const fn message(&self) -> &M {
        &self.message
    }

    /// Whether somebody waits for an answer, or did.
    pub const fn is_ask(&self) -> bool {
        self.reply.is_some()
    }
}

pub(super) type Letter<S> = Envelope<<S as ActorState>::Message, <S as ActorState>::Reply>;

/// Sends to one actor. Clones share a lane of its mailbox; [`Address::own_lane`] gives one that does not.
///
/// A message's value lives until its slot in the mailbox is used again, also after it was handled.
pub struct Address<S: ActorState> {
    pub(super) id: Arc<str>,
    pub(super) sender: MailboxSender<Letter<S>>,
    pub(super) timer: Arc<dyn Timer>,
    pub(super) ledger: Arc<Ledger<S::Message>>,
}

impl<S: ActorState> Clone for Address<S> {
    fn clone(&self) -> Self {
        let (id, timer, ledger) = (self.id.clone(), self.timer.clone(), self.ledger.clone());
        Self { id, sender: self.sender.clone(), timer, ledger }
    }
}

impl<S: ActorState> fmt::Debug for Address<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {}", self.id)
    }
}

const PLAIN: Attributes =
    Attributes { measured_at: None, priority: csf_core::Priority::Normal, deadline: None, targets: u64::MAX };

impl<S: ActorState> Address<S> {
    /// The actor's name.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// [`Refused`], with the message: the mailbox is full, or takes nothing.
    pub fn try_tell(&self, message: S::Message) -> Result<MessageId, Refused<S::Message>> {
        self.try_tell_caused(message, None)
    }

    pub(super) fn try_tell_caused(
        &self,
        message: S::Message,
        cause: Option<&Header>,
    ) -> Result<MessageId, Refused<S::Message>> {
        self.sender.try_send(Envelope { message, reply: None }, &PLAIN, cause).map_err(opened)
    }

    /// Sends, waiting for room in the mailbox: who is faster than the actor is slowed down to its pace. Cancel safe: a dropped future
    /// has sent nothing.
    ///
    /// # Errors
    /// [`Refused::Closed`], with the message.
    pub async fn tell(&self, message: S::Message) -> Result<MessageId, Refused<S::Message>> {
        self.tell_caused(message, None).await
    }

    pub(super) async fn tell_caused(
        &self,
        message: S::Message,
        cause: Option<&Header>,
    ) -> Result<MessageId, Refused<S::Message>> {
        self.sender.send(Envelope { message, reply: None }, &PLAIN, cause).await.map_err(opened)
    }

    /// Sends and waits for the answer, for room and answer together at most `limit`. Dropped, the message is handled all the same if it
    /// was accepted, and its answer is late.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn ask(&self, message: S::Message, limit: Duration) -> Result<S::Reply, AskError> {
        self.ask_caused(message, limit, None).await
    }

    pub(super) async fn ask_caused(
        &self,
        message: S::Message,
        limit: Duration,
        cause: Option<&Header>,
    ) -> Result<S::Reply, AskError> {
        let (slot, answer) = reply_slot();
        let exchange = async {
            let letter = Envelope { message, reply: Some(slot) };
            self.sender.send(letter, &PLAIN, cause).await.map_err(|_| AskError::Closed)?;
            answer.await
        };
        limited(&*self.timer, limit, exchange).await.unwrap_or(Err(AskError::TimedOut(limit)))
    }

    /// An address with a lane of its own under `author`'s name: it shares neither lock nor room with other senders.
    ///
    /// # Errors
    /// [`TopicError`].
    pub fn own_lane(&self, author: &str) -> Result<Self, TopicError> {
        Ok(Self { sender: self.sender.own_lane(author)?, ..self.clone() })
    }

    /// Reads along: every message from now on that is sent to the actor, or to any of its group.
    #[must_use]
    pub fn tap(&self, interest: Interest) -> Subscriber<Envelope<S::Message, S::Reply>> {
        self.sender.tap(interest)
    }

    /// Whether it takes messages now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.sender.is_open()
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> ActorStats {
        self.ledger.stats()
    }

    /// The newest messages that it failed at too often, at most [`super::DEAD_LETTERS_KEPT`].
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadMessage<S::Message>> {
        self.ledger.dead()
    }
}

fn opened<M, R>(refused: Refused<Envelope<M, R>>) -> Refused<M> {
    match refused {
        Refused::Full(letter) => Refused::Full(letter.message),
        Refused::Closed(letter) => Refused::Closed(letter.message),
        Refused::FutureCause(letter) => Refused::FutureCause(letter.message),
    }
}

/// [`csf_core::port::within`] that sets no timer for work that does not wait; the limit counts from the first poll.
pub(super) async fn limited<T>(timer: &dyn Timer, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut sleep: Option<Sleep> = None;
    poll_fn(|cx| {
        if let Poll::Ready(value) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        sleep.get_or_insert_with(|| timer.sleep(limit)).as_mut().poll(cx).map(|()| None)
    })
    .await
}
