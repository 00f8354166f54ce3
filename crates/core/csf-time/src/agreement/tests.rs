//! Comparisons of simulated counters whose truth is known, and of this machine's.

use proptest::prelude::*;

use super::*;

/// Counters of 1 GHz, each ahead of true time by its offset and drift; a journey between CPUs takes a while.
struct Simulated {
    now_ns: u64,
    offsets_ns: Vec<i64>,
    drifts_ppm: Vec<i64>,
    /// What the journeys take, in turn.
    journeys_ns: Vec<u64>,
    journeys: usize,
    trips_left: u64,
}

impl Simulated {
    fn new(offsets_ns: &[i64], journeys_ns: &[u64]) -> Self {
        Self {
            now_ns: 1_000_000_000_000,
            offsets_ns: offsets_ns.to_vec(),
            drifts_ppm: vec![0; offsets_ns.len()],
            journeys_ns: journeys_ns.to_vec(),
            journeys: 0,
            trips_left: u64::MAX,
        }
    }

    fn compare(&mut self) -> CounterAgreement {
        let cpus: Vec<u32> = (0..self.offsets_ns.len() as u32).collect();
        compare_by(self, &cpus, 1.0).unwrap()
    }

    fn read_on(&self, cpu: u32) -> u64 {
        let (offset_ns, drift_ppm) = (self.offsets_ns[cpu as usize], self.drifts_ppm[cpu as usize]);
        // The counters were alike 1,000 s after the machine started.
        let drifted_ns = (self.now_ns.cast_signed() - 1_000_000_000_000) / 1_000_000 * drift_ppm;
        self.now_ns.wrapping_add_signed(offset_ns + drifted_ns)
    }

    fn travel(&mut self) {
        self.now_ns += self.journeys_ns[self.journeys % self.journeys_ns.len()];
        self.journeys += 1;
    }
}

impl Counters for Simulated {
    fn trips(&mut self, first: u32, other: u32) -> TimeResult<Vec<Trip>> {
        let count = TRIPS.min(self.trips_left);
        self.trips_left -= count;
        let trip = |_| {
            let before = self.read_on(first);
            self.travel();
            let there = self.read_on(other);
            self.travel();
            [before, there, self.read_on(first)]
        };
        Ok((0..count).map(trip).collect())
    }
}

proptest! {
    #[test]
    fn the_truth_is_within_the_bounds(
        offsets_ns in prop::collection::vec(-10_000_000..10_000_000i64, 1..6),
        journeys_ns in prop::collection::vec(1..50_000u64, 1..12),
    ) {
        let found = Simulated::new(&offsets_ns, &journeys_ns).compare();
        let apart = |offset_ns: &i64| offset_ns.abs_diff(offsets_ns[0]);
        let truth = offsets_ns.iter().map(apart).max().unwrap();
        prop_assert!((found.apart_ns_min..=found.apart_ns_max).contains(&truth), "{truth} is not within {found:?}");
        let widest = 2 * journeys_ns.iter().max().unwrap();
        prop_assert!(found.apart_ns_max - found.apart_ns_min <= widest, "{found:?} is wider than {widest}");
        prop_assert_eq!(found.cpus as usize, offsets_ns.len());
    }
}

#[test]
fn counters_that_agree_are_never_accused() {
    let found = Simulated::new(&[5, 5, 5, 5], &[3_000, 90_000, 1]).compare();
    assert_eq!((found.apart_ns_min, found.cpus), (0, 4));
    found.check().unwrap();
}

#[test]
fn a_socket_that_is_apart_is_named() {
    let found = Simulated::new(&[0, 0, -250_000, -250_000], &[4_000]).compare();
    let error = found.check().unwrap_err().to_string();
    assert!(error.contains("the time-stamp counters of CPU 0 and CPU 3 are at least 246000 ns apart"), "{error}");
}

/// The counters of a socket 2 ppm faster: nothing at first, 20 us after ten seconds.
#[test]
fn a_drift_is_found_once_it_has_added_up() {
    let mut sockets = Simulated::new(&[0, 0], &[4_000]);
    sockets.drifts_ppm = vec![0, 2];
    sockets.compare().check().unwrap();
    sockets.now_ns += 10_000_000_000;
    let found = sockets.compare();
    assert!((16_000..=20_001).contains(&found.apart_ns_min), "{found:?}");
    assert!(found.check().is_err());
}

#[test]
fn what_there_is_no_time_for_is_not_claimed() {
    let mut busy = Simulated::new(&[0, 0, 9_000_000], &[4_000]);
    busy.trips_left = TRIPS;
    let found = busy.compare();
    assert_eq!((found.cpus, found.of_cpus, found.apart_ns_min), (2, 3, 0));
}

#[test]
fn of_many_cpus_a_part_is_compared_from_end_to_end() {
    let mut offsets_ns = vec![0; 1_000];
    offsets_ns[993] = 500_000;
    let found = Simulated::new(&offsets_ns, &[10]).compare();
    assert!(found.cpus as usize <= CPUS_MAX + 1, "{found:?}");
    assert_eq!((found.of_cpus, found.furthest), (1_000, (0, 993)), "the last of every 16th from CPU 1 on");
}

#[test]
fn this_machine_is_compared_and_the_caller_stays_where_it_was() {
    if let Err(reason) = tsc::check() {
        eprintln!("SKIPPED this_machine_is_compared_and_the_caller_stays_where_it_was: {reason}");
        return;
    }
    let Ok(before) = affinity::cpus() else { return };
    let found = compare(1.0).unwrap();
    assert_eq!(affinity::cpus().unwrap(), before);
    assert_eq!(found.of_cpus as usize, before.len());
    assert!(found.apart_ns_min <= found.apart_ns_max);
}
