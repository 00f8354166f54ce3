//! The service `host.telemetry`: this machine's figures as streams of different rates, until the node stops.
//!
//! The shell around [`crate::sampler`] and [`crate::clock`]: it paces, publishes and reports. What the kernel does not have is
//! reported once and its stream left out; what fails for a while is reported once and tried again; a packet that finds no room is
//! dropped and counted, because the next figure is worth more than the last.

use std::collections::BTreeSet;
use std::path::PathBuf;

use csf_bus::Publisher;
use csf_core::{Attributes, ClockDomain, MeasuredAt, Message, TimeError};
use csf_runtime::{BoxFuture, Options, Service, ServiceContext, ServiceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::ClockProbe;
use crate::message::{Clock, Cpu, Disk, Memory, Network, Pressure, Process};
use crate::sampler::{DiskChoice, SampleError, Sampler};
use crate::schedule::Schedule;
use crate::simulated::SimulatedProc;
use crate::source::{ProcFiles, ProcSource};

/// Slowest and fastest rate of a stream, hertz. The kernel counts processor time in steps of 10 ms: faster says nothing new.
const RATE_HZ: std::ops::RangeInclusive<f64> = 0.1..=100.0;

/// Options of `host.telemetry`. A stream whose port is not in `writes` is not read at all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// Where the proc file system is mounted, such as `/host/proc` in a container.
    pub proc_root: PathBuf,
    /// A path on the file system and disk to watch, such as the journal's directory.
    pub disk_path: PathBuf,
    /// Kernel name of the disk, such as `nvme0n1`; found by `disk_path` when absent.
    pub disk_device: Option<String>,
    /// Rate of `cpu`, hertz, 0.1..=100.
    pub cpu_hz: f64,
    /// Rate of `memory`, hertz, 0.1..=100.
    pub memory_hz: f64,
    /// Rate of `disk`, hertz, 0.1..=100.
    pub disk_hz: f64,
    /// Rate of `network`, hertz, 0.1..=100.
    pub network_hz: f64,
    /// Rate of `pressure`, hertz, 0.1..=100.
    pub pressure_hz: f64,
    /// Rate of `process`, hertz, 0.1..=100.
    pub process_hz: f64,
    /// Rate of `clock`, hertz, 0.1..=100.
    pub clock_hz: f64,
}

impl Default for TelemetryOptions {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            disk_path: PathBuf::from("/"),
            disk_device: None,
            cpu_hz: 5.0,
            memory_hz: 2.0,
            disk_hz: 2.0,
            network_hz: 2.0,
            pressure_hz: 1.0,
            process_hz: 2.0,
            clock_hz: 1.0,
        }
    }
}

impl TelemetryOptions {
    fn rates(&self) -> [(Stream, &'static str, f64); 7] {
        [
            (Stream::Cpu, "cpu_hz", self.cpu_hz),
            (Stream::Memory, "memory_hz", self.memory_hz),
            (Stream::Disk, "disk_hz", self.disk_hz),
            (Stream::Network, "network_hz", self.network_hz),
            (Stream::Pressure, "pressure_hz", self.pressure_hz),
            (Stream::Process, "process_hz", self.process_hz),
            (Stream::Clock, "clock_hz", self.clock_hz),
        ]
    }
}

impl Options for TelemetryOptions {
    fn validate(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (_, name, hz) in self.rates() {
            if !RATE_HZ.contains(&hz) {
                problems.push(format!("`{name}` = {hz} is outside {}..={} Hz", RATE_HZ.start(), RATE_HZ.end()));
            }
        }
        for (name, path) in [("proc_root", &self.proc_root), ("disk_path", &self.disk_path)] {
            if !path.is_absolute() {
                problems.push(format!("`{name}` = \"{}\" is no absolute path", path.display()));
            }
        }
        problems
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Cpu,
    Memory,
    Disk,
    Network,
    Pressure,
    Process,
    Clock,
}

/// The service.
#[derive(Debug)]
pub struct Telemetry {
    options: TelemetryOptions,
    is_simulated: bool,
}

impl Telemetry {
    /// A service over the machine's own proc file system.
    #[must_use]
    pub fn new(options: &TelemetryOptions) -> Self {
        Self { options: options.clone(), is_simulated: false }
    }

    /// A service over a simulated machine: its streams say `simulated` where they name a source.
    #[must_use]
    pub fn simulated(options: &TelemetryOptions) -> Self {
        Self { options: options.clone(), is_simulated: true }
    }
}

impl Service for Telemetry {
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(run(*self, cx))
    }
}

async fn run(telemetry: Telemetry, mut cx: ServiceContext) -> Result<(), ServiceError> {
    let Telemetry { options, is_simulated } = telemetry;
    let source: Box<dyn ProcSource> =
        if is_simulated { Box::new(SimulatedProc::default()) } else { Box::new(ProcFiles::new(&options.proc_root)) };
    let disk = DiskChoice { path: options.disk_path.clone(), device: options.disk_device.clone() };
    let outputs = Outputs::open(&cx)?;
    let rates = options.rates().map(|(stream, _, hz)| (stream, hz));
    let wired: Vec<(Stream, f64)> = rates.into_iter().filter(|(stream, _)| outputs.is_wired(*stream)).collect();
    let now_ns = cx.now().as_nanos();
    let schedule = Schedule::new(now_ns, wired.iter().copied());
    let sampler = Sampler::new(source, disk);
    let mut station = Station { sampler, probe: None, is_simulated, outputs, schedule, failing: BTreeSet::new() };
    // The first sample of a stream is the base of its first rates; the clocks are compared from now on.
    for (stream, _) in wired {
        station.take(stream, now_ns, &cx);
    }
    while let Some(due_ns) = station.schedule.next_due_ns() {
        if !cx.pause(due_ns.saturating_sub(cx.now().as_nanos())).await {
            return Ok(());
        }
        while let Some(stream) = station.schedule.take_due(cx.now().as_nanos().max(due_ns)) {
            station.take(stream, cx.now().as_nanos(), &cx);
        }
    }
    tracing::warn!(service = cx.name(), "no stream of this machine is left to publish");
    cx.stopping().await;
    Ok(())
}

/// Samples and publishes.
struct Station {
    sampler: Sampler,
    probe: Option<ClockProbe>,
    is_simulated: bool,
    outputs: Outputs,
    schedule: Schedule<Stream>,
    /// Streams whose failure has been reported.
    failing: BTreeSet<Stream>,
}

impl Station {
    fn take(&mut self, stream: Stream, now_ns: u64, cx: &ServiceContext) {
        match self.sample(stream, now_ns, cx) {
            Ok(()) => {
                if self.failing.remove(&stream) {
                    tracing::info!(service = cx.name(), ?stream, "can be read again");
                }
            }
            Err(Failure::Sample(error)) if error.is_final() => {
                tracing::warn!(service = cx.name(), ?stream, %error, "left out on this machine");
                self.schedule.remove(stream);
            }
            Err(error) => {
                if self.failing.insert(stream) {
                    tracing::warn!(service = cx.name(), ?stream, %error, "skipped until it can be read again");
                }
            }
        }
    }

    fn sample(&mut self, stream: Stream, now_ns: u64, cx: &ServiceContext) -> Result<(), Failure> {
        match stream {
            Stream::Cpu => self.outputs.cpu.offer(self.sampler.cpu(now_ns)?, now_ns),
            Stream::Memory => self.outputs.memory.offer(self.sampler.memory(now_ns)?, now_ns),
            Stream::Disk => self.outputs.disk.offer(self.sampler.disk(now_ns)?, now_ns),
            Stream::Network => self.outputs.network.offer(self.sampler.network(now_ns)?, now_ns),
            Stream::Pressure => self.outputs.pressure.offer(self.sampler.pressure(now_ns)?, now_ns),
            Stream::Process => self.outputs.process.offer(self.sampler.process(now_ns)?, now_ns),
            // Nothing to compare: a simulated world has one clock.
            Stream::Clock if self.is_simulated => {
                let clock = Clock { source: "simulated".to_owned(), ..Clock::default() };
                self.outputs.clock.offer(Some(clock), now_ns);
            }
            Stream::Clock => {
                let probe = match &mut self.probe {
                    Some(probe) => probe,
                    none => none.insert(ClockProbe::new(cx.clock())?),
                };
                self.outputs.clock.offer(Some(probe.compare()?), now_ns);
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Sample(#[from] SampleError),
    #[error(transparent)]
    Clock(#[from] TimeError),
}

/// The seven ports.
struct Outputs {
    cpu: Output<Cpu>,
    memory: Output<Memory>,
    disk: Output<Disk>,
    network: Output<Network>,
    pressure: Output<Pressure>,
    process: Output<Process>,
    clock: Output<Clock>,
}

impl Outputs {
    fn open(cx: &ServiceContext) -> Result<Self, ServiceError> {
        Ok(Self {
            cpu: Output::open(cx, "cpu")?,
            memory: Output::open(cx, "memory")?,
            disk: Output::open(cx, "disk")?,
            network: Output::open(cx, "network")?,
            pressure: Output::open(cx, "pressure")?,
            process: Output::open(cx, "process")?,
            clock: Output::open(cx, "clock")?,
        })
    }

    fn is_wired(&self, stream: Stream) -> bool {
        match stream {
            Stream::Cpu => self.cpu.publisher.is_some(),
            Stream::Memory => self.memory.publisher.is_some(),
            Stream::Disk => self.disk.publisher.is_some(),
            Stream::Network => self.network.publisher.is_some(),
            Stream::Pressure => self.pressure.publisher.is_some(),
            Stream::Process => self.process.publisher.is_some(),
            Stream::Clock => self.clock.publisher.is_some(),
        }
    }
}

struct Output<T> {
    publisher: Option<Publisher<T>>,
    dropped: u64,
}

impl<T: Message> Output<T> {
    fn open(cx: &ServiceContext, port: &str) -> Result<Self, ServiceError> {
        Ok(Self { publisher: cx.publisher(port)?, dropped: 0 })
    }

    fn offer(&mut self, value: Option<T>, now_ns: u64) {
        let (Some(publisher), Some(value)) = (&mut self.publisher, value) else { return };
        let attributes = Attributes::default().with_measured_at(MeasuredAt::new(ClockDomain::OS, now_ns));
        if let Err(error) = publisher.try_publish(value, attributes) {
            self.dropped += 1;
            // 1, 2, 4, 8 …: a reader that stands still does not fill the log.
            if self.dropped.is_power_of_two() {
                tracing::warn!(message = T::NAME, dropped = self.dropped, %error, "figures dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_works_when_absent() {
        let options: TelemetryOptions = serde_json::from_str("{}").unwrap();
        assert_eq!(options, TelemetryOptions::default());
        assert!(options.validate().is_empty());
    }

    #[test]
    fn all_bad_options_are_named_at_once() {
        let options = TelemetryOptions {
            cpu_hz: 0.0,
            disk_hz: 101.0,
            clock_hz: f64::NAN,
            proc_root: "proc".into(),
            ..TelemetryOptions::default()
        };
        let problems = options.validate();
        assert_eq!(problems.len(), 4);
        for name in ["cpu_hz", "disk_hz", "clock_hz", "proc_root"] {
            assert!(problems.iter().any(|p| p.contains(name)), "{name} is not in {problems:?}");
        }
    }

    #[test]
    fn unknown_options_are_refused() {
        assert!(serde_json::from_str::<TelemetryOptions>(r#"{"gpu_hz": 1}"#).is_err());
    }
}
