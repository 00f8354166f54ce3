//! Local north-east-down coordinates around an origin on the WGS 84 ellipsoid.
//!
//! Good to centimetres within a few kilometres: the surface is taken as flat with the two radii of curvature at the
//! origin. Invariant: `to_local` undoes `to_geodetic` for the same origin.
//! Reference: Groves, "Principles of GNSS, Inertial, and Multisensor Integrated Navigation Systems" (2013), 2.4.

use crate::math::Vec3;

const SEMI_MAJOR_M: f64 = 6_378_137.0;
const ECCENTRICITY_SQUARED: f64 = 6.694_379_990_14e-3;

fn metres_per_rad(origin: &[f64; 3]) -> (f64, f64) {
    let (sin, cos) = (libm::sin(origin[0].to_radians()), libm::cos(origin[0].to_radians()));
    let w2 = 1.0 - ECCENTRICITY_SQUARED * sin * sin;
    let w = w2.sqrt();
    let meridian = SEMI_MAJOR_M * (1.0 - ECCENTRICITY_SQUARED) / (w2 * w) + origin[2];
    let normal = SEMI_MAJOR_M / w + origin[2];
    (meridian, normal * cos)
}

/// Position in m north, east and down of `origin`, both `[latitude_deg, longitude_deg, altitude_m]`.
#[must_use]
pub fn to_local(origin: &[f64; 3], point: &[f64; 3]) -> Vec3 {
    let (north, east) = metres_per_rad(origin);
    let longitude = point[1] - origin[1];
    // The date line: the shorter way round.
    let longitude = if longitude > 180.0 { longitude - 360.0 } else { longitude };
    let longitude = if longitude < -180.0 { longitude + 360.0 } else { longitude };
    [(point[0] - origin[0]).to_radians() * north, longitude.to_radians() * east, origin[2] - point[2]]
}

/// The point `[latitude_deg, longitude_deg, altitude_m]` that lies `local` m north, east and down of `origin`.
#[must_use]
pub fn to_geodetic(origin: &[f64; 3], local: Vec3) -> [f64; 3] {
    let (north, east) = metres_per_rad(origin);
    [origin[0] + (local[0] / north).to_degrees(), origin[1] + (local[1] / east).to_degrees(), origin[2] - local[2]]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::math::{norm, sub};

    #[test]
    fn local_and_geodetic_are_twins() {
        let origin = [47.4, 8.5, 488.0];
        let local = [120.5, -83.25, -17.0];
        assert!(norm(sub(to_local(&origin, &to_geodetic(&origin, local)), local)) < 1e-6);
    }

    #[test]
    fn a_minute_of_latitude_is_a_nautical_mile() {
        // One minute of arc of the meridian at 45 degrees is 1852.2 m by definition of the old nautical mile.
        let local = to_local(&[45.0, 0.0, 0.0], &[45.0 + 1.0 / 60.0, 0.0, 0.0]);
        assert!((local[0] - 1852.2).abs() < 1.0);
    }
}
