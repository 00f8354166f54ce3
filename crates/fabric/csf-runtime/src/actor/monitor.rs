//! The actor that listens for heartbeats and kills who is silent, for the supervisor to restart (FRM-016).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_bus::TopicError;
use csf_core::Fault;

use super::{ActorContext, ActorState, ActorSystem, Address, Heartbeat};
use crate::supervise::{ChildSpec, Pid, ProcessRef};

/// What actors tell their [`SupervisorActor`].
#[derive(Debug, Clone)]
pub enum SupervisorMessage {
    /// An instance has started.
    RegisterChild {
        /// The actor.
        child_id: Arc<str>,
        /// The instance.
        child_addr: ProcessRef,
        /// When it counts as silent.
        heartbeat: Heartbeat,
    },
    /// It is alive. Registers it too, where the registration was lost.
    Heartbeat {
        /// The actor.
        child_id: Arc<str>,
        /// The instance.
        child_addr: ProcessRef,
        /// When it counts as silent.
        heartbeat: Heartbeat,
    },
    /// It has stopped in an orderly way.
    UnregisterChild {
        /// The instance.
        child: Pid,
    },
    /// Answers with who is watched.
    List,
}

struct Watched {
    child_id: Arc<str>,
    process: ProcessRef,
    heartbeat: Heartbeat,
    heard_at: Duration,
}

#[derive(Default)]
struct Register {
    children: BTreeMap<Pid, Watched>,
}

/// Kills actors that miss their heartbeats. Its register outlives its instances.
pub struct SupervisorActor {
    register: Arc<Mutex<Register>>,
}

impl SupervisorActor {
    /// Called `id`, looking for silent actors every `check_every`; start it before the actors it watches
    /// ([`ActorSystem::watched_by`]).
    ///
    /// # Errors
    /// [`TopicError`]: the mailbox could not be made.
    pub fn build(
        system: &ActorSystem,
        id: impl Into<Arc<str>>,
        check_every: Duration,
    ) -> Result<(Address<Self>, ChildSpec), TopicError> {
        let register = Arc::<Mutex<Register>>::default();
        let make = move || Self { register: register.clone() };
        system.actor(id, make).heartbeat(None).tick(check_every).build()
    }

    fn hear(&self, now: Duration, child_id: &Arc<str>, process: &ProcessRef, heartbeat: Heartbeat) {
        let watched = Watched { child_id: child_id.clone(), process: process.clone(), heartbeat, heard_at: now };
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.children.insert(process.pid(), watched);
    }
}

impl ActorState for SupervisorActor {
    type Message = SupervisorMessage;
    /// Who is watched, by name and instance.
    type Reply = Vec<(Arc<str>, Pid)>;

    async fn handle(
        &mut self,
        cx: &mut ActorContext<'_, Self>,
        message: &SupervisorMessage,
    ) -> Result<Self::Reply, Fault> {
        let now = cx.process().env().now();
        match message {
            SupervisorMessage::RegisterChild { child_id, child_addr, heartbeat }
            | SupervisorMessage::Heartbeat { child_id, child_addr, heartbeat } => {
                self.hear(now, child_id, child_addr, *heartbeat);
            }
            SupervisorMessage::UnregisterChild { child } => {
                self.register.lock().unwrap_or_else(PoisonError::into_inner).children.remove(child);
            }
            SupervisorMessage::List => {
                let register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
                return Ok(register.children.values().map(|w| (w.child_id.clone(), w.process.pid())).collect());
            }
        }
        Ok(Vec::new())
    }

    async fn on_tick(&mut self, cx: &mut ActorContext<'_, Self>) -> Result<(), Fault> {
        let now = cx.process().env().now();
        let mut register = self.register.lock().unwrap_or_else(PoisonError::into_inner);
        register.children.retain(|pid, watched| {
            let Heartbeat { every, missed_max } = watched.heartbeat;
            let silent_for = now.saturating_sub(watched.heard_at);
            let is_silent = silent_for >= every.saturating_mul(missed_max.saturating_add(1));
            if is_silent && watched.process.is_alive() {
                tracing::warn!(actor = &*watched.child_id, %pid, ?silent_for, "a silent actor is killed");
                watched.process.kill();
            }
            !is_silent && watched.process.is_alive()
        });
        Ok(())
    }
}
