//! What every recording promises, whatever bytes it came from.

use csf_avionics::recording::{Recording, Sample};

/// Panics unless events are in order and every number is finite.
pub fn check(recording: &Recording) {
    assert!(recording.events.is_sorted_by_key(|e| e.at_ns), "events are in order of arrival");
    for event in &recording.events {
        let is_finite = match &event.sample {
            Sample::Imu(s) => s.gyro_rad_s.iter().chain(&s.accel_m_s2).all(|x| x.is_finite()),
            Sample::Gnss(s) => {
                let accuracy = [s.horizontal_accuracy_m, s.vertical_accuracy_m, s.speed_accuracy_m_s];
                s.point().iter().chain(&accuracy).chain(s.velocity_ned_m_s.iter().flatten()).all(|x| x.is_finite())
            }
            Sample::Mag(s) => s.field_gauss.iter().all(|x| x.is_finite()),
            Sample::Baro(s) => s.altitude_m.is_finite() && s.pressure_pa.is_finite(),
            Sample::Ahrs(s) => s.attitude_body_to_ned.iter().all(|x| x.is_finite()),
            Sample::Peer(s) => {
                let vectors = [s.position_ned_m, s.velocity_ned_m_s, s.origin];
                let attitude = s.attitude_body_to_ned.iter().flatten();
                vectors.iter().flatten().flatten().chain(attitude).all(|x| x.is_finite())
            }
            Sample::Land(_) => true,
        };
        assert!(is_finite, "{event:?}");
    }
}
