//! Configuration: layers of TOML, environment and flags, every value with its place of origin.

mod keys;
mod layers;
mod offers;
mod plain;
mod problem;
mod resilience;
mod schema;
mod secret;
mod secrets_in_clear;
mod settings;
mod supervision;
mod tree;

pub use layers::{Layers, environment_layer};
pub use offers::{OfferSettings, Promises};
pub(crate) use plain::read as read_plain;
pub use problem::{Location, Problem, Source, closest};
pub use resilience::{ResilienceSettings, ServiceGuards};
pub use schema::json_schema;
pub use secret::{ExposeSecret, Secret, SecretError, SecretString};
pub use secrets_in_clear::{conceal, secrets_in_clear};
pub use settings::{
    ComponentSettings, Located, NodeSettings, RestartSettings, ServiceSettings, Settings, TopicSettings,
};
pub use supervision::{ServiceRestart, SupervisorSettings, WhenSpent};
pub use tree::{Item, Tree};
