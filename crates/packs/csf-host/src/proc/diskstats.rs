//! `/proc/diskstats`: requests per block device since boot. Reference: Documentation/admin-guide/iostats.rst.

use super::{Line, ProcError, lines};

const FILE: &str = "diskstats";

/// A sector in this file is 512 bytes, whatever the device's own.
pub const SECTOR_BYTES: u64 = 512;

/// Counters of one device or partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskCounters {
    /// Device number, major part.
    pub major: u32,
    /// Device number, minor part.
    pub minor: u32,
    /// Kernel name, such as `vda` or `nvme0n1p2`.
    pub name: String,
    /// Reads completed.
    pub reads: u64,
    /// Sectors read.
    pub read_sectors: u64,
    /// Writes completed.
    pub writes: u64,
    /// Sectors written.
    pub written_sectors: u64,
    /// Milliseconds with a request in flight; a 32-bit counter.
    pub busy_ms: u64,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<Vec<DiskCounters>, ProcError> {
    lines(text).map(|(number, text)| counters(Line::new(FILE, number, text))).collect()
}

fn counters(mut line: Line<'_>) -> Result<DiskCounters, ProcError> {
    let (major, minor) = (line.number("major")?, line.number("minor")?);
    let name = line.word("name")?.to_owned();
    let reads = line.number("reads completed")?;
    line.skip(1);
    let read_sectors = line.number("sectors read")?;
    line.skip(1);
    let writes = line.number("writes completed")?;
    line.skip(1);
    let written_sectors = line.number("sectors written")?;
    line.skip(2);
    let busy_ms = line.number("ms doing I/O")?;
    Ok(DiskCounters { major, minor, name, reads, read_sectors, writes, written_sectors, busy_ms })
}

/// The devices that are disks of their own: no partitions, and no memory, loop, mapped or raid devices, whose traffic appears on
/// the disks beneath.
#[must_use]
pub fn whole_disks(devices: &[DiskCounters]) -> Vec<&DiskCounters> {
    const LAYERED: [&str; 8] = ["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd"];
    let is_layered = |name: &str| LAYERED.iter().any(|prefix| name.starts_with(prefix));
    devices.iter().filter(|d| !is_layered(&d.name) && !devices.iter().any(|o| is_partition(&d.name, &o.name))).collect()
}

/// `sda1` is a part of `sda`, `nvme0n1p2` of `nvme0n1`.
fn is_partition(name: &str, disk: &str) -> bool {
    let Some(rest) = name.strip_prefix(disk) else { return false };
    let rest = if disk.ends_with(|c: char| c.is_ascii_digit()) { rest.strip_prefix('p').unwrap_or("") } else { rest };
    !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())
}
