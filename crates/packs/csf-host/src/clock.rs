//! The node's clock against the operating system's: what the `host.clock` stream shows.
//!
//! A clock cannot be compared with another at one instant, so the other is read before and after; of several such sandwiches the
//! narrowest counts. Reference: Cristian, "Probabilistic clock synchronization" (1989), for the bound of half the width.

use std::sync::Arc;

use csf_core::TimeResult;
use csf_core::port::TimeSource;
use csf_time::{OsClock, Reference, SystemClock};

use crate::message::Clock;

/// Sandwiches of which the narrowest counts; one costs about 80 ns.
const SANDWICHES: u32 = 16;

/// Compares the clocks from one moment on.
pub(crate) struct ClockProbe {
    node: Arc<dyn TimeSource>,
    /// Calibrated as the node's own, which does not show its fit: says frequency and uncertainty.
    twin: Arc<SystemClock>,
    os: OsClock,
    origin_ns: i64,
    wall_offset_ns: i64,
}

impl ClockProbe {
    /// Calibrates the twin, busy for about 4 ms, and takes the present difference as zero.
    ///
    /// # Errors
    /// When a clock cannot be read.
    pub(crate) fn new(node: Arc<dyn TimeSource>) -> TimeResult<Self> {
        let twin = if node.has_hardware_timing() {
            SystemClock::detect()?
        } else {
            SystemClock::without_hardware("the node's clock is not a hardware counter")?
        };
        let origin_ns = sandwich(node.as_ref())?.difference_ns;
        Ok(Self { node, twin, os: OsClock::new()?, origin_ns, wall_offset_ns: 0 })
    }

    /// Compares now.
    ///
    /// # Errors
    /// When a clock cannot be read.
    pub(crate) fn compare(&mut self) -> TimeResult<Clock> {
        let sandwich = sandwich(self.node.as_ref())?;
        // Reading it is what makes it look at its fit again.
        self.twin.now_ns()?;
        let report = self.twin.report()?;
        let wall_offset_ns = self.os.wall_offset_ns()?;
        let wall_step_ns = wall_offset_ns.wrapping_sub(self.wall_offset_ns);
        self.wall_offset_ns = wall_offset_ns;
        Ok(Clock {
            source: if self.node.has_hardware_timing() { "tsc" } else { "os" }.to_owned(),
            tsc_hz: report.tsc_hz,
            tsc_minus_os_ns: sandwich.difference_ns.wrapping_sub(self.origin_ns),
            sandwich_ns: sandwich.width_ns,
            uncertainty_ns: report.uncertainty_ns,
            uncertainty_ppm: report.uncertainty_ppm,
            wall_offset_ns,
            wall_step_ns,
        })
    }
}

struct Sandwich {
    /// The node's clock minus the boot clock, modulo 2^64.
    difference_ns: i64,
    width_ns: u64,
}

fn sandwich(node: &dyn TimeSource) -> TimeResult<Sandwich> {
    let mut narrowest = Sandwich { difference_ns: 0, width_ns: u64::MAX };
    for _ in 0..SANDWICHES {
        let before = Reference::Boot.now_ns()?;
        let now = node.now_ns()?.as_nanos();
        let width_ns = Reference::Boot.now_ns()?.saturating_sub(before);
        if width_ns < narrowest.width_ns {
            let difference_ns = now.wrapping_sub(before + width_ns / 2).cast_signed();
            narrowest = Sandwich { difference_ns, width_ns };
        }
    }
    Ok(narrowest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_compared_with_itself_does_not_drift_away() {
        let mut probe = ClockProbe::new(OsClock::new().map(Arc::new).unwrap()).unwrap();
        let clock = probe.compare().unwrap();
        assert_eq!((clock.source.as_str(), clock.tsc_hz), ("os", None));
        let bound = i64::try_from(clock.sandwich_ns).unwrap() + 100_000;
        assert!(clock.tsc_minus_os_ns.abs() <= bound, "{clock:?}");
    }

    #[test]
    fn the_steps_of_the_wall_clock_add_up_to_its_offset() {
        let mut probe = ClockProbe::new(SystemClock::detect().unwrap()).unwrap();
        let clocks: Vec<Clock> = (0..4).map(|_| probe.compare().unwrap()).collect();
        let steps: i64 = clocks.iter().map(|c| c.wall_step_ns).sum();
        assert_eq!(steps, clocks[3].wall_offset_ns);
        assert!(clocks.iter().all(|c| c.uncertainty_ns.is_finite()));
    }
}
