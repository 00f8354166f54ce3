//! Runs a checked topology.
//!
//! A configuration is read with the place of every value ([`config`]), checked against what the packs registered ([`topology`]) and
//! run: components on dispatcher threads, services on tokio, the recorder beside them ([`exec`]). What was recorded can be replayed
//! through the same components and compared bit for bit ([`replay`]), and asked for its causes ([`provenance`]).
//! Invariant: a component's outputs depend on its configuration and its deliveries alone.

mod delivery;
mod os_rng;
mod pack;
mod service;
mod tokio_world;
mod world;

pub mod actor;
pub mod config;
pub mod emergency;
pub mod exec;
pub mod integrate;
pub mod node;
pub mod persist;
pub mod provenance;
pub mod registry;
pub mod replay;
pub mod requirement;
pub mod resilience;
pub mod runs;
pub mod supervise;
pub mod topology;
pub mod tune;

pub use delivery::{DELIVERY_TOPIC, Delivery, Input, Outcome};
pub use os_rng::OsRng;
pub use pack::{
    Catalogue, ComponentBuilder, ComponentFactory, ComponentType, EffectOpener, Manifest, NoOptions, Offer, Offers,
    Options, OutgoingCall, OutputPort, Pack, Registrar, ServiceBuilder, ServiceFactory, ServiceType,
};
pub use replay::ReplayError;
pub use service::{BoxFuture, Service, ServiceContext, ServiceError};
pub use tokio_world::TokioWorld;
#[doc(hidden)]
pub use world::Plant;
pub use world::{Workers, World};
