//! What was counted while a recording was read: nothing is dropped in silence.
//!
//! Invariant: `samples + dropped` of a sensor equals the rows the file held for it before its damage.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An identical triple more often than this in a row counts as stuck.
const STUCK_RUN_MIN: u32 = 10;
/// A step of more than this, in s, towards the future is a corrupt stamp.
const JUMP_MAX_NS: u64 = 600_000_000_000;

/// Counts for one sensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SensorQuality {
    /// `imu0`, `imu1`, `gnss`, `mag`, `baro`, `peer` or `land`.
    pub sensor: String,
    /// Samples kept.
    pub samples: u64,
    /// Dropped: a value was not a number, infinite or absurd.
    pub not_a_number: u64,
    /// Dropped: older than the sample before it.
    pub time_backwards: u64,
    /// Dropped: the same stamp as the sample before it.
    pub duplicates: u64,
    /// Dropped: more than 600 s ahead of the sample before it.
    pub time_jumps: u64,
    /// Kept, but part of a run of more than ten identical values.
    pub stuck: u64,
    /// Steps longer than twice the usual one.
    pub gaps: u64,
    /// The longest step, s.
    pub gap_longest_s: f64,
    /// The usual step (median), s; 0 with fewer than two samples.
    pub period_s: f64,
}

/// Counts for a whole recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quality {
    /// One entry per sensor that the file names.
    pub sensors: Vec<SensorQuality>,
    /// What the recording lacks, in words.
    pub missing: Vec<String>,
    /// Dropouts that the logger itself reports.
    pub logger_dropouts: u64,
    /// Remarks on what was taken as it was, such as an assumed delay.
    pub remarks: Vec<String>,
}

impl Quality {
    /// The counts of one sensor, if the recording has it.
    #[must_use]
    pub fn of(&self, sensor: &str) -> Option<&SensorQuality> {
        self.sensors.iter().find(|s| s.sensor == sensor)
    }

    /// What is wrong with the sensors, one sentence each; empty for a recording without faults.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.sensors.iter().flat_map(SensorQuality::faults).collect()
    }
}

/// A gap of this many usual steps is a dropout.
const DROPOUT_STEPS: f64 = 5.0;

impl SensorQuality {
    fn faults(&self) -> Vec<String> {
        let counts = [
            (self.not_a_number, "are no numbers or absurd, dropped"),
            (self.time_backwards, "are older than the one before, dropped"),
            (self.duplicates, "have the stamp of the one before, dropped"),
            (self.time_jumps, "are minutes ahead of the one before, dropped"),
            (self.stuck, "repeat the one before again and again, kept"),
        ];
        let mut faults: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{}: {count} samples {what}", self.sensor))
            .collect();
        if self.period_s > 0.0 && self.gap_longest_s > DROPOUT_STEPS * self.period_s {
            let (longest, usual) = (self.gap_longest_s, self.period_s);
            faults.push(format!("{}: silent for up to {longest:.2} s, usually {usual:.3} s", self.sensor));
        }
        faults
    }
}

/// Accepts or drops the samples of one sensor, and counts.
#[derive(Debug)]
pub(crate) struct Gate {
    counts: SensorQuality,
    last_ns: Option<u64>,
    last_values: Vec<f64>,
    run: u32,
    steps_ns: Vec<u64>,
}

impl Gate {
    pub(crate) fn new(sensor: &str) -> Self {
        Self {
            counts: SensorQuality {
                sensor: sensor.to_owned(),
                samples: 0,
                not_a_number: 0,
                time_backwards: 0,
                duplicates: 0,
                time_jumps: 0,
                stuck: 0,
                gaps: 0,
                gap_longest_s: 0.0,
                period_s: 0.0,
            },
            last_ns: None,
            last_values: Vec::new(),
            run: 0,
            steps_ns: Vec::new(),
        }
    }

    /// True when the sample may be kept: finite, within ±`limit`, later than the last.
    pub(crate) fn admit(&mut self, at_ns: u64, values: &[f64], limit: f64) -> bool {
        // A comparison with a NaN is false, so this also finds values that are no numbers.
        if !values.iter().all(|v| v.abs() <= limit) {
            self.counts.not_a_number += 1;
            return false;
        }
        if let Some(last) = self.last_ns {
            if at_ns == last {
                self.counts.duplicates += 1;
                return false;
            }
            if at_ns < last {
                self.counts.time_backwards += 1;
                return false;
            }
            if at_ns - last > JUMP_MAX_NS {
                self.counts.time_jumps += 1;
                return false;
            }
            self.steps_ns.push(at_ns - last);
        }
        self.last_ns = Some(at_ns);
        self.counts.samples += 1;
        if !values.is_empty() && values == self.last_values.as_slice() {
            self.run += 1;
            if self.run > STUCK_RUN_MIN {
                self.counts.stuck += 1;
            }
        } else {
            self.run = 0;
            self.last_values.clear();
            self.last_values.extend_from_slice(values);
        }
        true
    }

    pub(crate) fn drop_not_a_number(&mut self) {
        self.counts.not_a_number += 1;
    }

    pub(crate) fn finish(mut self) -> SensorQuality {
        if !self.steps_ns.is_empty() {
            self.steps_ns.sort_unstable();
            let median = self.steps_ns[self.steps_ns.len() / 2];
            self.counts.period_s = median as f64 * 1e-9;
            self.counts.gaps = self.steps_ns.iter().filter(|s| **s > 2 * median).count() as u64;
            self.counts.gap_longest_s = self.steps_ns.last().map_or(0.0, |s| *s as f64 * 1e-9);
        }
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_bad_sample_is_counted() {
        let mut gate = Gate::new("imu0");
        assert!(gate.admit(10, &[1.0], 10.0));
        assert!(!gate.admit(10, &[1.5], 10.0));
        assert!(!gate.admit(5, &[1.5], 10.0));
        assert!(!gate.admit(20, &[f64::NAN], 10.0));
        assert!(!gate.admit(20, &[11.0], 10.0));
        assert!(!gate.admit(10 + JUMP_MAX_NS + 1, &[1.0], 10.0));
        for i in 0..20 {
            assert!(gate.admit(20 + i, &[2.0], 10.0));
        }
        let counts = gate.finish();
        assert_eq!((counts.duplicates, counts.time_backwards, counts.not_a_number, counts.time_jumps), (1, 1, 2, 1));
        assert_eq!(counts.samples, 21);
        assert_eq!(counts.stuck, 9);
        assert_eq!(counts.gaps, 1);
    }
}
