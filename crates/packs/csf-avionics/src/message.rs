//! The pack's messages: what its topics carry.

use csf_core::Message;

use crate::eskf::NavState;
use crate::geofence::GeofenceEvent;
use crate::landing::PhaseEvent;
use crate::recording::{AhrsSample, BaroSample, GnssFix, ImuSample, LandDetected, MagSample, PeerState};
use crate::score::Score;

macro_rules! messages {
    ($($kind:ty => $name:literal),* $(,)?) => {
        $(impl Message for $kind {
            const NAME: &'static str = $name;
            const VERSION: u16 = 1;
        })*
    };
}

messages! {
    ImuSample => "avionics.imu",
    GnssFix => "avionics.gnss",
    MagSample => "avionics.mag",
    BaroSample => "avionics.baro",
    AhrsSample => "avionics.ahrs",
    PeerState => "avionics.peer",
    LandDetected => "avionics.land",
    NavState => "avionics.nav-state",
    GeofenceEvent => "avionics.geofence",
    PhaseEvent => "avionics.phase",
    Score => "avionics.score",
}
