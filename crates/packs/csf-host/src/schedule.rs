//! When each stream is due: a fixed grid per stream, so that rates hold on average.
//!
//! A reader that comes late takes each stream once and goes on at the grid's next point: there are no bursts after a pause.

/// Due times of streams of different rates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule<K> {
    entries: Vec<Entry<K>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<K> {
    key: K,
    period_ns: u64,
    due_ns: u64,
}

impl<K: Copy + PartialEq> Schedule<K> {
    /// Streams with their rates in hertz, first due one period after `now_ns`.
    pub(crate) fn new(now_ns: u64, rates: impl IntoIterator<Item = (K, f64)>) -> Self {
        let entry = |(key, hz): (K, f64)| {
            // A rate of nonsense costs at most one sample per nanosecond of patience: the period is never zero.
            let period_ns = ((1e9 / hz) as u64).max(1);
            Entry { key, period_ns, due_ns: now_ns.saturating_add(period_ns) }
        };
        Self { entries: rates.into_iter().map(entry).collect() }
    }

    /// When the next stream is due; `None` without streams.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        self.entries.iter().map(|e| e.due_ns).min()
    }

    /// Takes the stream that has been due longest, if any is due at `now_ns`.
    pub(crate) fn take_due(&mut self, now_ns: u64) -> Option<K> {
        let entry = self.entries.iter_mut().filter(|e| e.due_ns <= now_ns).min_by_key(|e| e.due_ns)?;
        let periods = (now_ns - entry.due_ns) / entry.period_ns + 1;
        entry.due_ns = entry.due_ns.saturating_add(periods.saturating_mul(entry.period_ns));
        Some(entry.key)
    }

    /// Takes a stream out for good.
    pub(crate) fn remove(&mut self, key: K) {
        self.entries.retain(|e| e.key != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_rates() {
        let mut schedule = Schedule::new(0, [('a', 5.0), ('b', 1.0)]);
        let mut taken = Vec::new();
        while let Some(due) = schedule.next_due_ns().filter(|due| *due <= 2_000_000_000) {
            taken.extend(schedule.take_due(due));
        }
        assert_eq!(taken.iter().filter(|k| **k == 'a').count(), 10);
        assert_eq!(taken.iter().filter(|k| **k == 'b').count(), 2);
    }

    #[test]
    fn a_late_reader_takes_each_stream_once_and_stays_on_the_grid() {
        let mut schedule = Schedule::new(0, [('a', 10.0)]);
        assert_eq!(schedule.take_due(99_999_999), None);
        assert_eq!(schedule.take_due(1_050_000_000), Some('a'));
        assert_eq!(schedule.take_due(1_050_000_000), None);
        assert_eq!(schedule.next_due_ns(), Some(1_100_000_000));
    }

    #[test]
    fn a_removed_stream_is_never_due_again() {
        let mut schedule = Schedule::new(0, [('a', 10.0)]);
        schedule.remove('a');
        assert_eq!(schedule.next_due_ns(), None);
        assert_eq!(schedule.take_due(u64::MAX), None);
    }
}
