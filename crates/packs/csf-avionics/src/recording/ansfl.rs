//! ANSFL flights: two Xsens DOT units at 120 Hz under a DJI Phantom 4 RTK, positions at 10 Hz.
//!
//! Axes are x forward, y left, z up and become forward-right-down; rates are degrees per second. The units' clock
//! runs ahead of the position's by a constant per recording, which [`TIME_OFFSETS_S`] adds. The tables give metres
//! from the first position; [`NOMINAL_ORIGIN`] makes them points on the Earth. The units' own attitude is read too: roll
//! and pitch are good to some degrees, the heading of the second unit is 30 to 40 degrees off.
//! Reference: Hurwitz and Klein, "Quadrotor Dead Reckoning with Multiple Inertial Sensors", arXiv:2310.13452.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::quality::{Gate, Quality};
use super::{
    AhrsSample, Damage, ImuSample, PeerState, Place, Recording, RecordingError, Reference, Sample, SourceKind, Timed,
    sort_events,
};

/// Largest number of units that one flight may have.
pub(crate) const IMUS_MAX: u8 = 8;
/// Unpacked table, bytes: 64 MiB is an hour of a unit at 120 Hz, and no gzip bomb.
const TEXT_BYTES_MAX: u64 = 64 << 20;
/// Longest line of a table, bytes: ten cells of text need a few hundred.
const LINE_BYTES_MAX: u64 = 4096;
/// Largest angle of a unit's own attitude, degrees: two turns.
const ANGLE_MAX_DEG: f64 = 720.0;
/// Where flights without geodetic coordinates are laid: `[latitude_deg, longitude_deg, altitude_m]`, near Haifa.
pub const NOMINAL_ORIGIN: [f64; 3] = [32.76, 35.02, 100.0];
/// Seconds by which the inertial clock is ahead of the position's clock, by the end of the recording's name. The only
/// numbers that belong to single recordings.
pub const TIME_OFFSETS_S: [(&str, f64); 3] = [("path1", 0.74), ("path5", 0.14), ("path11", 0.46)];
/// Half a day, s: a later time in a table is absurd.
const TIME_MAX_S: f64 = 43_200.0;

const IMU_COLUMNS: [&str; 10] =
    ["time", "Acc_X", "Acc_Y", "Acc_Z", "Gyr_X", "Gyr_Y", "Gyr_Z", "Euler_X", "Euler_Y", "Euler_Z"];
/// The units' own attitude is passed on this often: its errors change no faster.
const AHRS_PERIOD_NS: u64 = 200_000_000;
const TRUTH_COLUMNS: [&str; 4] = ["time", "North", "East", "Down"];

pub(crate) fn parse(name: &str, truth: (&str, &[u8]), imus: &[(String, Vec<u8>)]) -> Result<Recording, RecordingError> {
    let mut events = Vec::new();
    let mut quality = Quality { sensors: Vec::new(), missing: Vec::new(), logger_dropouts: 0, remarks: Vec::new() };
    let offset_s = match TIME_OFFSETS_S.iter().find(|(end, _)| name.ends_with(end)) {
        Some((_, offset_s)) => {
            quality.remarks.push(format!("positions shifted by {offset_s} s onto the inertial clock"));
            *offset_s
        }
        None => {
            quality.remarks.push("no time offset is known for this recording: 0 s assumed".into());
            0.0
        }
    };
    let mut damage = None;
    if imus.is_empty() {
        return Err(RecordingError::NoImu {
            file: truth.0.into(),
            expected: format!("{name}_IMU_1.csv.gz beside it"),
            found: Vec::new(),
        });
    }
    for (sensor, (file, bytes)) in (0u8..IMUS_MAX).zip(imus) {
        let mut gate = Gate::new(&format!("imu{sensor}"));
        let mut next_ahrs_ns = 0;
        let found = read_table(file, bytes, &IMU_COLUMNS, |row| {
            let Some(at_ns) = nanoseconds(row[0]) else { return gate.drop_not_a_number() };
            let accel = [row[1], -row[2], -row[3]];
            let gyro = [row[4].to_radians(), -row[5].to_radians(), -row[6].to_radians()];
            let all = [gyro[0], gyro[1], gyro[2], accel[0], accel[1], accel[2]];
            if gate.admit(at_ns, &all, 1e4) {
                let imu = ImuSample { sensor, measured_at_ns: at_ns, gyro_rad_s: gyro, accel_m_s2: accel };
                events.push(Timed { at_ns, sample: Sample::Imu(imu) });
                if row[7..].iter().all(|x| x.abs() <= ANGLE_MAX_DEG) && at_ns >= next_ahrs_ns {
                    next_ahrs_ns = at_ns + AHRS_PERIOD_NS;
                    // East-north-up with x forward to north-east-down: pitch and yaw turn their sign, yaw its zero.
                    let [roll, pitch, yaw] = [row[7], -row[8], 90.0 - row[9]].map(f64::to_radians);
                    let attitude_body_to_ned = crate::math::quat_from_euler(roll, pitch, yaw);
                    let ahrs = AhrsSample { sensor, measured_at_ns: at_ns, attitude_body_to_ned };
                    events.push(Timed { at_ns, sample: Sample::Ahrs(ahrs) });
                }
            }
        })?;
        damage = damage.or(found);
        quality.sensors.push(gate.finish());
    }
    let mut gate = Gate::new("peer");
    let found = read_table(truth.0, truth.1, &TRUTH_COLUMNS, |row| {
        let Some(at_ns) = nanoseconds(row[0] + offset_s) else { return gate.drop_not_a_number() };
        if gate.admit(at_ns, &row[1..4], 1e6) {
            let peer = PeerState {
                measured_at_ns: at_ns,
                attitude_body_to_ned: None,
                position_ned_m: Some([row[1], row[2], row[3]]),
                velocity_ned_m_s: None,
                heading_resets: 0,
                origin: Some(NOMINAL_ORIGIN),
            };
            events.push(Timed { at_ns, sample: Sample::Peer(peer) });
        }
    })?;
    damage = damage.or(found);
    quality.sensors.push(gate.finish());
    quality.missing.extend(["gnss (make fixes with `degrade_fixes`)".into(), "mag".into(), "baro".into()]);
    sort_events(&mut events);
    Ok(Recording { name: name.into(), source: SourceKind::Ansfl, events, reference: Reference::Rtk, damage, quality })
}

fn nanoseconds(t_s: f64) -> Option<u64> {
    (0.0..TIME_MAX_S).contains(&t_s).then(|| libm::round(t_s * 1e9) as u64)
}

/// Hands every complete row's wanted columns to `take`; an unreadable cell arrives as NaN. Returns the damage that
/// ended the table early, if any.
fn read_table<const N: usize>(
    file: &str,
    packed: &[u8],
    columns: &[&str; N],
    mut take: impl FnMut(&[f64; N]),
) -> Result<Option<Damage>, RecordingError> {
    if packed.len() < 2 || packed[..2] != [0x1f, 0x8b] {
        return Err(RecordingError::NotARecording {
            file: file.into(),
            byte: 0,
            expected: "the gzip magic 1f 8b".into(),
            found: format!("{:02x?}", &packed[..packed.len().min(2)]),
        });
    }
    let mut lines = Lines { from: BufReader::new(MultiGzDecoder::new(packed)), left: TEXT_BYTES_MAX, number: 0 };
    let mut line = Vec::new();
    if let Err((expected, found)) = lines.next(&mut line) {
        return Err(RecordingError::NotARecording { file: file.into(), byte: 0, expected, found });
    }
    let header = String::from_utf8_lossy(&line).into_owned();
    let known: Vec<String> = header.split(',').map(|c| c.trim().to_owned()).collect();
    let mut places = [0; N];
    for (place, column) in places.iter_mut().zip(columns) {
        *place = known.iter().position(|k| k == column).ok_or_else(|| RecordingError::MissingColumn {
            file: file.into(),
            line: 1,
            column: (*column).into(),
            known: known.clone(),
        })?;
    }
    loop {
        let more = lines.next(&mut line);
        let damage = |column: usize, expected: String, found: String| {
            let place = Place::Line(lines.number, column as u32);
            Ok(Some(Damage { file: file.into(), place, expected, found }))
        };
        match more {
            Ok(true) if line.is_empty() => continue,
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err((expected, found)) => return damage(0, expected, found),
        }
        let text = String::from_utf8_lossy(&line);
        let cells: Vec<&str> = text.split(',').collect();
        if cells.len() != known.len() {
            return damage(0, format!("{} cells", known.len()), format!("{} cells", cells.len()));
        }
        let mut row = [f64::NAN; N];
        for (value, place) in row.iter_mut().zip(places) {
            let cell = cells[place].trim();
            if !cell.is_empty() {
                match cell.parse() {
                    Ok(number) => *value = number,
                    Err(_) => {
                        let found = cell.chars().take(40).collect::<String>();
                        return damage(place + 1, format!("a number in `{}`", known[place]), format!("`{found}`"));
                    }
                }
            }
        }
        take(&row);
    }
}

/// Lines of a table while it is unpacked, so that a small file cannot fill the memory.
struct Lines<R> {
    from: R,
    /// Bytes that may still come.
    left: u64,
    /// Of the last line, from 1.
    number: u64,
}

impl<R: BufRead> Lines<R> {
    /// Reads the next line without its end; false when there is none. The error is damage as (expected, found).
    fn next(&mut self, line: &mut Vec<u8>) -> Result<bool, (String, String)> {
        line.clear();
        self.number += 1;
        let limit = LINE_BYTES_MAX.min(self.left);
        let read = self.from.by_ref().take(limit).read_until(b'\n', line);
        let read = read.map_err(|error| ("more gzip data".to_owned(), error.to_string()))? as u64;
        self.left -= read;
        if line.pop_if(|b| *b == b'\n').is_some() {
            line.pop_if(|b| *b == b'\r');
            return Ok(true);
        }
        if self.left == 0 {
            return Err((format!("at most {TEXT_BYTES_MAX} unpacked bytes"), "more".to_owned()));
        }
        if read == LINE_BYTES_MAX {
            return Err((format!("a line of less than {LINE_BYTES_MAX} bytes"), "a longer one".to_owned()));
        }
        // The last line may lack its end.
        Ok(read > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn pack(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    const TRUTH: &str = "time,North,East,Down\n0.0,0,0,0\n0.1,1,0,0\n";
    const IMU: &str = "time,Euler_X,Euler_Y,Euler_Z,Acc_X,Acc_Y,Acc_Z,Gyr_X,Gyr_Y,Gyr_Z\n\
        0.0,1,2,3,1,2,9.8,180,0,-180\n0.1,1,2,3,1,2,9.8,180,0,-180\n";

    fn open(truth: &str, imu: &str) -> Result<Recording, RecordingError> {
        parse("x_path5", ("t", &pack(truth)), &[("i".into(), pack(imu))])
    }

    #[test]
    fn axes_become_forward_right_down_and_positions_move_onto_the_inertial_clock() {
        let recording = open(TRUTH, IMU).unwrap();
        let Sample::Imu(imu) = &recording.events[0].sample else { panic!("inertial first") };
        assert_eq!(imu.accel_m_s2, [1.0, -2.0, -9.8]);
        assert_eq!(imu.gyro_rad_s, [core::f64::consts::PI, 0.0, core::f64::consts::PI]);
        assert_eq!(recording.peers().next().unwrap().measured_at_ns, 140_000_000);
    }

    #[test]
    fn a_missing_column_names_the_ones_there_are() {
        let error = open(TRUTH, "time,Acc_X\n0,1\n").unwrap_err();
        let RecordingError::MissingColumn { column, known, line, .. } = error else { panic!("{error}") };
        assert_eq!((column.as_str(), known.len(), line), ("Acc_Y", 2, 1));
    }

    #[test]
    fn an_unreadable_cell_ends_the_table_and_a_nan_does_not() {
        let recording = open(&format!("{TRUTH}0.2,nan,0,0\n0.3,2,0,0\n0.4,frog,0,0\n0.5,1,1,1\n"), IMU).unwrap();
        assert_eq!(recording.peers().count(), 3);
        assert_eq!(recording.quality.of("peer").unwrap().not_a_number, 1);
        let damage = recording.damage.unwrap();
        assert_eq!((damage.place, damage.found.as_str()), (Place::Line(6, 2), "`frog`"));
    }

    #[test]
    fn a_torn_gzip_keeps_its_complete_lines() {
        let mut text = String::from(TRUTH);
        for i in 2..5000 {
            text += &format!("{}.{},{},{},0\n", i / 10, i % 10, i * 7919 % 1009, i * 31 % 977);
        }
        let packed = pack(&text);
        let imus = [("i".to_owned(), pack(IMU))];
        let recording = parse("x", ("t", &packed[..packed.len() / 2]), &imus).unwrap();
        assert!(recording.peers().count() > 1000);
        assert!(recording.damage.is_some());
    }

    #[test]
    fn an_endless_line_is_damage_and_not_a_column_each() {
        let commas = ",".repeat(1 << 20);
        let recording = open(&format!("{TRUTH}{commas}"), IMU).unwrap();
        assert_eq!(recording.damage.unwrap().place, Place::Line(4, 0));
        assert!(matches!(open(&commas, IMU), Err(RecordingError::NotARecording { .. })));
    }

    #[test]
    fn an_absurd_angle_is_no_attitude() {
        let recording = open(TRUTH, &IMU.replace("\n0.0,1,", "\n0.0,1e308,")).unwrap();
        let attitudes = recording.events.iter().filter_map(|e| match e.sample {
            Sample::Ahrs(a) => Some(a.attitude_body_to_ned),
            _ => None,
        });
        assert_eq!(attitudes.flatten().filter(|x| !x.is_finite()).count(), 0);
    }

    #[test]
    fn what_is_not_gzip_is_not_a_recording() {
        assert!(matches!(
            parse("x", ("t", b"time"), &[("i".into(), pack(IMU))]),
            Err(RecordingError::NotARecording { byte: 0, .. })
        ));
    }
}
