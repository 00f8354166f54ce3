//! Recorded flights: one form for every log we can read, in the order in which the samples arrived.
//!
//! A [`Recording`] is complete even when its file is not: what was read before the damage stays, and `damage` says
//! where reading ended, what was expected there and what was found. Whatever was dropped on the way is counted in
//! `quality`. Invariant: `events` is sorted by `at_ns`, all numbers in it are finite.
//! Sources: the PX4 ULog file format (docs.px4.io, "ULog File Format"); Hurwitz and Klein, arXiv:2310.13452 (ANSFL).

mod ansfl;
mod degrade;
mod quality;
mod ulog;

pub use ansfl::{NOMINAL_ORIGIN, TIME_OFFSETS_S};
pub use degrade::{SplitMix64, degrade_fixes};
pub use quality::{Quality, SensorQuality};

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which kind of file a recording came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SourceKind {
    /// A PX4 ULog (`*.ulg`).
    Px4Ulog,
    /// An ANSFL flight: `*_GT.csv.gz` with `*_IMU_n.csv.gz` beside it.
    Ansfl,
    /// No file: made by [`simulate`](crate::simulate::simulate).
    Simulated,
}

/// What the recording offers to measure an estimator against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reference {
    /// The autopilot's own EKF2: a peer estimate, not truth.
    Ekf2,
    /// RTK positions: truth to centimetres.
    Rtk,
    /// The known trajectory of a simulated flight.
    Simulation,
    /// Nothing.
    None,
}

/// One inertial sample, body axes forward-right-down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImuSample {
    /// Which unit measured it; 0 sets the rate.
    pub sensor: u8,
    /// When it was measured, ns on the recording's clock.
    pub measured_at_ns: u64,
    /// Angular rate, rad/s.
    pub gyro_rad_s: [f64; 3],
    /// Specific force, m/s² (about -9.8 down when level at rest).
    pub accel_m_s2: [f64; 3],
}

/// The attitude that an inertial unit reckons by itself, from its own magnetometer and a filter of its maker.
///
/// Its roll and pitch are good to some degrees; its heading is as good as the field around its magnetometer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AhrsSample {
    /// The unit, as in [`ImuSample::sensor`].
    pub sensor: u8,
    /// When it held, ns.
    pub measured_at_ns: u64,
    /// Attitude `[w, x, y, z]`.
    pub attitude_body_to_ned: [f64; 4],
}

/// One position fix of a satellite receiver.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GnssFix {
    /// When the position was valid, ns; the receiver's delay is already taken off.
    pub measured_at_ns: u64,
    /// Latitude, degrees north, WGS 84.
    pub latitude_deg: f64,
    /// Longitude, degrees east, WGS 84.
    pub longitude_deg: f64,
    /// Altitude, m above the receiver's reference surface.
    pub altitude_m: f64,
    /// Reported 1 σ of each horizontal axis, m.
    pub horizontal_accuracy_m: f64,
    /// Reported 1 σ of the altitude, m.
    pub vertical_accuracy_m: f64,
    /// Reported 1 σ of the velocity, m/s; 0 when not reported.
    pub speed_accuracy_m_s: f64,
    /// Velocity north, east, down in m/s, if the receiver measures it.
    pub velocity_ned_m_s: Option<[f64; 3]>,
    /// Satellites used.
    pub satellites: u8,
    /// 2 = two-dimensional, 3 = three-dimensional, 4 = differential, 5 and 6 = RTK.
    pub fix_type: u8,
}

impl GnssFix {
    /// `[latitude_deg, longitude_deg, altitude_m]`.
    #[must_use]
    pub fn point(&self) -> [f64; 3] {
        [self.latitude_deg, self.longitude_deg, self.altitude_m]
    }
}

/// One magnetometer sample, body axes forward-right-down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MagSample {
    /// When it was measured, ns.
    pub measured_at_ns: u64,
    /// Flux density, gauss.
    pub field_gauss: [f64; 3],
}

/// One barometer sample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BaroSample {
    /// When it was measured, ns.
    pub measured_at_ns: u64,
    /// Altitude in the standard atmosphere, m.
    pub altitude_m: f64,
    /// Static pressure, Pa; 0 when the log holds only the altitude.
    pub pressure_pa: f64,
}

/// What another estimator, or the truth, says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerState {
    /// The time it speaks of, ns.
    pub measured_at_ns: u64,
    /// Attitude `[w, x, y, z]`, if it has one.
    pub attitude_body_to_ned: Option<[f64; 4]>,
    /// Position north, east, down of `origin`, m, if it has one.
    pub position_ned_m: Option<[f64; 3]>,
    /// Velocity, m/s, if it has one.
    pub velocity_ned_m_s: Option<[f64; 3]>,
    /// How often it has reset its heading since the log began.
    pub heading_resets: u32,
    /// `[latitude_deg, longitude_deg, altitude_m]` of its origin, if it states one.
    pub origin: Option<[f64; 3]>,
}

/// The autopilot's own landing detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LandDetected {
    /// When it said so, ns.
    pub measured_at_ns: u64,
    /// True on the ground.
    pub is_landed: bool,
}

/// Anything a recording holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum Sample {
    /// Inertial sample.
    Imu(ImuSample),
    /// Position fix.
    Gnss(GnssFix),
    /// Magnetometer sample.
    Mag(MagSample),
    /// Barometer sample.
    Baro(BaroSample),
    /// An inertial unit's own attitude.
    Ahrs(AhrsSample),
    /// Peer estimate or truth: never an input of the estimator.
    Peer(PeerState),
    /// The autopilot's landing detector: never an input of the estimator.
    Land(LandDetected),
}

impl Sample {
    /// When the sample was measured, ns.
    #[must_use]
    pub fn measured_at_ns(&self) -> u64 {
        match self {
            Self::Imu(s) => s.measured_at_ns,
            Self::Gnss(s) => s.measured_at_ns,
            Self::Mag(s) => s.measured_at_ns,
            Self::Baro(s) => s.measured_at_ns,
            Self::Ahrs(s) => s.measured_at_ns,
            Self::Peer(s) => s.measured_at_ns,
            Self::Land(s) => s.measured_at_ns,
        }
    }
}

/// A sample and when it arrived.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timed {
    /// Arrival, ns on the recording's clock; events are sorted by it.
    pub at_ns: u64,
    /// What arrived.
    pub sample: Sample,
}

/// Where in a damaged file reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Place {
    /// Offset from the start of the file.
    Byte(u64),
    /// Line (from 1, the header is line 1) and column (from 1; 0 when the whole line is meant) of the unpacked text.
    Line(u64, u32),
}

/// The first damage that ended the reading of a file; what came before it stays in the recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Damage {
    /// The file.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

/// Why a recording could not be opened at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// The operating system refused the file.
    #[error("{file}: cannot be read; check the path and its permissions")]
    Unreadable {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The name tells no known kind of recording.
    #[error("{file}: not a known kind of recording; expected a name ending in one of {known:?}")]
    UnknownKind {
        /// The file.
        file: String,
        /// Endings we read.
        known: Vec<String>,
    },
    /// The file is not what its name says.
    #[error("{file}: at byte {byte}: expected {expected}, found {found}")]
    NotARecording {
        /// The file.
        file: String,
        /// Where, counted from the start of the file.
        byte: u64,
        /// What should have been there.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A table lacks a column.
    #[error("{file}: line {line}: column `{column}` is missing; the file has {known:?}")]
    MissingColumn {
        /// The file.
        file: String,
        /// Line of the header.
        line: u64,
        /// The column we need.
        column: String,
        /// The columns it has.
        known: Vec<String>,
    },
    /// A ULog topic lacks a field.
    #[error("{file}: topic `{topic}` at byte {byte} has no field `{field}`; it has {known:?}")]
    MissingField {
        /// The file.
        file: String,
        /// Where the topic's format stands.
        byte: u64,
        /// The topic.
        topic: String,
        /// The field we need.
        field: String,
        /// The fields it has.
        known: Vec<String>,
    },
    /// The recording holds no inertial samples, so nothing can be flown from it.
    #[error("{file}: no inertial samples; expected {expected}, found {found:?}")]
    NoImu {
        /// The file.
        file: String,
        /// What would have carried them.
        expected: String,
        /// What the file carries.
        found: Vec<String>,
    },
}

/// A recorded flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// The file's name without its ending.
    pub name: String,
    /// Its kind.
    pub source: SourceKind,
    /// Everything in it, in order of arrival.
    pub events: Vec<Timed>,
    /// What it can be measured against.
    pub reference: Reference,
    /// The damage that ended the reading, if any.
    pub damage: Option<Damage>,
    /// What was counted while reading.
    pub quality: Quality,
}

/// Largest file read into memory, bytes: 1 GiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

impl Recording {
    /// Opens a recording by its name: `*.ulg` or `*_GT.csv.gz` (with `*_IMU_n.csv.gz` beside it).
    ///
    /// # Errors
    /// [`RecordingError`] when there is nothing to fly; damage after a good beginning is reported in `damage`.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = path.display().to_string();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(stem) = name.strip_suffix(".ulg") {
            ulog::parse(stem, &file, &read_file(path)?)
        } else if let Some(stem) = name.strip_suffix("_GT.csv.gz") {
            let truth = read_file(path)?;
            let mut imus = Vec::new();
            for n in 1..=ansfl::IMUS_MAX {
                let beside = path.with_file_name(format!("{stem}_IMU_{n}.csv.gz"));
                if beside.exists() {
                    imus.push((beside.display().to_string(), read_file(&beside)?));
                }
            }
            ansfl::parse(stem, (&file, &truth), &imus)
        } else {
            Err(RecordingError::UnknownKind { file, known: vec![".ulg".into(), "_GT.csv.gz".into()] })
        }
    }

    /// Reads a ULog from memory; `file` is only for messages.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn from_ulog(name: &str, file: &str, bytes: &[u8]) -> Result<Self, RecordingError> {
        ulog::parse(name, file, bytes)
    }

    /// Reads an ANSFL flight from memory: the truth table and the tables of its inertial units, all gzip.
    ///
    /// # Errors
    /// As [`Recording::open`].
    pub fn from_ansfl(name: &str, truth: (&str, &[u8]), imus: &[(String, Vec<u8>)]) -> Result<Self, RecordingError> {
        ansfl::parse(name, truth, imus)
    }

    /// The peer's states in order.
    pub fn peers(&self) -> impl Iterator<Item = &PeerState> {
        self.events.iter().filter_map(|e| match &e.sample {
            Sample::Peer(p) => Some(p),
            _ => None,
        })
    }

    /// Time of the first inertial sample, ns: zero of the flight's own time.
    #[must_use]
    pub fn start_ns(&self) -> u64 {
        self.events.iter().find(|e| matches!(e.sample, Sample::Imu(_))).map_or(0, |e| e.at_ns)
    }

    /// Seconds from the first to the last event.
    #[must_use]
    pub fn length_s(&self) -> f64 {
        let last = self.events.last().map_or(0, |e| e.at_ns);
        last.saturating_sub(self.start_ns()) as f64 * 1e-9
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>, RecordingError> {
    let unreadable = |source| RecordingError::Unreadable { file: path.display().to_string(), source };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > FILE_BYTES_MAX {
        return Err(RecordingError::NotARecording {
            file: path.display().to_string(),
            byte: FILE_BYTES_MAX,
            expected: format!("at most {FILE_BYTES_MAX} bytes"),
            found: format!("{size} bytes"),
        });
    }
    std::fs::read(path).map_err(unreadable)
}

/// Orders events by arrival; ties go to the second inertial unit before the first, then inertial before the rest, so
/// that the first unit's sample, which drives the estimator, finds its twin already there.
pub(crate) fn sort_events(events: &mut [Timed]) {
    let rank = |s: &Sample| match s {
        Sample::Imu(s) => u8::MAX - s.sensor,
        _ => u8::MAX,
    };
    events.sort_by(|a, b| a.at_ns.cmp(&b.at_ns).then(rank(&a.sample).cmp(&rank(&b.sample))));
}
