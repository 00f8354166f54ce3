//! The pack's components: the pure parts, wired to events.

use csf_core::{Attributes, Component, Context, Event, Fault};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::eskf::{Estimator, NavState};
use crate::geofence::Geofence;
use crate::landing::LandingDetector;
use crate::recording::{AhrsSample, BaroSample, GnssFix, ImuSample, LandDetected, MagSample, PeerState};
use crate::score::Scorer;

fn to_bytes(state: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(state).expect("plain data always encodes")
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Fault> {
    postcard::from_bytes(bytes).map_err(|e| Fault::Snapshot { reason: e.to_string() })
}

fn measured_like(event: &Event<'_>) -> Attributes {
    Attributes { measured_at: event.header.measured_at, ..Attributes::default() }
}

macro_rules! snapshots {
    () => {
        fn snapshot(&self) -> Vec<u8> {
            to_bytes(&self.0)
        }

        fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
            self.0 = from_bytes(snapshot)?;
            Ok(())
        }
    };
}

/// Fuses inertial, satellite, magnetic and barometric samples; publishes a state per inertial sample on `state`.
pub struct Fusion(pub Estimator);

impl Component for Fusion {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        if let Some(imu) = event.try_get::<ImuSample>() {
            if let Some(state) = self.0.on_imu(imu) {
                cx.publish_with("state", state, measured_like(event))?;
            }
        } else if let Some(fix) = event.try_get::<GnssFix>() {
            self.0.on_gnss(fix);
        } else if let Some(mag) = event.try_get::<MagSample>() {
            self.0.on_mag(mag);
        } else if let Some(ahrs) = event.try_get::<AhrsSample>() {
            self.0.on_ahrs(ahrs);
        } else {
            self.0.on_baro(event.get::<BaroSample>()?);
        }
        Ok(())
    }

    snapshots!();
}

/// Watches the fence around home; publishes breaches and returns on `event`.
pub struct Fence(pub Geofence);

impl Component for Fence {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        if let Some(found) = self.0.on_state(event.get::<NavState>()?) {
            cx.publish_with("event", found, measured_like(event))?;
        }
        Ok(())
    }

    snapshots!();
}

/// Finds take-off and landing; publishes them on `phase`.
pub struct Landing(pub LandingDetector);

impl Component for Landing {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        match event.try_get::<ImuSample>() {
            Some(imu) => {
                if let Some(found) = self.0.on_imu(imu) {
                    cx.publish_with("phase", found, measured_like(event))?;
                }
            }
            None => self.0.on_state(event.get::<NavState>()?),
        }
        Ok(())
    }

    snapshots!();
}

/// Compares the estimate with the reference; publishes the running score with every state on `score`.
pub struct Judge(pub Scorer);

impl Component for Judge {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        if let Some(state) = event.try_get::<NavState>() {
            self.0.on_state(state);
            cx.publish_with("score", self.0.score(), measured_like(event))?;
        } else if let Some(peer) = event.try_get::<PeerState>() {
            self.0.on_peer(peer);
        } else if let Some(fix) = event.try_get::<GnssFix>() {
            self.0.on_fix(fix);
        } else if let Some(land) = event.try_get::<LandDetected>() {
            self.0.on_land(land);
        } else {
            self.0.on_phase(event.get::<crate::landing::PhaseEvent>()?);
        }
        Ok(())
    }

    snapshots!();
}
