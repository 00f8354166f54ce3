//! What the pack says on the bus: the machine's figures and the anomalies in them.
//!
//! Shares are parts of one, `0..=1`; rates are means since the stream's previous packet. Every packet of the service carries
//! `measured_at` on the clock domain `os` (Unix time of the node's clock when the kernel was asked).

use csf_core::Message;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the processors' time went. `busy + iowait + steal + idle = 1`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cpu {
    /// Share spent working: `user_share + system_share`.
    pub busy_share: f64,
    /// Share spent in programs, niced ones and guests included.
    pub user_share: f64,
    /// Share spent in the kernel, interrupts included.
    pub system_share: f64,
    /// Share idle while a disk request was pending; the kernel calls its own figure unreliable.
    pub iowait_share: f64,
    /// Share taken by the hypervisor for other machines.
    pub steal_share: f64,
    /// Busy share of each processor that is on line, by rising number.
    pub per_core_busy_share: Vec<f64>,
    /// Tasks running or in uninterruptible sleep, mean over 1 min.
    pub load_1m: f64,
    /// The same over 5 min.
    pub load_5m: f64,
    /// The same over 15 min.
    pub load_15m: f64,
    /// Context switches, all processors.
    pub context_switches_per_s: f64,
    /// Hardware interrupts served, all processors.
    pub interrupts_per_s: f64,
}

/// What memory is used for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Memory the kernel manages.
    pub total_bytes: u64,
    /// Kernel's estimate of what programs can still get without swapping.
    pub available_bytes: u64,
    /// `1 - available / total`.
    pub used_share: f64,
    /// Page cache, buffers included.
    pub cached_bytes: u64,
    /// Swap space in use; 0 without swap.
    pub swap_used_bytes: u64,
    /// Waiting to be written to disk.
    pub dirty_bytes: u64,
    /// Page faults, those that needed no disk included.
    pub page_faults_per_s: f64,
    /// Page faults that had to read the disk.
    pub major_faults_per_s: f64,
    /// Read from swap, in bytes.
    pub swap_in_bytes_per_s: f64,
    /// Written to swap, in bytes.
    pub swap_out_bytes_per_s: f64,
}

/// The disk under one path (by default `/`) and the file system on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Disk {
    /// Kernel name of the device, or several joined by `+` when the file system does not lie on one block device: then every whole
    /// disk of the machine is counted.
    pub device: String,
    /// Read from the device.
    pub read_bytes_per_s: f64,
    /// Written to the device.
    pub write_bytes_per_s: f64,
    /// Read requests completed.
    pub reads_per_s: f64,
    /// Write requests completed.
    pub writes_per_s: f64,
    /// Share of the time with a request in flight; of the busiest where there are several devices.
    pub busy_share: f64,
    /// Size of the file system.
    pub filesystem_total_bytes: u64,
    /// What an ordinary user may still write.
    pub filesystem_free_bytes: u64,
}

/// All network interfaces of this network namespace together, loopback and virtual ones included: a packet that crosses a bridge
/// counts on each of its interfaces.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Network {
    /// Received, loopback included.
    pub received_bytes_per_s: f64,
    /// Sent, loopback included.
    pub sent_bytes_per_s: f64,
    /// Packets received, loopback included.
    pub received_packets_per_s: f64,
    /// Packets sent, loopback included.
    pub sent_packets_per_s: f64,
    /// Errors of both directions.
    pub errors_per_s: f64,
    /// Packets dropped in both directions.
    pub dropped_per_s: f64,
    /// The part of `received_bytes_per_s` that came over loopback.
    pub loopback_bytes_per_s: f64,
    /// Number of interfaces counted.
    pub interfaces: u32,
}

/// Pressure-stall information: how much time tasks lost waiting. `some` = at least one task waited, `full` = all of them did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Kernel's mean over 10 s: a task waited for a processor.
    pub cpu_some_share: f64,
    /// Mean over 10 s: a task waited for memory.
    pub memory_some_share: f64,
    /// Mean over 10 s: all tasks waited for memory.
    pub memory_full_share: f64,
    /// Mean over 10 s: a task waited for a disk.
    pub io_some_share: f64,
    /// Mean over 10 s: all tasks waited for a disk.
    pub io_full_share: f64,
    /// Since the previous packet, from the kernel's running total: a task waited for a processor.
    pub cpu_some_share_now: f64,
    /// Since the previous packet: a task waited for memory.
    pub memory_some_share_now: f64,
    /// Since the previous packet: all tasks waited for memory.
    pub memory_full_share_now: f64,
    /// Since the previous packet: a task waited for a disk.
    pub io_some_share_now: f64,
    /// Since the previous packet: all tasks waited for a disk.
    pub io_full_share_now: f64,
}

/// This process, `csf` itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Process {
    /// Processor time used per second of real time: 1 is one processor. Counted in steps of 10 ms.
    pub cpu_share: f64,
    /// Of that, in the kernel.
    pub system_share: f64,
    /// Memory present in RAM.
    pub resident_bytes: u64,
    /// Largest `resident_bytes` so far.
    pub resident_peak_bytes: u64,
    /// Threads.
    pub threads: u32,
    /// Open file descriptors.
    pub open_files: u32,
    /// Times a thread gave its processor up to wait, over the threads alive at both packets (at most 512).
    pub voluntary_switches_per_s: f64,
    /// Times a thread lost its processor to another, over the same threads.
    pub involuntary_switches_per_s: f64,
    /// Page faults that had to read the disk.
    pub major_faults_per_s: f64,
}

/// The node's clock against the operating system's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// What the node's clock reads: `tsc` (the processor's calibrated counter) or `os`.
    pub source: String,
    /// Fitted frequency of the counter, hertz; none without one.
    pub tsc_hz: Option<f64>,
    /// Node's clock minus the system's boot clock, as far as it changed since the service began, ns; read between two reads of the other.
    pub tsc_minus_os_ns: i64,
    /// Width of that sandwich, ns: `tsc_minus_os_ns` is known to half of it.
    pub sandwich_ns: u64,
    /// How far a clock calibrated and disciplined as the node's may be from the system's, ns.
    pub uncertainty_ns: f64,
    /// How wrong its fitted rate may be, parts per million.
    pub uncertainty_ppm: f64,
    /// Wall clock minus boot clock, as far as it changed since the service began, ns: steps and slews, which the node's clock does not follow.
    pub wall_offset_ns: i64,
    /// Change of `wall_offset_ns` since the previous packet, ns.
    pub wall_step_ns: i64,
}

/// On which side of the expectation a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// More than expected.
    Above,
    /// Less than expected.
    Below,
}

/// How far out a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Outside the chart.
    Warning,
    /// Outside by at least four times the width of the chart.
    Critical,
}

/// Whether an anomaly begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnomalyPhase {
    /// It begins.
    Raised,
    /// It ends: the field went back, or its new level has become the expectation.
    Cleared,
}

/// A field of a machine's stream left its control chart, or came back to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Anomaly {
    /// Topic of the stream.
    pub stream: String,
    /// Field of its message.
    pub field: String,
    /// Begin or end.
    pub phase: AnomalyPhase,
    /// Warning or critical; a cleared one repeats how it was raised.
    pub severity: Severity,
    /// Side on which it left; a cleared one repeats it.
    pub direction: Direction,
    /// The field's value now, in its own unit.
    pub value: f64,
    /// What the chart expected, in the same unit.
    pub expected: f64,
    /// `value - expected`.
    pub deviation: f64,
    /// `deviation` in standard deviations of one sample.
    pub deviation_sigmas: f64,
    /// Seconds since it was raised; 0 in the raising packet.
    pub lasted_s: f64,
    /// Excursions of this field since its previous raise that the rate limit kept quiet.
    pub muted: u32,
}

macro_rules! message {
    ($($type:ty = $name:literal),* $(,)?) => {$(
        impl Message for $type {
            const NAME: &'static str = $name;
            const VERSION: u16 = 1;
        }
    )*};
}

message! {
    Cpu = "host.cpu",
    Memory = "host.memory",
    Disk = "host.disk",
    Network = "host.network",
    Pressure = "host.pressure",
    Process = "host.process",
    Clock = "host.clock",
    Anomaly = "host.anomaly",
}
