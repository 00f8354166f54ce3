//! The arithmetic that turns a counter into nanoseconds and keeps it true: no clock is read here.
//!
//! A [`Line`] maps ticks to Unix nanoseconds by a 128-bit multiply and shift. A [`Discipline`] takes sandwiched observations of
//! the counter against the operating system and answers with the next line: its rate is fitted over the widest kept baseline,
//! and half of the remaining phase error is worked off within the next interval.
//! Invariant: two successive lines meet where the second one begins, so the time they tell never goes backwards.

use std::collections::VecDeque;

/// Binary places of [`Line::rate`]: 2^-56 ns/tick is about 1 ns per year, and rates up to 256 ns/tick (3.9 MHz) fit 64 bits.
const RATE_BITS: u32 = 56;
/// Observations kept for the rate: at one a second a baseline of 16 s, in which 20 ns of error are about 1 ppb.
const POINTS_MAX: usize = 16;
/// First interval between observations; it doubles up to [`INTERVAL_NS_MAX`].
const INTERVAL_NS_FIRST: u64 = 8_000_000;
/// Steady interval between observations.
pub(crate) const INTERVAL_NS_MAX: u64 = 1_000_000_000;
/// Strongest correction of phase, as a share of the rate: the kernel's own NTP slew limit.
const SLEW_MAX: f64 = 500e-6;
/// A wider sandwich (in nanoseconds) was interrupted and says nothing.
const WIDTH_NS_MAX: f64 = 20_000.0;
/// A counter further off than this, and faster than [`DRIFT_MAX`], is not the clock it was.
const ERROR_NS_MAX: f64 = 1_000_000.0;
/// 1000 ppm: twice what NTP may slew.
const DRIFT_MAX: f64 = 1e-3;

/// One sandwiched observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// Middle of the two counter reads.
    pub(crate) tsc: u64,
    /// The operating system's time between them.
    pub(crate) unix_ns: u64,
    /// Ticks between the two reads: the observation is known to half of this.
    pub(crate) width_ticks: u64,
}

/// Unix nanoseconds as a straight line over ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Where the line begins, ticks.
    pub(crate) tsc: u64,
    /// Time there, Unix nanoseconds.
    pub(crate) ns: u64,
    /// Nanoseconds per tick, in units of 2^-56.
    pub(crate) rate: u64,
}

impl Line {
    /// Time at `tsc`; before the beginning of the line it stands still.
    #[inline]
    pub(crate) fn at(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.tsc));
        let ns = (ticks * u128::from(self.rate)) >> RATE_BITS;
        // 2^64 ns are 584 years; a counter that far ahead saturates.
        self.ns.saturating_add(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// [`Line::at`] for a counter between the line's beginning and a time that 64 bits hold, as the next look is.
    #[inline(always)]
    pub(crate) fn at_near(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.wrapping_sub(self.tsc));
        self.ns.wrapping_add(((ticks * u128::from(self.rate)) >> RATE_BITS) as u64)
    }

    /// Nanoseconds by which `tsc` is before the beginning of the line.
    pub(crate) fn behind_ns(&self, tsc: u64) -> u64 {
        Line { tsc, ns: 0, rate: self.rate }.at(self.tsc)
    }

    /// The rate of a counter with this frequency.
    pub(crate) fn rate_of(hertz: f64) -> u64 {
        (1e9 / hertz * (1u64 << RATE_BITS) as f64) as u64
    }

    /// Nanoseconds per tick.
    pub(crate) fn ns_per_tick(&self) -> f64 {
        self.rate as f64 / (1u64 << RATE_BITS) as f64
    }
}

/// What an observation leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    /// The observation was disturbed: keep the line, look again at this tick.
    Disturbed {
        /// When to look again.
        next_tsc: u64,
    },
    /// Continue with `rate` from where the present line is; when behind by much, add `step_ns` at once.
    Adjust {
        /// New rate of the line.
        rate: u64,
        /// Nanoseconds to jump forward.
        step_ns: u64,
        /// When to look again.
        next_tsc: u64,
    },
    /// The counter is no clock any more.
    Distrust {
        /// Why.
        reason: String,
    },
}

/// Keeps a line true to the operating system's clock.
#[derive(Clone, Debug)]
pub(crate) struct Discipline {
    points: VecDeque<Point>,
    interval_ns: u64,
    rate: u64,
    adjustments: u64,
    error_ns: f64,
}

impl Discipline {
    /// From two observations some milliseconds apart; also the first line. `None` when the counter or the clock stood still.
    pub(crate) fn new(first: Point, second: Point) -> Option<(Self, Line)> {
        let rate = fit(first, second)?;
        let points = VecDeque::from([first, second]);
        let line = Line { tsc: second.tsc, ns: second.unix_ns, rate };
        Some((Self { points, interval_ns: INTERVAL_NS_FIRST, rate, adjustments: 0, error_ns: 0.0 }, line))
    }

    /// Judges `line` by a new observation.
    pub(crate) fn observe(&mut self, line: &Line, point: Point) -> Verdict {
        let last = *self.points.back().unwrap_or(&point);
        let ns_per_tick = line.ns_per_tick();
        if point.tsc <= last.tsc || point.unix_ns <= last.unix_ns {
            return Verdict::Distrust { reason: format!("the counter went from {} to {} ticks", last.tsc, point.tsc) };
        }
        if point.width_ticks as f64 * ns_per_tick > WIDTH_NS_MAX {
            return Verdict::Disturbed { next_tsc: point.tsc.saturating_add(ticks(INTERVAL_NS_FIRST, ns_per_tick)) };
        }
        let elapsed_ns = (point.unix_ns - last.unix_ns) as f64;
        let error_ns = point.unix_ns.wrapping_sub(line.at(point.tsc)).cast_signed() as f64;
        if error_ns.abs() > ERROR_NS_MAX && error_ns.abs() > DRIFT_MAX * elapsed_ns {
            let reason =
                format!("the counter and the system's clock parted by {error_ns:.0} ns within {elapsed_ns:.0} ns");
            return Verdict::Distrust { reason };
        }
        // An observation asked for out of turn corrects the phase but must not shorten the baseline of the rate.
        if elapsed_ns >= 0.5 * self.interval_ns as f64 {
            self.keep(point);
            self.interval_ns = (self.interval_ns * 2).min(INTERVAL_NS_MAX);
        }
        self.error_ns = error_ns;
        self.adjustments += 1;
        let slew_limit_ns = SLEW_MAX * self.interval_ns as f64;
        let step_ns = if error_ns > slew_limit_ns { error_ns as u64 } else { 0 };
        let rest_ns = error_ns - step_ns as f64;
        let slew = (0.5 * rest_ns / self.interval_ns as f64).clamp(-SLEW_MAX, SLEW_MAX);
        let rate = self.rate.saturating_add_signed((self.rate as f64 * slew) as i64);
        Verdict::Adjust { rate, step_ns, next_tsc: point.tsc.saturating_add(ticks(self.interval_ns, ns_per_tick)) }
    }

    fn keep(&mut self, point: Point) {
        if self.points.len() == POINTS_MAX {
            self.points.pop_front();
        }
        self.points.push_back(point);
        if let Some(rate) = self.points.front().and_then(|&oldest| fit(oldest, point)) {
            self.rate = rate;
        }
    }

    /// The counter's fitted frequency, hertz.
    pub(crate) fn hz(&self) -> f64 {
        1e9 * (1u64 << RATE_BITS) as f64 / self.rate as f64
    }

    /// Adjustments so far.
    pub(crate) fn adjustments(&self) -> u64 {
        self.adjustments
    }

    /// How far the line may be from the operating system's clock: the last error found and half of that sandwich's width.
    pub(crate) fn uncertainty_ns(&self) -> f64 {
        let half = self.points.back().map_or(0.0, |p| p.width_ticks as f64 * 0.5e9 / self.hz());
        self.error_ns.abs() + half
    }

    /// How wrong the fitted rate may be: half of both outer sandwiches over the baseline, parts per million.
    pub(crate) fn uncertainty_ppm(&self) -> f64 {
        let (Some(oldest), Some(newest)) = (self.points.front(), self.points.back()) else { return f64::INFINITY };
        let halves_ns = (oldest.width_ticks + newest.width_ticks) as f64 * 0.5e9 / self.hz();
        halves_ns / newest.unix_ns.saturating_sub(oldest.unix_ns) as f64 * 1e6
    }

    /// When the first look after calibration is due.
    pub(crate) fn first_look(&self, line: &Line) -> u64 {
        line.tsc.saturating_add(ticks(INTERVAL_NS_FIRST, line.ns_per_tick()))
    }
}

/// Ticks in `ns`; saturates.
fn ticks(ns: u64, ns_per_tick: f64) -> u64 {
    (ns as f64 / ns_per_tick) as u64
}

/// Rate through two observations, if both clocks advanced and it fits 64 bits.
fn fit(first: Point, second: Point) -> Option<u64> {
    let ticks = second.tsc.checked_sub(first.tsc).filter(|&t| t > 0)?;
    let ns = second.unix_ns.checked_sub(first.unix_ns).filter(|&n| n > 0)?;
    u64::try_from((u128::from(ns) << RATE_BITS) / u128::from(ticks)).ok().filter(|&rate| rate > 0)
}

#[cfg(test)]
#[path = "discipline/tests.rs"]
mod tests;
