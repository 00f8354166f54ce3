//! The public face of a node: its HTTP API and the console, on loopback, behind a token.
//!
//! Everything read here was made durable first (the output-commit rule): live data comes from the durable feed, the rest from the
//! journal. The bytes of the interface are described in `docs/formats/http-api.md`.

mod access;
mod answer;
mod configuration;
mod console;
mod events;
mod filter;
mod front;
mod grpc;
mod pattern;
mod routes;
mod server;
mod subscribe;
mod tasks;
mod workflows;

pub use access::Access;
pub use filter::{Filter, FilterError};
pub use front::Front;
pub use pattern::Pattern;
pub use server::{BoundGateway, Gateway, GatewayError};
pub use workflows::Workflows;
