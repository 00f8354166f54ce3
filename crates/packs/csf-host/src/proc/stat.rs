//! `/proc/stat`: where each processor's time went, interrupts and context switches since boot.

use super::{Line, ProcError, lines, required};

const FILE: &str = "stat";

/// Time of one processor or all of them, in ticks of 1/100 s. `user` and `nice` contain guest time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTicks {
    /// In programs.
    pub user: u64,
    /// In programs of low priority.
    pub nice: u64,
    /// In the kernel.
    pub system: u64,
    /// Doing nothing.
    pub idle: u64,
    /// Doing nothing while a disk request was pending; may go backwards.
    pub iowait: u64,
    /// Serving interrupts.
    pub irq: u64,
    /// Serving softirqs.
    pub softirq: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

/// One reading of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatSample {
    /// All processors together.
    pub total: CpuTicks,
    /// Each processor on line, with its number.
    pub cores: Vec<(u32, CpuTicks)>,
    /// Interrupts served since boot.
    pub interrupts: u64,
    /// Context switches since boot.
    pub context_switches: u64,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<StatSample, ProcError> {
    let mut total = None;
    let (mut interrupts, mut context_switches) = (None, None);
    let mut cores = Vec::new();
    for (number, text) in lines(text) {
        let mut line = Line::new(FILE, number, text);
        match line.word("key")? {
            "cpu" => total = Some(ticks(&mut line)?),
            "intr" => interrupts = Some(line.number("intr")?),
            "ctxt" => context_switches = Some(line.number("ctxt")?),
            key => {
                if let Some(core) = key.strip_prefix("cpu") {
                    let core = core.parse().map_err(|_| line.error("cpuN", "a processor number", core))?;
                    cores.push((core, ticks(&mut line)?));
                }
            }
        }
    }
    let total = total.ok_or_else(|| ProcError::Absent { file: FILE, field: "cpu", lines: text.lines().count() })?;
    Ok(StatSample {
        total,
        cores,
        interrupts: required(FILE, text, "intr", interrupts)?,
        context_switches: required(FILE, text, "ctxt", context_switches)?,
    })
}

fn ticks(line: &mut Line<'_>) -> Result<CpuTicks, ProcError> {
    Ok(CpuTicks {
        user: line.number("user")?,
        nice: line.number("nice")?,
        system: line.number("system")?,
        idle: line.number("idle")?,
        iowait: line.optional("iowait")?,
        irq: line.optional("irq")?,
        softirq: line.optional("softirq")?,
        steal: line.optional("steal")?,
    })
}
