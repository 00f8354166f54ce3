//! Three-dimensional vectors, matrices and quaternions as plain arrays, with `libm` for bit-equal results everywhere.
//!
//! Quaternions are Hamilton, `[w, x, y, z]`, and rotate body vectors into the navigation frame.
//! Invariant: no function here calls the platform's mathematical library, so a replay on another machine gives the
//! same bits.
//! Reference: Solà, "Quaternion kinematics for the error-state Kalman filter" (2017), sections 1 and 2.

/// Three components in the order of the frame's axes.
pub type Vec3 = [f64; 3];
/// Rows of a 3 by 3 matrix.
pub type Mat3 = [[f64; 3]; 3];
/// `[w, x, y, z]`.
pub type Quat = [f64; 4];

/// Standard gravity in m/s².
pub const GRAVITY_M_S2: f64 = 9.80665;

/// `a + b`.
#[must_use]
pub fn add(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a - b`.
#[must_use]
pub fn sub(a: Vec3, b: Vec3) -> Vec3 {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a * s`.
#[must_use]
pub fn scale(a: Vec3, s: f64) -> Vec3 {
    [a[0] * s, a[1] * s, a[2] * s]
}

/// Scalar product.
#[must_use]
pub fn dot(a: Vec3, b: Vec3) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// Vector product.
#[must_use]
pub fn cross(a: Vec3, b: Vec3) -> Vec3 {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// Euclidean length.
#[must_use]
pub fn norm(a: Vec3) -> f64 {
    dot(a, a).sqrt()
}

/// True when every component is finite.
#[must_use]
pub fn is_finite(a: Vec3) -> bool {
    a.iter().all(|x| x.is_finite())
}

/// Matrix times vector.
#[must_use]
pub fn mat_vec(m: &Mat3, v: Vec3) -> Vec3 {
    [dot(m[0], v), dot(m[1], v), dot(m[2], v)]
}

/// Transposed matrix times vector.
#[must_use]
pub fn mat_t_vec(m: &Mat3, v: Vec3) -> Vec3 {
    [
        m[0][0] * v[0] + m[1][0] * v[1] + m[2][0] * v[2],
        m[0][1] * v[0] + m[1][1] * v[1] + m[2][1] * v[2],
        m[0][2] * v[0] + m[1][2] * v[1] + m[2][2] * v[2],
    ]
}

/// The skew matrix with `skew(a) b = a × b`.
#[must_use]
pub fn skew(a: Vec3) -> Mat3 {
    [[0.0, -a[2], a[1]], [a[2], 0.0, -a[0]], [-a[1], a[0], 0.0]]
}

/// Quaternion product.
#[must_use]
pub fn quat_mul(a: Quat, b: Quat) -> Quat {
    [
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    ]
}

/// The inverse of a unit quaternion.
#[must_use]
pub fn quat_conj(q: Quat) -> Quat {
    [q[0], -q[1], -q[2], -q[3]]
}

/// Scales to length one; the identity when the length is zero or not finite.
#[must_use]
pub fn quat_normalise(q: Quat) -> Quat {
    let n = (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]).sqrt();
    if n.is_finite() && n > 1e-12 { [q[0] / n, q[1] / n, q[2] / n, q[3] / n] } else { [1.0, 0.0, 0.0, 0.0] }
}

/// Rotation vector (rad) to quaternion.
#[must_use]
pub fn quat_exp(v: Vec3) -> Quat {
    let angle = norm(v);
    if angle < 1e-9 {
        return quat_normalise([1.0, 0.5 * v[0], 0.5 * v[1], 0.5 * v[2]]);
    }
    let s = libm::sin(0.5 * angle) / angle;
    [libm::cos(0.5 * angle), s * v[0], s * v[1], s * v[2]]
}

/// Quaternion to the shortest rotation vector (rad).
#[must_use]
pub fn quat_log(q: Quat) -> Vec3 {
    let q = if q[0] < 0.0 { [-q[0], -q[1], -q[2], -q[3]] } else { q };
    let v = [q[1], q[2], q[3]];
    let n = norm(v);
    if n < 1e-12 { scale(v, 2.0) } else { scale(v, 2.0 * libm::atan2(n, q[0]) / n) }
}

/// The rotation matrix of a unit quaternion.
#[must_use]
pub fn quat_matrix(q: Quat) -> Mat3 {
    let [w, x, y, z] = q;
    [
        [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
        [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
        [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
    ]
}

/// Roll, pitch and yaw (rad, aerospace order z-y-x) to a body-to-NED quaternion.
#[must_use]
pub fn quat_from_euler(roll: f64, pitch: f64, yaw: f64) -> Quat {
    let z = quat_exp([0.0, 0.0, yaw]);
    let y = quat_exp([0.0, pitch, 0.0]);
    quat_mul(quat_mul(z, y), quat_exp([roll, 0.0, 0.0]))
}

/// Heading of the body's forward axis, rad east of north.
#[must_use]
pub fn yaw_of(q: Quat) -> f64 {
    let m = quat_matrix(q);
    libm::atan2(m[1][0], m[0][0])
}

/// Angle between the down axes of two attitudes, degrees: the tilt difference, blind to heading.
#[must_use]
pub fn tilt_difference_deg(a: Quat, b: Quat) -> f64 {
    let (a, b) = (quat_matrix(a)[2], quat_matrix(b)[2]);
    libm::atan2(norm(cross(a, b)), dot(a, b)).to_degrees()
}

/// Wraps an angle to (-π, π].
#[must_use]
pub fn wrap_rad(angle: f64) -> f64 {
    libm::atan2(libm::sin(angle), libm::cos(angle))
}

/// Inverse of a symmetric positive definite 3 by 3 matrix by cofactors; `None` when singular or not finite.
#[must_use]
pub fn mat_inverse(m: &Mat3) -> Option<Mat3> {
    let c = [cross(m[1], m[2]), cross(m[2], m[0]), cross(m[0], m[1])];
    let det = dot(m[0], c[0]);
    if !det.is_finite() || det.abs() < 1e-30 {
        return None;
    }
    let mut out = [[0.0; 3]; 3];
    for (i, row) in out.iter_mut().enumerate() {
        for (j, x) in row.iter_mut().enumerate() {
            *x = c[j][i] / det;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_undoes_exp() {
        for v in [[0.1, -0.2, 0.3], [1e-11, 0.0, 0.0], [2.0, 1.0, -1.5]] {
            assert!(norm(sub(quat_log(quat_exp(v)), v)) < 1e-12);
        }
    }

    #[test]
    fn yaw_ninety_turns_forward_to_east() {
        let m = quat_matrix(quat_from_euler(0.0, 0.0, core::f64::consts::FRAC_PI_2));
        assert!(norm(sub(mat_vec(&m, [1.0, 0.0, 0.0]), [0.0, 1.0, 0.0])) < 1e-12);
    }

    #[test]
    fn inverse_times_matrix_is_identity() {
        let m = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let i = mat_inverse(&m).expect("regular");
        for (k, e) in [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].into_iter().enumerate() {
            let column = mat_vec(&m, [i[0][k], i[1][k], i[2][k]]);
            assert!(norm(sub(column, e)) < 1e-12);
        }
        assert!(mat_inverse(&[[0.0; 3]; 3]).is_none());
    }
}
