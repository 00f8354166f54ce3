//! `/proc/self/stat`, `/proc/self/status` and the status of each thread: this process.

use super::{Line, ProcError, lookup, required};

const STAT: &str = "self/stat";
const STATUS: &str = "self/status";
const TASK_STATUS: &str = "self/task/*/status";

/// From `/proc/self/stat`. Ticks are 1/100 s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessTimes {
    /// Time in the program.
    pub user_ticks: u64,
    /// Time in the kernel on its behalf.
    pub system_ticks: u64,
    /// Page faults that read the disk.
    pub major_faults: u64,
}

/// From `/proc/self/status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessStatus {
    /// Present in RAM.
    pub resident_bytes: u64,
    /// Largest so far.
    pub resident_peak_bytes: u64,
    /// Threads.
    pub threads: u64,
}

/// From a thread's own status file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskSwitches {
    /// It gave its processor up.
    pub voluntary: u64,
    /// It lost its processor.
    pub involuntary: u64,
}

/// Parses `/proc/self/stat`.
///
/// # Errors
/// [`ProcError`].
pub fn parse_stat(text: &str) -> Result<ProcessTimes, ProcError> {
    // The second field is the program's name in parentheses, and the name may hold anything, parentheses included.
    let (_, rest) =
        text.rsplit_once(')').ok_or_else(|| Line::new(STAT, 1, "").error("comm", "a name in parentheses", text))?;
    let mut line = Line::new(STAT, 1, rest);
    // From field 3, `state`; `majflt` is field 12, `utime` 14, `stime` 15.
    line.skip(9);
    let major_faults = line.number("majflt")?;
    line.skip(1);
    Ok(ProcessTimes { major_faults, user_ticks: line.number("utime")?, system_ticks: line.number("stime")? })
}

/// Parses `/proc/self/status`.
///
/// # Errors
/// [`ProcError`].
pub fn parse_status(text: &str) -> Result<ProcessStatus, ProcError> {
    let [resident, peak, threads] = lookup(STATUS, text, ["VmRSS", "VmHWM", "Threads"])?;
    let resident_bytes = required(STATUS, text, "VmRSS", resident)?.saturating_mul(1024);
    Ok(ProcessStatus {
        resident_bytes,
        resident_peak_bytes: peak.map_or(resident_bytes, |kib| kib.saturating_mul(1024)),
        threads: required(STATUS, text, "Threads", threads)?,
    })
}

/// Parses `/proc/self/task/TID/status`.
///
/// # Errors
/// [`ProcError`].
pub fn parse_task(text: &str) -> Result<TaskSwitches, ProcError> {
    const KEYS: [&str; 2] = ["voluntary_ctxt_switches", "nonvoluntary_ctxt_switches"];
    let [voluntary, involuntary] = lookup(TASK_STATUS, text, KEYS)?;
    Ok(TaskSwitches {
        voluntary: required(TASK_STATUS, text, KEYS[0], voluntary)?,
        involuntary: required(TASK_STATUS, text, KEYS[1], involuntary)?,
    })
}
