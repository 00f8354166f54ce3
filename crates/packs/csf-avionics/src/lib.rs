//! Navigation of a flying vehicle.
//!
//! Recordings of real flights ([`recording`]), an error-state Kalman filter that estimates from them where the
//! vehicle is ([`eskf`]), detection of take-off and landing ([`landing`]), a geofence ([`geofence`]) and honest
//! measures of how good all of it is ([`score`], [`evaluate`], [`simulate`]).
//! Invariant: pure and deterministic. No clock, no threads, no hashing order, no platform mathematics: equal inputs
//! give equal bits.
#![allow(clippy::needless_range_loop, reason = "matrix indices read like the equations")]

mod component;
pub mod eskf;
pub mod evaluate;
mod flight;
pub mod geodesy;
pub mod geofence;
pub mod landing;
pub mod math;
mod message;
mod pack;
pub mod recording;
pub mod score;
pub mod simulate;
pub mod track;

pub use component::{Fence, Fusion, Judge, Landing};
pub use flight::{Flight, FlightOptions};
pub use pack::{Avionics, ScoreOptions, monte_carlo_file, recording_faults};
