//! The machine's figures from two samples of the kernel's counters: pure functions, one per stream.
//!
//! Invariant: every figure is finite; shares lie in `0..=1`, rates are not negative, whatever the samples hold.

use std::collections::BTreeMap;

use crate::message::{Cpu, Disk, Memory, Network, Pressure, Process};
use crate::proc::diskstats::{DiskCounters, SECTOR_BYTES};
use crate::proc::loadavg::LoadSample;
use crate::proc::meminfo::MemorySample;
use crate::proc::net_dev::InterfaceCounters;
use crate::proc::pressure::{ResourcePressure, Stall};
use crate::proc::process::{ProcessStatus, ProcessTimes, TaskSwitches};
use crate::proc::stat::{CpuTicks, StatSample};
use crate::proc::vmstat::VmSample;
use crate::rate::{growth, growth_32, per_second, share};
use crate::source::Filesystem;

/// The kernel's ticks in files, whatever its own rate: USER_HZ is 100 on every architecture the product runs on.
const TICKS_PER_S: f64 = 100.0;
/// Swap counters are in pages; 4 KiB on the architectures the product runs on.
const PAGE_BYTES: f64 = 4096.0;

/// Shares of the time between two samples of the processors; `None` when no tick passed.
pub(crate) fn cpu(old: &StatSample, new: &StatSample, load: &LoadSample, seconds: f64) -> Option<Cpu> {
    let spent = Spent::between(&old.total, &new.total);
    if spent.total() == 0 {
        return None;
    }
    let before: BTreeMap<u32, &CpuTicks> = old.cores.iter().map(|(core, ticks)| (*core, ticks)).collect();
    let busy =
        |(core, ticks): &(u32, CpuTicks)| before.get(core).map_or(0.0, |b| Spent::between(b, ticks).busy_share());
    Some(Cpu {
        busy_share: spent.busy_share(),
        user_share: spent.share(spent.user),
        system_share: spent.share(spent.system),
        iowait_share: spent.share(spent.iowait),
        steal_share: spent.share(spent.steal),
        per_core_busy_share: new.cores.iter().map(busy).collect(),
        load_1m: load.one_min,
        load_5m: load.five_min,
        load_15m: load.fifteen_min,
        context_switches_per_s: per_second(old.context_switches, new.context_switches, seconds),
        interrupts_per_s: per_second(old.interrupts, new.interrupts, seconds),
    })
}

/// Ticks between two samples.
struct Spent {
    user: u64,
    system: u64,
    idle: u64,
    iowait: u64,
    steal: u64,
}

impl Spent {
    /// proc(5): idle and iowait may fall a little, so a falling one counts as standing still.
    fn between(old: &CpuTicks, new: &CpuTicks) -> Self {
        let sum = |of: [fn(&CpuTicks) -> u64; 3]| {
            of.iter().fold(0u64, |sum, get| sum.saturating_add(get(new).saturating_sub(get(old))))
        };
        Self {
            user: sum([|t| t.user, |t| t.nice, |_| 0]),
            system: sum([|t| t.system, |t| t.irq, |t| t.softirq]),
            idle: new.idle.saturating_sub(old.idle),
            iowait: new.iowait.saturating_sub(old.iowait),
            steal: new.steal.saturating_sub(old.steal),
        }
    }

    fn total(&self) -> u64 {
        [self.user, self.system, self.idle, self.iowait, self.steal].into_iter().fold(0, u64::saturating_add)
    }

    fn share(&self, part: u64) -> f64 {
        share(part as f64, self.total() as f64)
    }

    fn busy_share(&self) -> f64 {
        self.share(self.user.saturating_add(self.system))
    }
}

/// Levels of now, rates since `old`.
pub(crate) fn memory(old: &VmSample, new: &VmSample, now: &MemorySample, seconds: f64) -> Memory {
    Memory {
        total_bytes: now.total_bytes,
        available_bytes: now.available_bytes,
        used_share: share(now.total_bytes.saturating_sub(now.available_bytes) as f64, now.total_bytes as f64),
        cached_bytes: now.cached_bytes,
        swap_used_bytes: now.swap_used_bytes,
        dirty_bytes: now.dirty_bytes,
        page_faults_per_s: per_second(old.faults, new.faults, seconds),
        major_faults_per_s: per_second(old.major_faults, new.major_faults, seconds),
        swap_in_bytes_per_s: per_second(old.swap_in_pages, new.swap_in_pages, seconds) * PAGE_BYTES,
        swap_out_bytes_per_s: per_second(old.swap_out_pages, new.swap_out_pages, seconds) * PAGE_BYTES,
    }
}

/// Sums over the devices present in both samples; the busiest one's share.
pub(crate) fn disk(old: &[DiskCounters], new: &[DiskCounters], filesystem: Filesystem, seconds: f64) -> Disk {
    let mut disk = Disk {
        device: new.iter().map(|d| d.name.as_str()).collect::<Vec<_>>().join("+"),
        filesystem_total_bytes: filesystem.total_bytes,
        filesystem_free_bytes: filesystem.free_bytes,
        ..Disk::default()
    };
    for new in new {
        let Some(old) = old.iter().find(|o| o.name == new.name) else { continue };
        let sector = SECTOR_BYTES as f64;
        disk.read_bytes_per_s += per_second(old.read_sectors, new.read_sectors, seconds) * sector;
        disk.write_bytes_per_s += per_second(old.written_sectors, new.written_sectors, seconds) * sector;
        disk.reads_per_s += per_second(old.reads, new.reads, seconds);
        disk.writes_per_s += per_second(old.writes, new.writes, seconds);
        let busy_ms = growth_32(old.busy_ms, new.busy_ms) as f64;
        disk.busy_share = disk.busy_share.max(share(busy_ms, seconds * 1e3));
    }
    disk
}

/// Sums over the interfaces present in both samples.
pub(crate) fn network(old: &[InterfaceCounters], new: &[InterfaceCounters], seconds: f64) -> Network {
    let mut network = Network { interfaces: u32::try_from(new.len()).unwrap_or(u32::MAX), ..Network::default() };
    for new in new {
        let Some(old) = old.iter().find(|o| o.name == new.name) else { continue };
        let received = per_second(old.received_bytes, new.received_bytes, seconds);
        network.received_bytes_per_s += received;
        network.sent_bytes_per_s += per_second(old.sent_bytes, new.sent_bytes, seconds);
        network.received_packets_per_s += per_second(old.received_packets, new.received_packets, seconds);
        network.sent_packets_per_s += per_second(old.sent_packets, new.sent_packets, seconds);
        network.errors_per_s += per_second(old.errors, new.errors, seconds);
        network.dropped_per_s += per_second(old.dropped, new.dropped, seconds);
        if new.name == "lo" {
            network.loopback_bytes_per_s += received;
        }
    }
    network
}

/// The kernel's means, and what its totals say about the time since `old`; in the order processor, memory, disk.
pub(crate) fn pressure(old: &[ResourcePressure; 3], new: &[ResourcePressure; 3], seconds: f64) -> Pressure {
    let now = |old: Stall, new: Stall| share(growth(old.total_us, new.total_us) as f64, seconds * 1e6);
    let [cpu, memory, io] = new;
    Pressure {
        cpu_some_share: cpu.some.share_10s,
        memory_some_share: memory.some.share_10s,
        memory_full_share: memory.full.share_10s,
        io_some_share: io.some.share_10s,
        io_full_share: io.full.share_10s,
        cpu_some_share_now: now(old[0].some, cpu.some),
        memory_some_share_now: now(old[1].some, memory.some),
        memory_full_share_now: now(old[1].full, memory.full),
        io_some_share_now: now(old[2].some, io.some),
        io_full_share_now: now(old[2].full, io.full),
    }
}

/// One reading of this process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessSample {
    pub(crate) times: ProcessTimes,
    pub(crate) status: ProcessStatus,
    pub(crate) open_files: u32,
    /// Per thread.
    pub(crate) switches: BTreeMap<u32, TaskSwitches>,
}

/// Levels of now, rates since `old`.
pub(crate) fn process(old: &ProcessSample, new: &ProcessSample, seconds: f64) -> Process {
    let ticks = |get: fn(&ProcessTimes) -> u64| per_second(get(&old.times), get(&new.times), seconds) / TICKS_PER_S;
    let system_share = ticks(|t| t.system_ticks);
    let switches = |get: fn(&TaskSwitches) -> u64| {
        let both = new.switches.iter().filter_map(|(id, new)| Some((old.switches.get(id)?, new)));
        both.map(|(old, new)| per_second(get(old), get(new), seconds)).sum()
    };
    Process {
        cpu_share: ticks(|t| t.user_ticks) + system_share,
        system_share,
        resident_bytes: new.status.resident_bytes,
        resident_peak_bytes: new.status.resident_peak_bytes,
        threads: u32::try_from(new.status.threads).unwrap_or(u32::MAX),
        open_files: new.open_files,
        voluntary_switches_per_s: switches(|t| t.voluntary),
        involuntary_switches_per_s: switches(|t| t.involuntary),
        major_faults_per_s: per_second(old.times.major_faults, new.times.major_faults, seconds),
    }
}

#[cfg(test)]
mod tests;
