//! The guards of a node: one per `[resilience.NAME]`, around the topics and outgoing calls that name it.
//!
//! They outlive restarts of the services that use them, wait on the node's timer and draw from its random numbers.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use csf_core::port::Rng;
pub use csf_resilience::{
    BreakerReport, BreakerState, Call, Classify, Command, FallbackReport, Guard, GuardError, GuardReport, Guarded,
    Origin, Outcome, Policy, PolicyError, Standby, Verdict,
};
use csf_resilience::{Guards, Ports};
use serde::{Deserialize, Serialize};

use crate::World;
use crate::config::{ServiceGuards, Settings};

/// A guard at a glance, and what it stands around.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttachedGuard {
    /// What it stands around.
    pub attached: Attachments,
    /// Its counters and the state of its stages, since the node's start.
    #[serde(flatten)]
    pub report: GuardReport,
}

/// What a guard stands around.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachments {
    /// Topics whose packets from outside it admits.
    pub topics: Vec<String>,
    /// Outgoing calls: `service` for all of one, `service.call` for one of them.
    pub calls: Vec<String>,
}

/// The guards of a node.
pub struct NodeGuards {
    guards: Guards,
    ports: Ports,
    attached: RwLock<Attached>,
}

#[derive(Default)]
struct Attached {
    topics: BTreeMap<String, String>,
    services: BTreeMap<String, ServiceGuards>,
}

impl NodeGuards {
    /// The guards of a configuration, on the ports of a world.
    pub(crate) fn new(settings: &Settings, world: &World) -> Self {
        let ports = Ports::new(world.timer.clone(), Chance { world: world.clone(), rng: None });
        let node = Self { guards: Guards::new(ports.clone()), ports, attached: RwLock::default() };
        node.apply(settings);
        node
    }

    /// Gives every guard the limits of `settings` from the next call on, adds new ones, takes away those that are gone, and attaches them
    /// anew. State and counters of those that stay are kept; calls that run keep the limits they began with. A policy that cannot be used
    /// leaves its guard as it was: reading the configuration has refused it before.
    pub fn apply(&self, settings: &Settings) {
        let topics = settings.topics.iter();
        let attached = Attached {
            topics: topics.filter_map(|(name, t)| Some((name.clone(), t.guard.as_ref()?.value.clone()))).collect(),
            services: settings.services.iter().map(|s| (s.name.value.clone(), s.guards.clone())).collect(),
        };
        for section in &settings.resilience {
            let is_new = self.guards.get(&section.name).is_none();
            match self.guards.set(&section.name, section.policy.clone()) {
                Ok(guard) if is_new => tell_transitions(&guard),
                Ok(_) => {}
                Err(error) => tracing::error!(guard = section.name, %error, "the guard stays as it was"),
            }
        }
        *self.attached.write().unwrap_or_else(PoisonError::into_inner) = attached;
        for gone in self.guards.report() {
            if !settings.resilience.iter().any(|section| section.name == gone.name) {
                self.guards.remove(&gone.name);
            }
        }
    }

    /// The guard around packets published on `topic` from outside.
    #[must_use]
    pub fn of_topic(&self, topic: &str) -> Option<Guard> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        self.guards.get(attached.topics.get(topic)?)
    }

    /// The guard around a service's outgoing call; one that does nothing where none is configured.
    #[must_use]
    pub fn of_call(&self, service: &str, call: &str) -> Guard {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let named = attached.services.get(service).and_then(|guards| {
            let name = guards.by_call.get(call).or(guards.every_call.as_ref())?;
            self.guards.get(&name.value)
        });
        named.unwrap_or_else(|| {
            let open = Guard::new(service, Policy::default(), self.ports.clone());
            open.expect("a policy without stages is valid")
        })
    }

    /// All guards at a glance, by name.
    #[must_use]
    pub fn report(&self) -> Vec<AttachedGuard> {
        let attached = self.attached.read().unwrap_or_else(PoisonError::into_inner);
        let row = |report: GuardReport| {
            let topics = attached.topics.iter().filter(|(_, guard)| **guard == report.name);
            let mut calls = Vec::new();
            for (service, guards) in &attached.services {
                calls.extend(guards.every_call.iter().filter(|g| g.value == report.name).map(|_| service.clone()));
                let named = guards.by_call.iter().filter(|(_, guard)| guard.value == report.name);
                calls.extend(named.map(|(call, _)| format!("{service}.{call}")));
            }
            let topics = topics.map(|(topic, _)| topic.clone()).collect();
            AttachedGuard { attached: Attachments { topics, calls }, report }
        };
        self.guards.report().into_iter().map(row).collect()
    }
}

fn tell_transitions(guard: &Guard) {
    let name = guard.name().to_owned();
    guard.on_transition(move |change| {
        tracing::warn!(guard = name, from = %change.from, to = %change.to, cause = ?change.cause, "circuit breaker");
    });
}

/// The world's random numbers, drawn only when a guard needs one: a simulation without guards takes no other way.
struct Chance {
    world: World,
    rng: Option<Box<dyn Rng>>,
}

impl Rng for Chance {
    fn fill(&mut self, out: &mut [u8]) {
        self.rng.get_or_insert_with(|| self.world.rng()).fill(out);
    }
}
