//! `/proc/meminfo`: what memory is used for. The file's `kB` are 1024 bytes.

use super::{ProcError, lookup, required};

const FILE: &str = "meminfo";
const KEYS: [&str; 7] = ["MemTotal", "MemAvailable", "Buffers", "Cached", "SwapTotal", "SwapFree", "Dirty"];

/// One reading of the file, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySample {
    /// Managed by the kernel.
    pub total_bytes: u64,
    /// To be had without swapping.
    pub available_bytes: u64,
    /// Page cache and buffers.
    pub cached_bytes: u64,
    /// Swap space in use.
    pub swap_used_bytes: u64,
    /// Waiting to be written.
    pub dirty_bytes: u64,
}

/// Parses the file. Kernels built without swap or block devices lack their lines, which then count as zero.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<MemorySample, ProcError> {
    let values = lookup(FILE, text, KEYS)?;
    let bytes = |kib: Option<u64>| kib.unwrap_or(0).saturating_mul(1024);
    let [total, available, buffers, cached, swap_total, swap_free, dirty] = values;
    Ok(MemorySample {
        total_bytes: bytes(Some(required(FILE, text, KEYS[0], total)?)),
        available_bytes: bytes(Some(required(FILE, text, KEYS[1], available)?)),
        cached_bytes: bytes(buffers).saturating_add(bytes(cached)),
        swap_used_bytes: bytes(swap_total).saturating_sub(bytes(swap_free)),
        dirty_bytes: bytes(dirty),
    })
}
