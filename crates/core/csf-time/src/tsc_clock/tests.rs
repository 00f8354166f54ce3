//! The counter of the machine the tests run on; skipped aloud where it has none to trust.

use std::time::Duration;

use csf_core::port::TimeSource;

use super::{TscClock, Verdict};
use crate::discipline::Point;
use crate::os_clock::Reference;
use crate::report::ClockSource;

fn calibrated() -> Option<TscClock> {
    match TscClock::calibrate() {
        Ok(clock) => Some(clock),
        Err(e) => {
            eprintln!("SKIPPED: {e}");
            None
        }
    }
}

fn now(clock: &TscClock) -> u64 {
    clock.now_ns().unwrap().as_nanos()
}

#[test]
fn calibration_is_short_and_the_frequency_plausible() {
    let before = Reference::Boot.now_ns().unwrap();
    let Some(clock) = calibrated() else { return };
    let took = Duration::from_nanos(Reference::Boot.now_ns().unwrap() - before);
    let report = clock.report().unwrap();
    let hz = report.tsc_hz.unwrap();
    assert!((1e8..1e10).contains(&hz), "{hz}");
    // 4 ms of calibration; the rest is room for a busy machine.
    assert!(took < Duration::from_millis(500), "{took:?}");
    assert_eq!((report.source, report.fallback), (ClockSource::Tsc, None));
    assert!(clock.has_hardware_timing());
}

/// FAB-041: forced fallback keeps time monotonic, and the clock says what it is.
#[test]
fn a_distrusted_counter_is_replaced_without_going_back() {
    let Some(clock) = calibrated() else { return };
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut last = now(&clock);
            for _ in 0..200_000 {
                let next = now(&clock);
                assert!(next >= last, "{next} after {last}");
                last = next;
            }
        });
        let before = now(&clock);
        clock.distrust("planted");
        assert!(now(&clock) > before);
        reader.join().unwrap();
    });
    assert!(!clock.has_hardware_timing());
    let report = clock.report().unwrap();
    assert_eq!((report.source, report.tsc_hz), (ClockSource::Os, None));
    assert_eq!(report.fallback.as_deref(), Some("planted"));
    clock.recalibrate().unwrap();
    assert!(!clock.has_hardware_timing(), "a counter given up stays given up");
}

#[test]
fn readers_never_see_time_go_back_while_the_line_is_replaced() {
    let Some(clock) = calibrated() else { return };
    std::thread::scope(|threads| {
        let readers = [(); 2].map(|()| {
            threads.spawn(|| {
                let mut last = 0;
                for _ in 0..300_000 {
                    let next = now(&clock);
                    assert!(next >= last, "{next} after {last}");
                    last = next;
                }
            })
        });
        let middle = clock.timeline.line().rate;
        while !readers.iter().all(|reader| reader.is_finished()) {
            // The strongest slews there are, in both directions.
            for rate in [middle / 2_000 * 1_999, middle / 2_000 * 2_001] {
                let before = clock.timeline.line();
                clock.timeline.adjust(rate, 0, u64::MAX);
                let after = clock.timeline.line();
                let end = before.at(after.tsc);
                assert!(after.ns > end && after.ns <= end + 2, "{after:?} begins where {before:?} ends");
                // Microseconds between two lines: a reader that mixed them would be wrong by as much.
                for _ in 0..200 {
                    std::hint::spin_loop();
                }
            }
        }
    });
}

#[test]
fn a_reset_counter_is_given_up_by_the_next_reader() {
    let Some(clock) = calibrated() else { return };
    let before = now(&clock);
    {
        let mut writer = clock.writer();
        let line = clock.timeline.line();
        let reset = Point { tsc: 1, unix_ns: before + 1_000_000, width_ticks: 10 };
        assert!(matches!(writer.discipline.clone().observe(&line, reset), Verdict::Distrust { .. }));
        clock.judge(&mut writer, reset);
    }
    assert!(!clock.has_hardware_timing());
    assert!(now(&clock) >= before);
    assert!(clock.report().unwrap().fallback.unwrap().contains("counter"), "the report says why");
}

#[test]
fn the_clock_observes_by_itself_when_it_is_due() {
    let Some(clock) = calibrated() else { return };
    // Overdue at once.
    clock.timeline.postpone(0);
    now(&clock);
    let due = clock.timeline.read();
    assert!(!matches!(due, crate::timeline::Reading::Counter { is_due: true, .. }), "{due:?}");
    assert_eq!(clock.report().unwrap().adjustments, 1);
}
