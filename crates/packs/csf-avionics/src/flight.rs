//! The flight source: plays a recording onto the bus, each sample with the time at which it was measured.
//!
//! Its position is what the journal holds of it: on a continued journal it goes on with the first sample that was not recorded.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use csf_bus::Publisher;
use csf_core::{Attributes, ClockDomain, MeasuredAt, Message};
use csf_runtime::{BoxFuture, Options, Service, ServiceContext, ServiceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::evaluate::{FixOptions, events_with_fixes};
use crate::recording::{
    AhrsSample, BaroSample, Damage, GnssFix, ImuSample, LandDetected, MagSample, PeerState, Place, Recording,
    RecordingError, Sample, SourceKind, Timed,
};

/// Samples between two progress reports.
const REPORT_EVERY: usize = 32;

/// Options of `avionics.flight`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FlightOptions {
    /// The recording: a PX4 `*.ulg` or an ANSFL `*_GT.csv.gz`.
    pub path: PathBuf,
    /// Pace, times real time; 0 = as fast as it goes.
    pub speed: f64,
    /// 1 σ per axis of the fixes made from RTK, metres (ANSFL only).
    pub fix_sigma_m: f64,
    /// Seed of their noise (ANSFL only).
    pub seed: u64,
    /// Seconds played; 0 = all of it.
    pub duration_s: f64,
    /// Read once for all instances that these options make: a restart does not read it again.
    #[serde(skip)]
    read: Read,
}

impl Default for FlightOptions {
    fn default() -> Self {
        Self { path: PathBuf::new(), speed: 1.0, fix_sigma_m: 1.5, seed: 1, duration_s: 0.0, read: Read::default() }
    }
}

impl Options for FlightOptions {
    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value, most) in [
            ("speed", self.speed, 10_000.0),
            ("fix_sigma_m", self.fix_sigma_m, 1000.0),
            ("duration_s", self.duration_s, 1e6),
        ] {
            if !(0.0..=most).contains(&value) {
                problems.push(format!("`{name}` = {value} is outside 0..={most}"));
            }
        }
        problems
    }
}

/// The recording, once it was read. Not a part of what options are equal by.
#[derive(Clone, Debug, Default)]
struct Read(Arc<OnceLock<Arc<Script>>>);

impl PartialEq for Read {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

/// What is played.
#[derive(Debug)]
struct Script {
    events: Vec<Timed>,
    start_ns: u64,
    source: SourceKind,
    damage: Option<Damage>,
}

impl FlightOptions {
    fn script(&self) -> Result<Arc<Script>, RecordingError> {
        if let Some(script) = self.read.0.get() {
            return Ok(script.clone());
        }
        let mut recording = Recording::open(&self.path)?;
        let fixes = FixOptions { sigma_m: self.fix_sigma_m, seed: self.seed, ..FixOptions::default() };
        let events = events_with_fixes(&recording, &fixes);
        let damage = recording.damage.take();
        let script = Script { events, start_ns: recording.start_ns(), source: recording.source, damage };
        Ok(self.read.0.get_or_init(|| Arc::new(script)).clone())
    }
}

/// The service.
pub struct Flight {
    options: FlightOptions,
}

impl Flight {
    /// A player with these options.
    #[must_use]
    pub fn new(options: &FlightOptions) -> Self {
        Self { options: options.clone() }
    }
}

impl Service for Flight {
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(play(self.options, cx))
    }
}

async fn play(options: FlightOptions, mut cx: ServiceContext) -> Result<(), ServiceError> {
    let reading = options.clone();
    let script = match cx.blocking(move || reading.script()).await {
        Some(Ok(script)) => script,
        Some(Err(error)) => return Err(ServiceError::Failed { code: code(&error), message: error.to_string() }),
        None => {
            let message = format!("reading {} panicked", options.path.display());
            return Err(ServiceError::Failed { code: "CSF-0401", message });
        }
    };
    let clock = ClockDomain::intern(clock_domain(script.source))
        .map_err(|e| ServiceError::Failed { code: "CSF-0401", message: e.to_string() })?;
    let mut lanes = Lanes::open(&cx, clock)?;
    let until = match options.duration_s {
        0.0 => u64::MAX,
        seconds => script.start_ns.saturating_add((seconds * 1e9) as u64),
    };
    let total = script.events.len().max(1);
    let mut began: Option<(u64, u64)> = None;
    for (index, event) in script.events.iter().enumerate() {
        if event.at_ns > until {
            break;
        }
        if lanes.was_recorded(&event.sample) {
            continue;
        }
        let (wall, first) = *began.get_or_insert((cx.now().0, event.at_ns));
        if options.speed > 0.0 {
            let due = wall.saturating_add(((event.at_ns - first) as f64 / options.speed) as u64);
            let now = cx.now().0;
            if due > now && !cx.pause(due - now).await {
                return Ok(());
            }
        }
        if cx.is_stopping() {
            return Ok(());
        }
        lanes.publish(event.sample.clone()).await?;
        if index % REPORT_EVERY == 0 {
            cx.progress(index as f64 / total as f64);
        }
    }
    cx.progress(1.0);
    match &script.damage {
        None => Ok(()),
        Some(damage) => {
            let (code, place) = match damage.place {
                Place::Byte(byte) => ("CSF-0402", format!("byte {byte}")),
                Place::Line(line, 0) => ("CSF-0403", format!("line {line}")),
                Place::Line(line, column) => ("CSF-0403", format!("line {line}, column {column}")),
            };
            let message = format!(
                "{} is damaged at {place}: expected {}, found {}; what came before it was flown",
                damage.file, damage.expected, damage.found
            );
            Err(ServiceError::Failed { code, message })
        }
    }
}

/// Name of the recording's clock.
fn clock_domain(source: SourceKind) -> &'static str {
    match source {
        SourceKind::Px4Ulog => "px4",
        SourceKind::Ansfl => "ansfl",
        SourceKind::Simulated => "simulated",
    }
}

/// The page that explains why a recording cannot be opened.
fn code(error: &RecordingError) -> &'static str {
    match error {
        RecordingError::MissingColumn { .. } | RecordingError::MissingField { .. } => "CSF-0404",
        _ => "CSF-0401",
    }
}

/// One output with the samples it may leave out because they are in the journal.
struct Lane<T> {
    publisher: Option<Publisher<T>>,
    skip: u64,
}

impl<T: Message> Lane<T> {
    fn open(cx: &ServiceContext, port: &str) -> Result<Self, ServiceError> {
        Ok(Self { publisher: cx.publisher::<T>(port)?, skip: cx.recorded(port) })
    }

    fn was_recorded(&mut self) -> bool {
        let skips = self.skip > 0;
        self.skip -= u64::from(skips);
        skips
    }

    async fn publish(&mut self, clock: ClockDomain, ns: u64, sample: T) -> Result<(), ServiceError> {
        if let Some(publisher) = &mut self.publisher {
            let attributes = Attributes::default().with_measured_at(MeasuredAt::new(clock, ns));
            publisher.publish(sample, attributes).await?;
        }
        Ok(())
    }
}

struct Lanes {
    clock: ClockDomain,
    imu: Lane<ImuSample>,
    gnss: Lane<GnssFix>,
    mag: Lane<MagSample>,
    baro: Lane<BaroSample>,
    ahrs: Lane<AhrsSample>,
    peer: Lane<PeerState>,
    land: Lane<LandDetected>,
}

impl Lanes {
    fn open(cx: &ServiceContext, clock: ClockDomain) -> Result<Self, ServiceError> {
        Ok(Self {
            clock,
            imu: Lane::open(cx, "imu")?,
            gnss: Lane::open(cx, "gnss")?,
            mag: Lane::open(cx, "mag")?,
            baro: Lane::open(cx, "baro")?,
            ahrs: Lane::open(cx, "ahrs")?,
            peer: Lane::open(cx, "peer")?,
            land: Lane::open(cx, "land")?,
        })
    }

    fn was_recorded(&mut self, sample: &Sample) -> bool {
        match sample {
            Sample::Imu(_) => self.imu.was_recorded(),
            Sample::Gnss(_) => self.gnss.was_recorded(),
            Sample::Mag(_) => self.mag.was_recorded(),
            Sample::Baro(_) => self.baro.was_recorded(),
            Sample::Ahrs(_) => self.ahrs.was_recorded(),
            Sample::Peer(_) => self.peer.was_recorded(),
            Sample::Land(_) => self.land.was_recorded(),
        }
    }

    async fn publish(&mut self, sample: Sample) -> Result<(), ServiceError> {
        let (clock, ns) = (self.clock, sample.measured_at_ns());
        match sample {
            Sample::Imu(s) => self.imu.publish(clock, ns, s).await,
            Sample::Gnss(s) => self.gnss.publish(clock, ns, s).await,
            Sample::Mag(s) => self.mag.publish(clock, ns, s).await,
            Sample::Baro(s) => self.baro.publish(clock, ns, s).await,
            Sample::Ahrs(s) => self.ahrs.publish(clock, ns, s).await,
            Sample::Peer(s) => self.peer.publish(clock, ns, s).await,
            Sample::Land(s) => self.land.publish(clock, ns, s).await,
        }
    }
}
