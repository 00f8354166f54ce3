//! `/proc/pressure/*`: pressure-stall information. Reference: Documentation/accounting/psi.rst.

use super::{Line, ProcError, lines};

/// The three files, below the root of proc.
pub const FILES: [&str; 3] = ["pressure/cpu", "pressure/memory", "pressure/io"];

/// Time lost waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    /// Kernel's mean over 10 s, a part of one.
    pub share_10s: f64,
    /// Microseconds since boot.
    pub total_us: u64,
}

/// One of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ResourcePressure {
    /// At least one task waited.
    pub some: Stall,
    /// All tasks waited; zero where the kernel does not say (processors before 5.13).
    pub full: Stall,
}

/// Parses one of [`FILES`].
///
/// # Errors
/// [`ProcError`].
pub fn parse(file: &'static str, text: &str) -> Result<ResourcePressure, ProcError> {
    let (mut some, mut full) = (None, Stall::default());
    for (number, text) in lines(text) {
        let mut line = Line::new(file, number, text);
        match line.word("key")? {
            "some" => some = Some(stall(&mut line)?),
            "full" => full = stall(&mut line)?,
            _ => {}
        }
    }
    let some = some.ok_or_else(|| ProcError::Absent { file, field: "some", lines: text.lines().count() })?;
    Ok(ResourcePressure { some, full })
}

fn stall(line: &mut Line<'_>) -> Result<Stall, ProcError> {
    let word = line.word("avg10")?;
    let percent = line.decimal_in("avg10", word.strip_prefix("avg10=").unwrap_or_default())?;
    line.skip(2);
    let word = line.word("total")?;
    let total = word.strip_prefix("total=").and_then(|w| w.parse().ok());
    Ok(Stall {
        share_10s: percent / 100.0,
        total_us: total.ok_or_else(|| line.error("total", "total= and a number", word))?,
    })
}
