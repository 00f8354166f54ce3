//! Configuration: layers of TOML, environment and flags, every value with its place of origin.

mod layers;
mod problem;
mod settings;
mod supervision;
mod tree;

pub use layers::{Layers, environment_layer};
pub use problem::{Location, Problem, Source, closest};
pub use settings::{
    ComponentSettings, Located, NodeSettings, RestartSettings, ServiceSettings, Settings, TopicSettings,
};
pub use supervision::{ServiceRestart, SupervisorSettings, WhenSpent};
pub use tree::{Item, Tree};
