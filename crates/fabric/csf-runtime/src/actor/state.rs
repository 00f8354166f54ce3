//! What an actor is made of: its state and what it does with a message.

use std::future::{Future, ready};
use std::time::Duration;

use csf_bus::{Content, Refused};
use csf_core::{Fault, Header, MessageId};

use super::{Address, AskError};
use crate::supervise::ChildContext;

/// An actor's state. It is made anew for each instance, and only its own methods change it.
pub trait ActorState: Send + Sized + 'static {
    /// What it is told and asked. Cloned into the dead letters when it fails too often.
    type Message: Content + Clone;
    /// What it answers; who tells does not get it.
    type Reply: Send + 'static;

    /// Handles one message, by reference into its slot. An error or a panic ends the instance; the message comes again in the next one,
    /// until it has failed [`super::Limits::attempts`] times. Nothing else is handled meanwhile.
    fn handle(
        &mut self,
        cx: &mut ActorContext<'_, Self>,
        message: &Self::Message,
    ) -> impl Future<Output = Result<Self::Reply, Fault>> + Send;

    /// Runs in each instance before its first message.
    fn on_start(&mut self, _cx: &mut ActorContext<'_, Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Runs every [`super::SupervisedActor::tick`], between messages; ticks that are missed meanwhile are not made up for.
    fn on_tick(&mut self, _cx: &mut ActorContext<'_, Self>) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(Ok(()))
    }

    /// Runs when the instance was asked to stop and everything accepted is handled.
    fn on_stop(&mut self, _cx: &mut ActorContext<'_, Self>) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// What an actor sees while it handles something.
pub struct ActorContext<'a, S: ActorState> {
    pub(super) child: &'a ChildContext,
    pub(super) address: &'a Address<S>,
    pub(super) header: Option<Header>,
    pub(super) is_done: bool,
}

impl<S: ActorState> ActorContext<'_, S> {
    /// The packet that is handled: its id, stamp and cause. `None` in the other methods.
    #[must_use]
    pub const fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// The actor itself.
    #[must_use]
    pub const fn address(&self) -> &Address<S> {
        self.address
    }

    /// The process: its supervisor, its instance, the world it runs in.
    #[must_use]
    pub const fn process(&self) -> &ChildContext {
        self.child
    }

    /// Ends the instance, as [`crate::supervise::ExitReason::Normal`], once what it is doing is done.
    pub const fn finish(&mut self) {
        self.is_done = true;
    }

    /// [`Address::try_tell`], with the packet that is handled as its cause.
    ///
    /// # Errors
    /// As there.
    pub fn try_tell<T: ActorState>(
        &self,
        to: &Address<T>,
        message: T::Message,
    ) -> Result<MessageId, Refused<T::Message>> {
        to.try_tell_caused(message, self.header())
    }

    /// [`Address::tell`], with the packet that is handled as its cause. Actors that wait for each other's room wait for ever, as far as
    /// [`super::Limits::message_timeout`] lets them.
    ///
    /// # Errors
    /// As there.
    pub async fn tell<T: ActorState>(
        &self,
        to: &Address<T>,
        message: T::Message,
    ) -> Result<MessageId, Refused<T::Message>> {
        to.tell_caused(message, self.header()).await
    }

    /// [`Address::ask`], with the packet that is handled as its cause.
    ///
    /// # Errors
    /// As there.
    pub async fn ask<T: ActorState>(
        &self,
        to: &Address<T>,
        message: T::Message,
        limit: Duration,
    ) -> Result<T::Reply, AskError> {
        to.ask_caused(message, limit, self.header()).await
    }
}
