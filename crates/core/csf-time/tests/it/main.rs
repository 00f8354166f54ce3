//! The clocks against the suites, the globals, and a cluster of clocks that disagree.
#![allow(clippy::unwrap_used, reason = "the helpers of tests may fail as the tests do")]

mod cluster;
mod figures;
mod globals;
mod hlc_faults;
mod hlc_properties;
mod stepped_clock;

use std::sync::Arc;

use csf_core::NanoTime;
use csf_core::port::TimeSource;
use csf_sim::conformance;
use csf_time::{ClockSource, Hlc, OsClock, SimulatedClock, SystemClock, TscClock};

#[test]
fn the_operating_systems_clock_conforms() {
    conformance::time_source(&OsClock::new().unwrap());
}

#[test]
fn the_counter_conforms() {
    match TscClock::calibrate() {
        Ok(clock) => conformance::time_source(&clock),
        Err(e) => eprintln!("SKIPPED the_counter_conforms: {e}"),
    }
}

#[test]
fn a_counter_that_was_given_up_conforms() {
    match TscClock::calibrate() {
        Ok(clock) => {
            clock.distrust("planted by the test");
            conformance::time_source(&clock);
        }
        Err(e) => eprintln!("SKIPPED a_counter_that_was_given_up_conforms: {e}"),
    }
}

#[test]
fn the_simulated_clock_conforms() {
    conformance::time_source(&*SimulatedClock::starting_at(NanoTime::ZERO));
}

#[test]
fn the_system_clock_conforms_with_and_without_a_counter() {
    conformance::time_source(&*SystemClock::detect().unwrap());
    let plain = SystemClock::without_hardware("planted by the test").unwrap();
    conformance::time_source(&*plain);
    assert!(!plain.has_hardware_timing());
    let report = plain.report().unwrap();
    assert_eq!((report.source, report.fallback.as_deref()), (ClockSource::Os, Some("planted by the test")));
}

#[test]
fn the_hybrid_logical_clock_conforms() {
    conformance::hlc(|source, node_id| Box::new(Hlc::new(source, node_id)));
}

#[test]
fn a_clock_tells_unix_time() {
    let clock: Arc<dyn TimeSource> = SystemClock::detect().unwrap();
    let now = clock.now_ns().unwrap().as_nanos();
    // 2020 to 2100; the tests may not read the wall clock themselves.
    assert!((1_577_836_800_000_000_000..4_102_444_800_000_000_000).contains(&now), "{now}");
}
