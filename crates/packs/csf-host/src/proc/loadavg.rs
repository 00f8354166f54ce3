//! `/proc/loadavg`: the load averages.

use super::{Line, ProcError};

const FILE: &str = "loadavg";

/// Mean number of tasks running or in uninterruptible sleep.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadSample {
    /// Over 1 min.
    pub one_min: f64,
    /// Over 5 min.
    pub five_min: f64,
    /// Over 15 min.
    pub fifteen_min: f64,
}

/// Parses the file.
///
/// # Errors
/// [`ProcError`].
pub fn parse(text: &str) -> Result<LoadSample, ProcError> {
    let mut line = Line::new(FILE, 1, text);
    Ok(LoadSample {
        one_min: line.decimal("1 min")?,
        five_min: line.decimal("5 min")?,
        fifteen_min: line.decimal("15 min")?,
    })
}
