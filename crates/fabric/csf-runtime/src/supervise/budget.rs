//! The restart budget: at most `intensity` restarts within `period`.
//!
//! Reference: OTP's arithmetic. Time is counted in whole seconds, a restart exactly `period` seconds old still counts, and the restart
//! that breaks the budget is remembered too.

use std::collections::VecDeque;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Budget {
    intensity: u32,
    period_s: u64,
    /// Whole seconds, oldest first.
    spent: VecDeque<u64>,
}

impl Budget {
    pub(super) fn new(intensity: u32, period_s: u64) -> Self {
        Self { intensity, period_s, spent: VecDeque::new() }
    }

    /// Spends one restart; false when that is one too many.
    pub(super) fn spend(&mut self, now: Duration) -> bool {
        let now = now.as_secs();
        while self.spent.front().is_some_and(|&at| at.saturating_add(self.period_s) < now) {
            self.spent.pop_front();
        }
        self.spent.push_back(now);
        self.spent.len() <= self.intensity as usize
    }

    pub(super) fn in_period(&self) -> usize {
        self.spent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `intensity`, `period`, seconds of the restarts, how many are allowed.
    #[test]
    fn the_window_is_counted_in_whole_seconds_and_its_edge_is_inside() {
        let cases: [(u32, u64, &[f64], usize); 7] = [
            (0, 5, &[0.0], 0),
            (1, 5, &[0.0, 5.0], 1),
            (1, 5, &[0.0, 5.999], 1),
            (1, 5, &[0.0, 6.0], 2),
            (1, 5, &[0.9, 6.0], 2),
            (2, 5, &[0.0, 1.0, 5.9, 7.0], 2),
            (2, 1, &[0.0, 0.0, 2.0, 2.0, 2.0], 4),
        ];
        for (intensity, period, at, expected) in cases {
            let mut budget = Budget::new(intensity, period);
            let allowed = at.iter().take_while(|&&at| budget.spend(Duration::from_secs_f64(at))).count();
            assert_eq!(allowed, expected, "{intensity} in {period} s at {at:?}");
        }
    }
}
