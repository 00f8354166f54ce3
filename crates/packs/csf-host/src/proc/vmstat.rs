//! `/proc/vmstat`: page faults and swapping since boot.

use super::{ProcError, lookup, required};

const FILE: &str = "vmstat";
const KEYS: [&str; 4] = ["pgfault", "pgmajfault", "pswpin", "pswpout"];

/// One reading of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmSample {
    /// Page faults.
    pub faults: u64,
    /// Those that read the disk.
    pub major_faults: u64,
    /// Pages read from swap; 0 on a kernel without swap.
    pub swap_in_pages: u64,
    /// Pages written to swap; 0 on a kernel without swap.
    pub swap_out_pages: u64,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<VmSample, ProcError> {
    let [faults, major, swap_in, swap_out] = lookup(FILE, text, KEYS)?;
    Ok(VmSample {
        faults: required(FILE, text, KEYS[0], faults)?,
        major_faults: required(FILE, text, KEYS[1], major)?,
        swap_in_pages: swap_in.unwrap_or(0),
        swap_out_pages: swap_out.unwrap_or(0),
    })
}
