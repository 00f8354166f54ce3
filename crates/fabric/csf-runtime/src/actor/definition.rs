//! How actors are made: one by name, or a group of alike ones that come and go.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{PhaseCoherenceBus, TopicError};
use csf_core::port::Timer;

use super::desk::{Desk, Ledger, Seat};
use super::{ActorState, Address, SupervisorActor, run};
use crate::supervise::{
    ChildContext, ChildSpec, Env, Start, StartChild, StartError, Starting, SupervisorError, SupervisorRef,
};

/// What an actor may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Messages per lane of the mailbox, rounded up to a power of two: one lane for the address and its clones, one for each
    /// [`Address::own_lane`].
    pub mailbox_size: usize,
    /// Longest time for one message; an instance that takes longer has failed. `None` sets no limit.
    pub message_timeout: Option<Duration>,
    /// How often a message is tried before it goes to the dead letters, from 1.
    pub attempts: u32,
}

impl Default for Limits {
    /// 1,024 messages, 30 s, three attempts.
    fn default() -> Self {
        Self { mailbox_size: 1024, message_timeout: Some(Duration::from_secs(30)), attempts: 3 }
    }
}

/// When an actor counts as silent. It beats between messages: one that hangs in a message is silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// From one heartbeat to the next.
    pub every: Duration,
    /// It is killed, and its supervisor restarts it, when so many are missed: after `missed_max + 1` times `every` without one.
    pub missed_max: u32,
}

impl Default for Heartbeat {
    /// 5 s, three missed.
    fn default() -> Self {
        Self { every: Duration::from_secs(5), missed_max: 3 }
    }
}

/// What becomes of accepted messages when an instance ends and another takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MailboxOnRestart {
    /// The next instance handles them, the one that was not finished first.
    #[default]
    Keep,
    /// They are thrown away, counted, and their asks end with [`super::AskError::Ended`]: as in Erlang/OTP.
    Drop,
}

pub(super) struct Settings {
    pub(super) limits: Limits,
    pub(super) on_restart: MailboxOnRestart,
    pub(super) tick: Option<Duration>,
    pub(super) heartbeat: Option<(Heartbeat, Address<SupervisorActor>)>,
}

/// Where actors live: a bus for their mailboxes, a world for their time. Clones are the same.
#[derive(Clone)]
pub struct ActorSystem {
    bus: PhaseCoherenceBus,
    timer: Arc<dyn Timer>,
    watch: Option<Address<SupervisorActor>>,
}

impl ActorSystem {
    /// Actors on `bus`, under supervisors of `env`.
    #[must_use]
    pub fn new(bus: PhaseCoherenceBus, env: &Env) -> Self {
        Self { bus, timer: env.timer().clone(), watch: None }
    }

    /// Lets the actors made from now on send their heartbeats to `watch`.
    #[must_use]
    pub fn watched_by(self, watch: Address<SupervisorActor>) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// An actor called `id`, whose state `make` makes for each instance. Its messages travel on the topic `actor.ID`.
    pub fn actor<S: ActorState>(
        &self,
        id: impl Into<Arc<str>>,
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> SupervisedActor<S> {
        let heartbeat = self.watch.as_ref().map(|_| Heartbeat::default());
        let (limits, on_restart) = (Limits::default(), MailboxOnRestart::default());
        SupervisedActor {
            system: self.clone(),
            id: id.into(),
            make: Arc::new(make),
            limits,
            on_restart,
            tick: None,
            heartbeat,
        }
    }

    fn desk<S: ActorState>(
        &self,
        id: &Arc<str>,
        settings: Arc<Settings>,
        make: Arc<dyn Fn() -> S + Send + Sync>,
    ) -> Result<Desk<S>, TopicError> {
        let (mailbox, sender) = self.bus.mailbox(&format!("actor.{id}"), settings.limits.mailbox_size)?;
        let (timer, ledger) = (self.timer.clone(), Arc::new(Ledger::new()));
        let address = Address { id: id.clone(), sender, timer, ledger };
        Ok(Desk::new(address, settings, make, Seat::new(mailbox)))
    }
}

/// An actor about to be made.
pub struct SupervisedActor<S: ActorState> {
    system: ActorSystem,
    id: Arc<str>,
    make: Arc<dyn Fn() -> S + Send + Sync>,
    limits: Limits,
    on_restart: MailboxOnRestart,
    tick: Option<Duration>,
    heartbeat: Option<Heartbeat>,
}

impl<S: ActorState> SupervisedActor<S> {
    /// With other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With another rhythm of heartbeats; `None` for an actor that is not watched. Without effect in a system that nobody watches.
    #[must_use]
    pub fn heartbeat(self, heartbeat: Option<Heartbeat>) -> Self {
        Self { heartbeat, ..self }
    }

    /// With another fate of messages over a restart.
    #[must_use]
    pub fn on_restart(self, on_restart: MailboxOnRestart) -> Self {
        Self { on_restart, ..self }
    }

    /// Calls [`ActorState::on_tick`] every so often.
    #[must_use]
    pub fn tick(self, every: Duration) -> Self {
        Self { tick: Some(every), ..self }
    }

    fn settings(&self) -> Arc<Settings> {
        let heartbeat = self.heartbeat.zip(self.system.watch.clone());
        Arc::new(Settings { limits: self.limits, on_restart: self.on_restart, tick: self.tick, heartbeat })
    }

    /// Its address, and what a supervisor starts: a permanent worker with five seconds to handle what it has accepted when it is
    /// stopped. The address takes messages from now on, and until the specification is gone.
    ///
    /// # Errors
    /// [`TopicError`]: the mailbox could not be made.
    pub fn build(self) -> Result<(Address<S>, ChildSpec), TopicError> {
        let desk = Arc::new(self.system.desk(&self.id, self.settings(), self.make)?);
        let address = desk.address.clone();
        Ok((address, ChildSpec::new(self.id, StartActor(desk))))
    }

    /// Any number of such actors, for a `simple_one_for_one` supervisor.
    #[must_use]
    pub fn group(self) -> ActorGroup<S> {
        let settings = self.settings();
        ActorGroup { system: self.system, id: self.id, make: self.make, settings }
    }
}

/// Alike actors that come and go under a `simple_one_for_one` supervisor. Their mailboxes share a topic, and the lanes of those that
/// are gone.
pub struct ActorGroup<S: ActorState> {
    system: ActorSystem,
    id: Arc<str>,
    make: Arc<dyn Fn() -> S + Send + Sync>,
    settings: Arc<Settings>,
}

impl<S: ActorState> Clone for ActorGroup<S> {
    fn clone(&self) -> Self {
        let (id, make, settings) = (self.id.clone(), self.make.clone(), self.settings.clone());
        Self { system: self.system.clone(), id, make, settings }
    }
}

impl<S: ActorState> ActorGroup<S> {
    /// The one specification of the group's supervisor.
    #[must_use]
    pub fn template(&self) -> ChildSpec {
        ChildSpec::new(self.id.clone(), StartMember::<S>(PhantomData))
    }

    /// Starts one more under `supervisor`, which was made of [`ActorGroup::template`].
    ///
    /// # Errors
    /// [`StartError`] for a mailbox that could not be made, and as [`SupervisorRef::start_instance`].
    pub async fn start(&self, supervisor: &SupervisorRef) -> Result<Address<S>, SupervisorError> {
        self.start_with(supervisor, self.make.clone()).await
    }

    /// [`ActorGroup::start`] with a state of its own.
    ///
    /// # Errors
    /// As there.
    pub async fn start_with(
        &self,
        supervisor: &SupervisorRef,
        make: Arc<dyn Fn() -> S + Send + Sync>,
    ) -> Result<Address<S>, SupervisorError> {
        let desk = self.system.desk(&self.id, self.settings.clone(), make).map_err(StartError::failed)?;
        let address = desk.address.clone();
        supervisor.start_instance(Arc::new(desk)).await?;
        Ok(address)
    }
}

/// Starts the instances of one actor. Kept by its supervisor as long as it may start another.
struct StartActor<S: ActorState>(Arc<Desk<S>>);

impl<S: ActorState> StartChild for StartActor<S> {
    fn start(&self, cx: ChildContext) -> Starting {
        Starting::Now(start(&self.0, cx))
    }
}

struct StartMember<S>(PhantomData<fn() -> S>);

impl<S: ActorState> StartChild for StartMember<S> {
    fn start(&self, cx: ChildContext) -> Starting {
        let Some(desk) = cx.args::<Arc<Desk<S>>>().cloned() else {
            return Starting::Now(Err(StartError::failed("started by `ActorGroup::start`, not by `start_instance`")));
        };
        Starting::Now(start(&desk, cx))
    }
}

fn start<S: ActorState>(desk: &Arc<Desk<S>>, cx: ChildContext) -> Result<Start, StartError> {
    let Some(sitting) = desk.sit() else {
        return Err(StartError::failed("an abandoned instance still holds the mailbox"));
    };
    // From here on it is asked to stop, also before it has run for the first time.
    cx.trap_shutdown();
    Ok(Start::Run(Box::pin(run::run(sitting, cx))))
}
