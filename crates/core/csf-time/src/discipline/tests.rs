//! The arithmetic against counters with planted errors; expected values are those of the planted clocks.

use proptest::prelude::*;

use super::{Discipline, INTERVAL_NS_MAX, Line, POINTS_MAX, Point, Verdict};

/// 2.6 GHz with a deviation in parts per billion, started at some tick and time.
#[derive(Clone, Copy)]
struct Planted {
    hz: f64,
    tsc: u64,
    unix_ns: u64,
}

impl Planted {
    const fn new(hz: f64) -> Self {
        Self { hz, tsc: 123_456_789_000, unix_ns: 1_700_000_000_000_000_000 }
    }

    /// The observation `ns` after the start, its time wrong by `noise_ns`.
    fn point(&self, ns: u64, noise_ns: i64) -> Point {
        let tsc = self.tsc + (ns as f64 * self.hz / 1e9) as u64;
        Point { tsc, unix_ns: self.unix_ns.saturating_add(ns).saturating_add_signed(noise_ns), width_ticks: 100 }
    }
}

/// Runs a discipline over `seconds` and returns the line and its greatest error against the planted clock, sampled before each
/// observation of the second half.
fn run(clock: Planted, first_line: Option<Line>, seconds: u64, noise: impl Fn(u64) -> i64) -> (Discipline, Line, f64) {
    let (mut discipline, mut line) =
        Discipline::new(clock.point(0, noise(0)), clock.point(4_000_000, noise(1))).unwrap();
    line = first_line.unwrap_or(line);
    let (mut at, mut interval, mut worst) = (4_000_000u64, 8_000_000u64, 0f64);
    let mut n = 2;
    while at < seconds * 1_000_000_000 {
        at += interval;
        interval = (interval * 2).min(INTERVAL_NS_MAX);
        let truth = clock.point(at, 0);
        if at > seconds * 500_000_000 {
            worst = worst.max((line.at(truth.tsc) as f64 - truth.unix_ns as f64).abs());
        }
        match discipline.observe(&line, clock.point(at, noise(n))) {
            Verdict::Adjust { rate, step_ns, .. } => {
                line = Line { tsc: truth.tsc, ns: line.at(truth.tsc) + step_ns, rate };
            }
            other => panic!("a steady counter is followed, got {other:?}"),
        }
        n += 1;
    }
    (discipline, line, worst)
}

#[test]
fn a_quiet_counter_is_known_exactly() {
    let (discipline, _, worst) = run(Planted::new(2_600_003_141.0), None, 60, |_| 0);
    assert!((discipline.hz() - 2_600_003_141.0).abs() < 1.0, "{}", discipline.hz());
    assert!(worst < 3.0, "{worst} ns");
}

#[test]
fn noise_of_a_sandwich_does_not_grow() {
    // +-20 ns, as alternating as it can be.
    let (discipline, _, worst) = run(Planted::new(2_599_999_000.0), None, 60, |n| if n % 2 == 0 { 20 } else { -20 });
    assert!(worst < 45.0, "{worst} ns");
    assert!((discipline.hz() / 2_599_999_000.0 - 1.0).abs() < 10e-9, "{}", discipline.hz());
    assert!(discipline.uncertainty_ppm() < 0.01, "{}", discipline.uncertainty_ppm());
}

/// FAB-042: a planted wrong frequency is repaired.
#[test]
fn a_planted_wrong_frequency_is_repaired() {
    let clock = Planted::new(2_600_000_000.0);
    let right = Line { tsc: clock.tsc, ns: clock.unix_ns, rate: ((1u128 << 56) * 10 / 26) as u64 };
    for wrong_by in [-0.01, -1e-4, 1e-4, 0.01] {
        let wrong = Line { rate: (right.rate as f64 * (1.0 + wrong_by)) as u64, ..right };
        let (_, line, worst) = run(clock, Some(wrong), 60, |_| 0);
        assert!((line.rate as f64 / right.rate as f64 - 1.0).abs() < 1e-6, "{wrong_by}: rate {}", line.rate);
        assert!(worst < 1_000.0, "{wrong_by}: {worst} ns");
    }
}

/// FAB-042: 128 bits between, so nothing overflows.
#[test]
fn a_tick_value_near_two_to_the_63_converts() {
    let line = Line { tsc: (1 << 63) - 1_000, ns: 5, rate: 1 << 56 };
    assert_eq!(line.at((1 << 63) + 1_000), 2_005);
    let line = Line { tsc: 0, ns: 0, rate: ((1u128 << 56) * 10 / 26) as u64 };
    // 2^63 ticks are 112 years; the rate is known to 2^-56 ns, which over 2^63 ticks is 128 ns.
    let expected = ((1u128 << 63) * 10 / 26) as u64;
    assert!(line.at(1 << 63).abs_diff(expected) <= 128, "{}", line.at(1 << 63));
    assert_eq!(Line { tsc: 0, ns: 1, rate: u64::MAX }.at(u64::MAX), u64::MAX, "past the end of time it saturates");
}

#[test]
fn before_its_beginning_a_line_stands() {
    let line = Line { tsc: 1_000, ns: 7, rate: 1 << 56 };
    assert_eq!((line.at(0), line.at(1_000), line.at(1_001)), (7, 7, 8));
}

#[test]
fn a_counter_that_leaves_the_clock_is_not_trusted() {
    let clock = Planted::new(2.6e9);
    let settled = || run(clock, None, 20, |_| 0);
    let (mut discipline, line, _) = settled();
    let last = discipline.points.back().copied().unwrap();
    let jumped = Point { tsc: last.tsc + 2_600_000_000, unix_ns: last.unix_ns + 3_000_000_000, ..last };
    assert!(matches!(discipline.observe(&line, jumped), Verdict::Distrust { .. }), "two seconds apart within one");
    let (mut discipline, line, _) = settled();
    let reset = Point { tsc: 5, unix_ns: last.unix_ns + 1_000_000_000, ..last };
    assert!(matches!(discipline.observe(&line, reset), Verdict::Distrust { .. }), "the counter went back");
    let (mut discipline, line, _) = settled();
    let slewed = Point { tsc: last.tsc + 2_600_000_000_000, unix_ns: last.unix_ns + 1_000_400_000_000, ..last };
    assert!(
        matches!(discipline.observe(&line, slewed), Verdict::Adjust { .. }),
        "400 ppm over idle 1000 s is NTP at work"
    );
}

#[test]
fn an_interrupted_observation_is_not_used() {
    let clock = Planted::new(2.6e9);
    let (mut discipline, line, _) = run(clock, None, 20, |_| 0);
    let before = discipline.points.clone();
    let last = *before.back().unwrap();
    let wide = Point { tsc: last.tsc + 2_600_000_000, unix_ns: last.unix_ns + 1_000_050_000, width_ticks: 260_000 };
    assert!(matches!(discipline.observe(&line, wide), Verdict::Disturbed { next_tsc } if next_tsc > wide.tsc));
    assert_eq!(discipline.points, before);
}

#[test]
fn observations_asked_for_out_of_turn_keep_the_baseline() {
    let clock = Planted::new(2.6e9);
    let (mut discipline, line, _) = run(clock, None, 30, |_| 0);
    let last = *discipline.points.back().unwrap();
    for n in 1..=100 {
        let early = Point { tsc: last.tsc + n * 2_600_000, unix_ns: last.unix_ns + n * 1_000_000, ..last };
        discipline.observe(&line, early);
    }
    assert_eq!(discipline.points.len(), POINTS_MAX);
    let oldest = discipline.points.front().unwrap();
    assert!(last.unix_ns - oldest.unix_ns > 10 * INTERVAL_NS_MAX, "the oldest observation is still seconds old");
}

#[test]
fn a_counter_that_stands_still_gives_no_line() {
    let point = Planted::new(2.6e9).point(0, 0);
    assert!(Discipline::new(point, Point { unix_ns: point.unix_ns + 4_000_000, ..point }).is_none());
    assert!(Discipline::new(point, Point { tsc: point.tsc + 1_000, ..point }).is_none());
}

proptest! {
    /// Whatever is observed, the next line begins no earlier than the last one ended.
    #[test]
    fn no_verdict_takes_time_back(
        noise in proptest::collection::vec(-300_000i64..300_000, 40),
        hz in 1.0e8..6.0e9f64,
    ) {
        let clock = Planted::new(hz);
        let (mut discipline, mut line) = Discipline::new(clock.point(0, 0), clock.point(4_000_000, 0)).unwrap();
        let mut last = 0;
        for (n, noise) in (1..).zip(noise) {
            let point = clock.point(4_000_000 + n * 1_000_000_000, noise);
            prop_assert!(line.at(point.tsc) >= last);
            if let Verdict::Adjust { rate, step_ns, .. } = discipline.observe(&line, point) {
                line = Line { tsc: point.tsc, ns: line.at(point.tsc) + step_ns, rate };
                prop_assert!(rate > 0);
            }
            last = line.at(point.tsc);
        }
    }
}
