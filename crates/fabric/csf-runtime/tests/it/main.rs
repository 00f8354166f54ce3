//! The runtime as its users see it.

mod config;
mod hub;
mod node;
mod world;
