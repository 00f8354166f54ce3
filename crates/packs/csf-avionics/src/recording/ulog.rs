//! PX4 ULog: a self-describing binary log, read in one pass.
//!
//! Only the topics we fly with are decoded, by the formats that the file itself carries. Reading ends at the first
//! byte that cannot be right; what came before stays. The publication stamp of a message is its arrival; the time of
//! measurement is its `timestamp_sample` where the format has one. Satellite fixes are older by the delay that the
//! autopilot was configured with (parameter `EKF2_GPS_DELAY`, in ms), which is taken off here.
//! Reference: PX4 Guide, "ULog File Format", docs.px4.io/main/en/dev_log/ulog_file_format.html.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::quality::{Gate, Quality};
use super::{
    BaroSample, Damage, GnssFix, ImuSample, LandDetected, MagSample, PeerState, Place, Recording, RecordingError,
    Reference, Sample, SourceKind, Timed, sort_events,
};

const MAGIC: [u8; 7] = [0x55, 0x4c, 0x6f, 0x67, 0x01, 0x12, 0x35];
const HEADER_BYTES: usize = 16;
/// Message types of the definition and data sections; any other byte is damage.
const MESSAGE_TYPES: &[u8] = b"BFIMPQARDLCSO";
/// PX4's default of `EKF2_GPS_DELAY`, ms, for logs that do not carry it.
const GPS_DELAY_DEFAULT_MS: f64 = 110.0;
/// `*_timestamp_relative` of a sensor that has nothing new.
const RELATIVE_INVALID: f64 = 2_147_483_647.0;
/// Nesting of formats is not needed for the topics we read; this only bounds the size of a definition.
const FIELDS_MAX: usize = 1024;

#[derive(Clone, Debug)]
struct Field {
    name: String,
    kind: Kind,
    offset: usize,
    count: usize,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Kind {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "int8_t" => Self::I8,
            "uint8_t" | "bool" | "char" => Self::U8,
            "int16_t" => Self::I16,
            "uint16_t" => Self::U16,
            "int32_t" => Self::I32,
            "uint32_t" => Self::U32,
            "int64_t" => Self::I64,
            "uint64_t" => Self::U64,
            "float" => Self::F32,
            "double" => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::I8 | Self::U8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 | Self::F64 => 8,
        }
    }

    fn read(self, b: &[u8]) -> Option<f64> {
        Some(match self {
            Self::I8 => f64::from(i8::from_le_bytes(b.get(..1)?.try_into().ok()?)),
            Self::U8 => f64::from(*b.first()?),
            Self::I16 => f64::from(i16::from_le_bytes(b.get(..2)?.try_into().ok()?)),
            Self::U16 => f64::from(u16::from_le_bytes(b.get(..2)?.try_into().ok()?)),
            Self::I32 => f64::from(i32::from_le_bytes(b.get(..4)?.try_into().ok()?)),
            Self::U32 => f64::from(u32::from_le_bytes(b.get(..4)?.try_into().ok()?)),
            Self::I64 => i64::from_le_bytes(b.get(..8)?.try_into().ok()?) as f64,
            Self::U64 => u64::from_le_bytes(b.get(..8)?.try_into().ok()?) as f64,
            Self::F32 => f64::from(f32::from_le_bytes(b.get(..4)?.try_into().ok()?)),
            Self::F64 => f64::from_le_bytes(b.get(..8)?.try_into().ok()?),
        })
    }
}

/// A topic's layout, and where in the file it is declared.
#[derive(Clone, Debug)]
struct Format {
    fields: Vec<Field>,
    byte: u64,
}

/// One data message with its layout.
struct Row<'a> {
    format: &'a Format,
    data: &'a [u8],
}

impl Row<'_> {
    fn get(&self, name: &str, index: usize) -> Option<f64> {
        let field = self.format.fields.iter().find(|f| f.name == name)?;
        if index >= field.count {
            return None;
        }
        // The definition's own size fits in memory's, so this does not overflow.
        field.kind.read(self.data.get(field.offset + index * field.kind.size()..)?)
    }

    fn f(&self, name: &str) -> f64 {
        self.get(name, 0).unwrap_or(f64::NAN)
    }

    fn vec3(&self, name: &str) -> [f64; 3] {
        core::array::from_fn(|i| self.get(name, i).unwrap_or(f64::NAN))
    }

    /// A stamp in µs, as ns.
    fn stamp_ns(&self, name: &str) -> Option<u64> {
        let field = self.format.fields.iter().find(|f| f.name == name)?;
        if !matches!((field.kind, field.count), (Kind::U64, 1..)) {
            return None;
        }
        let bytes = self.data.get(field.offset..)?.first_chunk()?;
        u64::from_le_bytes(*bytes).checked_mul(1000).filter(|ns| *ns > 0)
    }

    fn has(&self, name: &str) -> bool {
        self.format.fields.iter().any(|f| f.name == name)
    }
}

/// Fields without which a topic is of no use.
const NEEDED: &[(&str, &[&str])] = &[
    ("sensor_combined", &["timestamp", "gyro_rad", "accelerometer_m_s2"]),
    ("vehicle_magnetometer", &["timestamp", "magnetometer_ga"]),
    ("vehicle_air_data", &["timestamp", "baro_alt_meter"]),
    ("vehicle_attitude", &["timestamp", "q"]),
    ("vehicle_local_position", &["timestamp", "x", "y", "z", "vx", "vy", "vz"]),
    ("vehicle_land_detected", &["timestamp", "landed"]),
];

struct Reader {
    events: Vec<Timed>,
    formats: BTreeMap<String, Rc<Format>>,
    /// Subscriptions of the first instance of the topics we read, with the format that held then.
    topics: BTreeMap<u16, (Rc<str>, Rc<Format>)>,
    gps_delay_ms: Option<f64>,
    imu: Gate,
    gnss: Gate,
    mag: Gate,
    baro: Gate,
    attitude: Gate,
    peer: Gate,
    land: Gate,
    last_attitude: Option<[f64; 4]>,
    heading_resets: u32,
    reset_counter: Option<u32>,
    dropouts: u64,
}

pub(crate) fn parse(name: &str, file: &str, bytes: &[u8]) -> Result<Recording, RecordingError> {
    let not = |byte: usize, expected: &str, found: String| RecordingError::NotARecording {
        file: file.into(),
        byte: byte as u64,
        expected: expected.into(),
        found,
    };
    if bytes.len() < HEADER_BYTES {
        return Err(not(bytes.len(), "a ULog header of 16 bytes", format!("{} bytes", bytes.len())));
    }
    if let Some(at) = (0..7).find(|i| bytes[*i] != MAGIC[*i]) {
        return Err(not(at, "the ULog magic `ULog` 01 12 35", format!("{:02x?}", &bytes[..7])));
    }
    let mut reader = Reader::new();
    let damage = reader.read(file, bytes)?;
    reader.finish(name, file, damage)
}

impl Reader {
    fn new() -> Self {
        Self {
            events: Vec::new(),
            formats: BTreeMap::new(),
            topics: BTreeMap::new(),
            gps_delay_ms: None,
            imu: Gate::new("imu0"),
            gnss: Gate::new("gnss"),
            mag: Gate::new("mag"),
            baro: Gate::new("baro"),
            attitude: Gate::new("peer attitude"),
            peer: Gate::new("peer"),
            land: Gate::new("land"),
            last_attitude: None,
            heading_resets: 0,
            reset_counter: None,
            dropouts: 0,
        }
    }

    fn read(&mut self, file: &str, bytes: &[u8]) -> Result<Option<Damage>, RecordingError> {
        let mut at = HEADER_BYTES;
        while at < bytes.len() {
            let damage = |byte: usize, expected: String, found: String| {
                Ok(Some(Damage { file: file.into(), place: Place::Byte(byte as u64), expected, found }))
            };
            let Some(head) = bytes.get(at..at + 3) else {
                return damage(at, "a message header of 3 bytes".into(), format!("{} bytes", bytes.len() - at));
            };
            let size = usize::from(u16::from_le_bytes([head[0], head[1]]));
            let kind = head[2];
            if !MESSAGE_TYPES.contains(&kind) {
                let expected = format!("a message type of {:?}", String::from_utf8_lossy(MESSAGE_TYPES));
                return damage(at + 2, expected, format!("byte {kind:#04x}"));
            }
            let Some(body) = bytes.get(at + 3..at + 3 + size) else {
                let found = format!("{} bytes", bytes.len() - at - 3);
                return damage(at + 3, format!("a `{}` message of {size} bytes", char::from(kind)), found);
            };
            if let Err((expected, found)) = self.message(file, kind, body, at + 3)? {
                return damage(at + 3, expected, found);
            }
            at += 3 + size;
        }
        Ok(None)
    }

    /// One message; the inner error is damage as (expected, found).
    #[allow(clippy::type_complexity, reason = "one row of the file format")]
    fn message(
        &mut self,
        file: &str,
        kind: u8,
        body: &[u8],
        at: usize,
    ) -> Result<Result<(), (String, String)>, RecordingError> {
        match kind {
            b'B' if body.get(8).is_some_and(|f| f & !1 != 0) => {
                // An incompatible flag that we do not know means that the rest cannot be understood.
                return Ok(Err(("no unknown incompatible flag".into(), format!("flags {:#04x}", body[8]))));
            }
            b'F' => {
                let text = String::from_utf8_lossy(body);
                let Some((name, fields)) = text.split_once(':') else {
                    return Ok(Err(("`name:fields`".into(), format!("`{}`", short(&text)))));
                };
                if let Some(format) = parse_format(fields, at as u64) {
                    self.formats.insert(name.to_owned(), Rc::new(format));
                }
            }
            b'P' => self.parameter(body),
            b'A' => {
                let [multi, low, high, name @ ..] = body else {
                    return Ok(Err(("a subscription of 4 or more bytes".into(), format!("{} bytes", body.len()))));
                };
                return self.subscribe(file, *multi, u16::from_le_bytes([*low, *high]), name);
            }
            b'D' => {
                let [low, high, data @ ..] = body else {
                    return Ok(Err(("a data message of 2 or more bytes".into(), format!("{} bytes", body.len()))));
                };
                if let Some((topic, format)) = self.topics.get(&u16::from_le_bytes([*low, *high])).cloned() {
                    self.data(&topic, &Row { format: &format, data });
                }
            }
            b'O' => self.dropouts += 1,
            _ => {}
        }
        Ok(Ok(()))
    }

    #[allow(clippy::type_complexity, reason = "one row of the file format")]
    fn subscribe(
        &mut self,
        file: &str,
        multi: u8,
        id: u16,
        name: &[u8],
    ) -> Result<Result<(), (String, String)>, RecordingError> {
        let name = String::from_utf8_lossy(name).into_owned();
        let is_ours = name == "vehicle_gps_position" || NEEDED.iter().any(|(topic, _)| *topic == name);
        if multi != 0 || !is_ours {
            return Ok(Ok(()));
        }
        let Some(format) = self.formats.get(&name) else {
            return Ok(Err((format!("a format of `{}` before its subscription", short(&name)), "none".into())));
        };
        let needed = NEEDED.iter().find(|(topic, _)| *topic == name).map_or(&[][..], |(_, fields)| *fields);
        if let Some(field) = needed.iter().find(|f| !format.fields.iter().any(|g| g.name == **f)) {
            return Err(RecordingError::MissingField {
                file: file.into(),
                byte: format.byte,
                topic: name,
                field: (*field).to_owned(),
                known: format.fields.iter().map(|f| f.name.clone()).collect(),
            });
        }
        let format = format.clone();
        self.topics.insert(id, (name.into(), format));
        Ok(Ok(()))
    }

    fn parameter(&mut self, body: &[u8]) {
        let Some((length, rest)) = body.split_first() else { return };
        let Some(key) = rest.get(..usize::from(*length)) else { return };
        if key == b"float EKF2_GPS_DELAY" {
            self.gps_delay_ms = Kind::F32.read(&rest[key.len()..]).filter(|d| (0.0..=1000.0).contains(d));
        }
    }

    fn data(&mut self, topic: &str, row: &Row<'_>) {
        let Some(at_ns) = row.stamp_ns("timestamp") else { return };
        match topic {
            "sensor_combined" => self.sensor_combined(row, at_ns),
            "vehicle_gps_position" => self.fix(row, at_ns),
            "vehicle_magnetometer" => {
                let measured_at_ns = row.stamp_ns("timestamp_sample").unwrap_or(at_ns);
                self.magnetometer(at_ns, measured_at_ns, row.vec3("magnetometer_ga"));
            }
            "vehicle_air_data" => {
                let measured_at_ns = row.stamp_ns("timestamp_sample").unwrap_or(at_ns);
                self.barometer(at_ns, measured_at_ns, row.f("baro_alt_meter"), row.f("baro_pressure_pa"));
            }
            "vehicle_attitude" => {
                let q: [f64; 4] = core::array::from_fn(|i| row.get("q", i).unwrap_or(f64::NAN));
                let length = (q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]).sqrt();
                let sane = if (0.9..1.1).contains(&length) { 1.0 } else { f64::NAN };
                if self.attitude.admit(at_ns, &[q[0], q[1], q[2], q[3], sane], 2.0) {
                    self.last_attitude = Some(q.map(|x| x / length));
                    self.count_resets(row.get("quat_reset_counter", 0));
                }
            }
            "vehicle_local_position" => self.local_position(row, at_ns),
            "vehicle_land_detected" => {
                let landed = row.f("landed");
                // A flag repeats itself by nature, so it is not watched for being stuck.
                if landed.is_nan() {
                    self.land.drop_not_a_number();
                } else if self.land.admit(at_ns, &[], 0.0) {
                    let land = LandDetected { measured_at_ns: at_ns, is_landed: landed != 0.0 };
                    self.events.push(Timed { at_ns, sample: Sample::Land(land) });
                }
            }
            _ => {}
        }
    }

    fn count_resets(&mut self, counter: Option<f64>) {
        if let Some(counter) = counter {
            let counter = counter as u32;
            if let Some(last) = self.reset_counter {
                self.heading_resets = self.heading_resets.saturating_add(counter.wrapping_sub(last) & 0xff);
            }
            self.reset_counter = Some(counter);
        }
    }

    fn sensor_combined(&mut self, row: &Row<'_>, at_ns: u64) {
        let (gyro, accel) = (row.vec3("gyro_rad"), row.vec3("accelerometer_m_s2"));
        let all = [gyro[0], gyro[1], gyro[2], accel[0], accel[1], accel[2]];
        if self.imu.admit(at_ns, &all, 1e4) {
            let imu = ImuSample { sensor: 0, measured_at_ns: at_ns, gyro_rad_s: gyro, accel_m_s2: accel };
            self.events.push(Timed { at_ns, sample: Sample::Imu(imu) });
        }
        // Logs before 2018 carry magnetometer and barometer in the same topic, with their age in µs.
        let aged = |name: &str| {
            let relative = row.get(name, 0).filter(|r| *r != RELATIVE_INVALID)?;
            at_ns.checked_add_signed((relative as i64).checked_mul(1000)?)
        };
        if row.has("magnetometer_ga")
            && let Some(measured_at_ns) = aged("magnetometer_timestamp_relative")
        {
            self.magnetometer(at_ns, measured_at_ns, row.vec3("magnetometer_ga"));
        }
        if row.has("baro_alt_meter")
            && let Some(measured_at_ns) = aged("baro_timestamp_relative")
        {
            self.barometer(at_ns, measured_at_ns, row.f("baro_alt_meter"), 0.0);
        }
    }

    fn magnetometer(&mut self, at_ns: u64, measured_at_ns: u64, field_gauss: [f64; 3]) {
        if self.mag.admit(measured_at_ns, &field_gauss, 100.0) {
            self.events.push(Timed { at_ns, sample: Sample::Mag(MagSample { measured_at_ns, field_gauss }) });
        }
    }

    fn barometer(&mut self, at_ns: u64, measured_at_ns: u64, altitude_m: f64, pressure_pa: f64) {
        let pressure_pa = if pressure_pa.is_finite() { pressure_pa } else { 0.0 };
        if self.baro.admit(measured_at_ns, &[altitude_m], 1e5) {
            let baro = BaroSample { measured_at_ns, altitude_m, pressure_pa };
            self.events.push(Timed { at_ns, sample: Sample::Baro(baro) });
        }
    }

    fn fix(&mut self, row: &Row<'_>, at_ns: u64) {
        let measured_at_ns = row.stamp_ns("timestamp_sample").unwrap_or(at_ns);
        // Since 2023 `latitude_deg` replaces the integer of 1e-7 degrees.
        let (latitude, longitude, altitude) = if row.has("latitude_deg") {
            (row.f("latitude_deg"), row.f("longitude_deg"), row.f("altitude_msl_m"))
        } else {
            (row.f("lat") * 1e-7, row.f("lon") * 1e-7, row.f("alt") * 1e-3)
        };
        let velocity = [row.f("vel_n_m_s"), row.f("vel_e_m_s"), row.f("vel_d_m_s")];
        let has_velocity = row.f("vel_ned_valid") == 1.0 && velocity.iter().all(|v| v.abs() < 1e3);
        let speed = row.f("s_variance_m_s");
        let values = [latitude, longitude, altitude, row.f("eph"), row.f("epv")];
        let sane = latitude.abs() <= 90.0 && longitude.abs() <= 180.0 && values[3] > 0.0 && values[4] > 0.0;
        if !sane {
            return self.gnss.drop_not_a_number();
        }
        if self.gnss.admit(measured_at_ns, &values, 1e6) {
            let fix = GnssFix {
                measured_at_ns,
                latitude_deg: latitude,
                longitude_deg: longitude,
                altitude_m: altitude,
                horizontal_accuracy_m: values[3],
                vertical_accuracy_m: values[4],
                speed_accuracy_m_s: if speed.is_finite() { speed } else { 0.0 },
                velocity_ned_m_s: has_velocity.then_some(velocity),
                satellites: row.f("satellites_used") as u8,
                fix_type: row.f("fix_type") as u8,
            };
            self.events.push(Timed { at_ns, sample: Sample::Gnss(fix) });
        }
    }

    fn local_position(&mut self, row: &Row<'_>, at_ns: u64) {
        let measured_at_ns = row.stamp_ns("timestamp_sample").unwrap_or(at_ns);
        let is = |name: &str| row.get(name, 0).is_some_and(|flag| flag != 0.0);
        let position = [row.f("x"), row.f("y"), row.f("z")];
        let velocity = [row.f("vx"), row.f("vy"), row.f("vz")];
        if !self.peer.admit(measured_at_ns, &[position, velocity].concat(), 1e7) {
            return;
        }
        let origin = [row.f("ref_lat"), row.f("ref_lon"), row.f("ref_alt")];
        let sane = origin.iter().all(|x| x.is_finite()) && origin[0].abs() <= 90.0 && origin[1].abs() <= 180.0;
        let peer = PeerState {
            measured_at_ns,
            attitude_body_to_ned: self.last_attitude,
            position_ned_m: (is("xy_valid") && is("z_valid")).then_some(position),
            velocity_ned_m_s: (is("v_xy_valid") && is("v_z_valid")).then_some(velocity),
            heading_resets: self.heading_resets,
            origin: (is("xy_global") && is("z_global") && sane).then_some(origin),
        };
        self.events.push(Timed { at_ns, sample: Sample::Peer(peer) });
    }

    fn finish(mut self, name: &str, file: &str, damage: Option<Damage>) -> Result<Recording, RecordingError> {
        let mut quality =
            Quality { sensors: Vec::new(), missing: Vec::new(), logger_dropouts: self.dropouts, remarks: Vec::new() };
        let delay_ms = self.gps_delay_ms.unwrap_or(GPS_DELAY_DEFAULT_MS);
        let from = if self.gps_delay_ms.is_some() { "EKF2_GPS_DELAY of the log" } else { "PX4's default" };
        for event in &mut self.events {
            if let Sample::Gnss(fix) = &mut event.sample {
                fix.measured_at_ns = fix.measured_at_ns.saturating_sub((delay_ms * 1e6) as u64);
            }
        }
        let mut has_peer = false;
        for gate in [self.imu, self.gnss, self.mag, self.baro, self.attitude, self.peer, self.land] {
            let counts = gate.finish();
            if counts.samples == 0 {
                quality.missing.push(counts.sensor.clone());
            }
            has_peer |= counts.sensor == "peer" && counts.samples > 0;
            quality.sensors.push(counts);
        }
        if quality.of("gnss").is_some_and(|g| g.samples > 0) {
            quality.remarks.push(format!("fixes taken as {delay_ms} ms old ({from})"));
        }
        if quality.of("imu0").is_none_or(|i| i.samples == 0) {
            // A file that broke off before its first sample is still told apart from one that never had any.
            let found = match damage {
                Some(d) => vec![format!("{:?}: expected {}, found {}", d.place, d.expected, d.found)],
                None => self.formats.into_keys().collect(),
            };
            let expected = "topic `sensor_combined`".into();
            return Err(RecordingError::NoImu { file: file.into(), expected, found });
        }
        let reference = if has_peer { Reference::Ekf2 } else { Reference::None };
        sort_events(&mut self.events);
        Ok(Recording {
            name: name.into(),
            source: SourceKind::Px4Ulog,
            events: self.events,
            reference,
            damage,
            quality,
        })
    }
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `float[3] gyro_rad;uint32_t dt;...` to offsets; `None` when it nests another format, which none of ours does.
fn parse_format(text: &str, byte: u64) -> Option<Format> {
    let mut fields = Vec::new();
    let mut offset = 0usize;
    for part in text.split(';').filter(|p| !p.is_empty()).take(FIELDS_MAX) {
        let (kind, name) = part.split_once(' ')?;
        let (kind, count) = match kind.split_once('[') {
            Some((kind, count)) => (kind, count.strip_suffix(']')?.parse::<usize>().ok()?),
            None => (kind, 1),
        };
        let kind = Kind::parse(kind)?;
        fields.push(Field { name: name.to_owned(), kind, offset, count });
        offset = offset.checked_add(kind.size().checked_mul(count)?)?;
    }
    Some(Format { fields, byte })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
        out.extend((body.len() as u16).to_le_bytes());
        out.push(kind);
        out.extend(body);
    }

    fn log(stamps_us: &[u64]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        message(&mut out, b'F', b"sensor_combined:uint64_t timestamp;float[3] gyro_rad;float[3] accelerometer_m_s2;");
        message(&mut out, b'A', b"\0\x05\0sensor_combined");
        for stamp in stamps_us {
            let mut body = vec![5, 0];
            body.extend(stamp.to_le_bytes());
            for x in [0.1f32, 0.2, 0.3, 0.0, 0.0, -9.8] {
                body.extend(x.to_le_bytes());
            }
            message(&mut out, b'D', &body);
        }
        out
    }

    #[test]
    fn a_small_log_is_read_whole() {
        let recording = parse("x", "x.ulg", &log(&[1000, 2000, 3000])).unwrap();
        assert_eq!(recording.events.len(), 3);
        assert_eq!(recording.events[2].at_ns, 3_000_000);
        assert!(recording.damage.is_none());
        assert!(recording.quality.missing.contains(&"gnss".to_owned()));
    }

    #[test]
    fn a_torn_log_says_where_and_keeps_the_rest() {
        let bytes = log(&[1000, 2000, 3000]);
        let recording = parse("x", "x.ulg", &bytes[..bytes.len() - 5]).unwrap();
        assert_eq!(recording.events.len(), 2);
        let damage = recording.damage.unwrap();
        assert_eq!(damage.place, Place::Byte(bytes.len() as u64 - 34));
        assert_eq!(damage.found, "29 bytes");
    }

    #[test]
    fn a_wrong_message_type_ends_the_reading_at_its_byte() {
        let mut bytes = log(&[1000, 2000, 3000]);
        let at = bytes.len() - 35;
        bytes[at] = b'z';
        let recording = parse("x", "x.ulg", &bytes).unwrap();
        assert_eq!(recording.damage.unwrap().place, Place::Byte(at as u64));
        assert_eq!(recording.events.len(), 2);
    }

    #[test]
    fn time_running_backwards_is_dropped_and_counted() {
        let recording = parse("x", "x.ulg", &log(&[1000, 3000, 2000, 3000, 4000])).unwrap();
        let imu = recording.quality.of("imu0").unwrap();
        assert_eq!((imu.samples, imu.time_backwards, imu.duplicates), (3, 1, 1));
    }

    #[test]
    fn what_is_no_ulog_is_refused_with_the_byte() {
        assert!(matches!(
            parse("x", "x", b"ULog\x01\x99\x35.........."),
            Err(RecordingError::NotARecording { byte: 5, .. })
        ));
        assert!(matches!(parse("x", "x", b"UL"), Err(RecordingError::NotARecording { byte: 2, .. })));
    }

    /// One topic in this layout with three messages of this body.
    fn odd(fields: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        message(&mut out, b'F', &[b"sensor_combined:", fields].concat());
        message(&mut out, b'A', b"\0\x05\0sensor_combined");
        for stamp in 1..4u64 {
            message(&mut out, b'D', &[b"\x05\0", &(stamp * 1000).to_le_bytes()[..], body].concat());
        }
        out
    }

    const LAYOUT: &[u8] = b"uint64_t timestamp;float[3] gyro_rad;float[3] accelerometer_m_s2;";

    #[test]
    fn a_field_beyond_all_memory_is_not_read() {
        let fields =
            b"float[3] gyro_rad;float[3] accelerometer_m_s2;uint8_t[18446744073709551590] x;uint8_t[0] timestamp;";
        assert!(matches!(parse("x", "x", &odd(fields, &[0; 24])), Err(RecordingError::NoImu { .. })));
    }

    #[test]
    fn an_age_beyond_all_time_drops_the_old_sample_and_keeps_the_new() {
        let fields = [LAYOUT, b"double baro_timestamp_relative;float baro_alt_meter;"].concat();
        let body = [&[0; 24][..], &1e300f64.to_le_bytes(), &1f32.to_le_bytes()].concat();
        let recording = parse("x", "x", &odd(&fields, &body)).unwrap();
        assert_eq!(recording.quality.of("imu0").unwrap().samples, 3);
        assert_eq!(recording.quality.of("baro").unwrap().samples, 0);
    }

    #[test]
    fn a_format_that_changes_after_its_subscription_changes_nothing() {
        let mut bytes = odd(LAYOUT, &[0; 24]);
        let at = bytes.len() - 3 * 37;
        let mut change = Vec::new();
        message(&mut change, b'F', b"sensor_combined:uint64_t timestamp;");
        bytes.splice(at..at, change);
        assert_eq!(parse("x", "x", &bytes).unwrap().quality.of("imu0").unwrap().samples, 3);
    }

    #[test]
    fn a_topic_without_its_field_is_an_error_with_the_known_ones() {
        let mut out = MAGIC.to_vec();
        out.extend([1, 0, 0, 0, 0, 0, 0, 0, 0]);
        message(&mut out, b'F', b"sensor_combined:uint64_t timestamp;float[3] gyro_rad;");
        message(&mut out, b'A', b"\0\x05\0sensor_combined");
        let error = parse("x", "x", &out).unwrap_err();
        assert!(matches!(error, RecordingError::MissingField { field, .. } if field == "accelerometer_m_s2"));
    }
}
