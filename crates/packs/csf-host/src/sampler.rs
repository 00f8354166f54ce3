//! Reads the machine stream by stream and remembers each stream's previous sample.
//!
//! Pure but for its [`ProcSource`]: time is handed in. Invariant: a reading covers the time since the stream's previous reading.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::figures::{self, ProcessSample};
use crate::message::{Cpu, Disk, Memory, Network, Pressure, Process};
use crate::proc::diskstats::DiskCounters;
use crate::proc::net_dev::InterfaceCounters;
use crate::proc::pressure::ResourcePressure;
use crate::proc::stat::StatSample;
use crate::proc::vmstat::VmSample;
use crate::proc::{self, ProcError};
use crate::source::ProcSource;

/// Most threads whose switches are counted.
const TASKS_MAX: usize = 512;

/// A stream could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SampleError {
    /// The kernel does not have it; asking again is useless.
    #[error("this kernel has no `{file}`: {source}")]
    Absent {
        /// The file, below the root of proc.
        file: String,
        #[source]
        source: io::Error,
    },
    /// It should be there but could not be read.
    #[error("`{file}` cannot be read: {source}")]
    Unreadable {
        /// The file, below the root of proc.
        file: String,
        #[source]
        source: io::Error,
    },
    /// Its content is not what the kernel documents.
    #[error(transparent)]
    Malformed(#[from] ProcError),
    /// The configured device is not there.
    #[error("no block device `{device}` in `diskstats`; set `disk_device` to one of its names or leave it out")]
    NoDevice {
        /// As configured or as mounted.
        device: String,
    },
}

impl SampleError {
    /// Whether the stream can be given up.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Absent { .. } | Self::NoDevice { .. })
    }

    fn of(file: &str, source: io::Error) -> Self {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied, Unsupported};
        let file = file.to_owned();
        match source.kind() {
            NotFound | NotADirectory | IsADirectory | PermissionDenied | Unsupported => Self::Absent { file, source },
            _ => Self::Unreadable { file, source },
        }
    }
}

type Sampled<T> = Result<Option<T>, SampleError>;

/// The previous sample of a stream and when it was taken.
#[derive(Debug)]
struct Base<S>(Option<(u64, S)>);

impl<S> Default for Base<S> {
    fn default() -> Self {
        Self(None)
    }
}

impl<S> Base<S> {
    /// Figures over the time since the previous sample, which `sample` replaces; `None` when there is none or nothing passed since.
    fn advance<T>(&mut self, now_ns: u64, sample: S, figures: impl FnOnce(&S, &S, f64) -> Option<T>) -> Option<T> {
        if let Some((at_ns, old)) = &self.0 {
            if now_ns <= *at_ns {
                return None;
            }
            let reading = figures(old, &sample, (now_ns - at_ns) as f64 / 1e9)?;
            self.0 = Some((now_ns, sample));
            return Some(reading);
        }
        self.0 = Some((now_ns, sample));
        None
    }
}

/// Which disk is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskChoice {
    /// A path on the file system.
    pub(crate) path: PathBuf,
    /// Kernel name of the device; found by the path when absent.
    pub(crate) device: Option<String>,
}

/// The machine as seen through a source.
pub(crate) struct Sampler {
    source: Box<dyn ProcSource>,
    disk: DiskChoice,
    text: String,
    cpu_base: Base<StatSample>,
    memory_base: Base<VmSample>,
    disk_base: Base<Vec<DiskCounters>>,
    network_base: Base<Vec<InterfaceCounters>>,
    pressure_base: Base<[ResourcePressure; 3]>,
    process_base: Base<ProcessSample>,
}

impl Sampler {
    pub(crate) fn new(source: Box<dyn ProcSource>, disk: DiskChoice) -> Self {
        Self {
            source,
            disk,
            text: String::new(),
            cpu_base: Base::default(),
            memory_base: Base::default(),
            disk_base: Base::default(),
            network_base: Base::default(),
            pressure_base: Base::default(),
            process_base: Base::default(),
        }
    }

    pub(crate) fn cpu(&mut self, now_ns: u64) -> Sampled<Cpu> {
        let stat = proc::stat::parse(self.read("stat")?)?;
        let load = proc::loadavg::parse(self.read("loadavg")?)?;
        Ok(self.cpu_base.advance(now_ns, stat, |old, new, seconds| figures::cpu(old, new, &load, seconds)))
    }

    pub(crate) fn memory(&mut self, now_ns: u64) -> Sampled<Memory> {
        let levels = proc::meminfo::parse(self.read("meminfo")?)?;
        let counters = proc::vmstat::parse(self.read("vmstat")?)?;
        let figures = |old: &_, new: &_, seconds| Some(figures::memory(old, new, &levels, seconds));
        Ok(self.memory_base.advance(now_ns, counters, figures))
    }

    pub(crate) fn disk(&mut self, now_ns: u64) -> Sampled<Disk> {
        let devices = proc::diskstats::parse(self.read("diskstats")?)?;
        let watched = self.watched(devices)?;
        let path = &self.disk.path;
        let space = self.source.filesystem(path).map_err(|e| SampleError::of(&path.to_string_lossy(), e))?;
        let figures = |old: &Vec<_>, new: &Vec<_>, seconds| Some(figures::disk(old, new, space, seconds));
        Ok(self.disk_base.advance(now_ns, watched, figures))
    }

    /// The configured device, or the one under the path, or every whole disk where the file system is on no one device.
    fn watched(&mut self, devices: Vec<DiskCounters>) -> Result<Vec<DiskCounters>, SampleError> {
        if let Some(name) = &self.disk.device {
            let found: Vec<_> = devices.into_iter().filter(|d| d.name == *name).collect();
            return if found.is_empty() { Err(SampleError::NoDevice { device: name.clone() }) } else { Ok(found) };
        }
        let mounts = proc::mountinfo::parse(self.read("self/mountinfo")?)?;
        if let Some(mount) = proc::mountinfo::under(&mounts, &self.disk.path) {
            let name = mount.source.strip_prefix("/dev/").unwrap_or_default();
            let is_it = |d: &&DiskCounters| (d.major, d.minor) == (mount.major, mount.minor) || d.name == name;
            if let Some(device) = devices.iter().find(is_it) {
                return Ok(vec![device.clone()]);
            }
        }
        let all: Vec<_> = proc::diskstats::whole_disks(&devices).into_iter().cloned().collect();
        if all.is_empty() { Err(SampleError::NoDevice { device: "of any kind".to_owned() }) } else { Ok(all) }
    }

    pub(crate) fn network(&mut self, now_ns: u64) -> Sampled<Network> {
        let interfaces = proc::net_dev::parse(self.read("net/dev")?)?;
        let figures = |old: &Vec<_>, new: &Vec<_>, seconds| Some(figures::network(old, new, seconds));
        Ok(self.network_base.advance(now_ns, interfaces, figures))
    }

    pub(crate) fn pressure(&mut self, now_ns: u64) -> Sampled<Pressure> {
        let mut resources = [ResourcePressure::default(); 3];
        for (resource, file) in resources.iter_mut().zip(proc::pressure::FILES) {
            *resource = proc::pressure::parse(file, self.read(file)?)?;
        }
        let figures = |old: &_, new: &_, seconds| Some(figures::pressure(old, new, seconds));
        Ok(self.pressure_base.advance(now_ns, resources, figures))
    }

    pub(crate) fn process(&mut self, now_ns: u64) -> Sampled<Process> {
        let times = proc::process::parse_stat(self.read("self/stat")?)?;
        let status = proc::process::parse_status(self.read("self/status")?)?;
        let open = self.source.list("self/fd").map_err(|e| SampleError::of("self/fd", e))?.len();
        let switches = self.task_switches()?;
        let sample = ProcessSample { times, status, open_files: u32::try_from(open).unwrap_or(u32::MAX), switches };
        let figures = |old: &_, new: &_, seconds| Some(figures::process(old, new, seconds));
        Ok(self.process_base.advance(now_ns, sample, figures))
    }

    fn task_switches(&mut self) -> Result<BTreeMap<u32, proc::process::TaskSwitches>, SampleError> {
        let names = self.source.list("self/task").map_err(|e| SampleError::of("self/task", e))?;
        let mut switches = BTreeMap::new();
        for id in names.iter().filter_map(|name| name.parse::<u32>().ok()).take(TASKS_MAX) {
            match self.read(&format!("self/task/{id}/status")) {
                Ok(text) => {
                    switches.insert(id, proc::process::parse_task(text)?);
                }
                // It ended since the directory was listed.
                Err(SampleError::Absent { .. } | SampleError::Unreadable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(switches)
    }

    fn read(&mut self, file: &str) -> Result<&str, SampleError> {
        self.source.read(file, &mut self.text).map_err(|e| SampleError::of(file, e))?;
        Ok(&self.text)
    }
}

#[cfg(test)]
mod tests;
