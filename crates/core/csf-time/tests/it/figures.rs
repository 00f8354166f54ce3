//! What the clocks cost and how far they are off, on this machine; prints figures, judges nothing.
//!
//! `cargo test --release -p csf-time --test it -- figures --ignored --nocapture`; `CSF_TEST_CLOCK_SECONDS` (default 10; FAB-042
//! asks for 60) is how long the error is watched.

use std::hint::black_box;
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::{HlcClock, TimeSource};
use csf_time::{Hlc, OsClock, Reference, SystemClock, TscClock};

const CALLS: u64 = 5_000_000;

/// Nanoseconds per call, the best of five rounds.
fn cost(name: &str, mut call: impl FnMut()) {
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let before = Reference::Boot.now_ns().unwrap();
        for _ in 0..CALLS {
            call();
        }
        best = best.min((Reference::Boot.now_ns().unwrap() - before) as f64 / CALLS as f64);
    }
    eprintln!("{name}: {best:.1} ns");
}

#[test]
#[ignore = "a measurement: run it by hand, in release"]
fn costs() {
    let os = OsClock::new().unwrap();
    cost("os clock", || {
        black_box(os.now_ns().unwrap());
    });
    let system: Arc<dyn TimeSource> = SystemClock::detect().unwrap();
    cost(if system.has_hardware_timing() { "system clock (tsc)" } else { "system clock (os)" }, || {
        black_box(system.now_ns().unwrap());
    });
    cost("system clock, unordered", || {
        black_box(system.now_ns_unordered().unwrap());
    });
    #[expect(clippy::disallowed_methods, reason = "the clock that everybody uses, to compare")]
    cost("std Instant", || {
        black_box(std::time::Instant::now());
    });
    let mut hlc = Hlc::new(system.clone(), 1);
    cost("hlc tick", || {
        black_box(hlc.tick().unwrap());
    });
    let reading = system.now_ns().unwrap();
    cost("hlc tick with a shared reading", || {
        black_box(hlc.tick_with(black_box(reading)).unwrap());
    });
    cost("hlc tick of a batch of 16", || {
        black_box(hlc.tick_batch(black_box(16)).unwrap());
    });
    let mut seen = hlc.last();
    cost("hlc merge", || {
        seen = black_box(hlc.merge(Stamp(seen.as_nanos() + 1)).unwrap());
    });
    cost("hlc observe", || hlc.observe(black_box(Stamp(1))));
}

/// FAB-042: median deviation from the raw monotonic clock, sandwiched, beside what reading that clock costs.
#[test]
#[ignore = "a measurement: run it by hand, in release"]
fn errors() {
    let seconds: u64 = std::env::var("CSF_TEST_CLOCK_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(10);
    for reference in [Reference::Raw, Reference::Boot] {
        let before = Reference::Boot.now_ns().unwrap();
        let clock = TscClock::calibrate_against(reference).unwrap();
        eprintln!("{reference:?}: calibrated in {:.2} ms", (Reference::Boot.now_ns().unwrap() - before) as f64 / 1e6);
        let start = reference.now_ns().unwrap();
        let (mut offsets, mut widths) = (Vec::new(), Vec::new());
        let mut next = start;
        while reference.now_ns().unwrap() < start + seconds * 1_000_000_000 {
            // A reader like a node: it keeps reading, and is asked for its error every millisecond.
            black_box(clock.now_ns().unwrap());
            if reference.now_ns().unwrap() >= next {
                next += 1_000_000;
                let report = clock.report().unwrap();
                offsets.push(report.offset_to_os_ns.unsigned_abs());
                widths.push(report.sandwich_ns);
            }
        }
        offsets.sort_unstable();
        widths.sort_unstable();
        let at = |sorted: &[u64], share: f64| sorted[((sorted.len() - 1) as f64 * share) as usize];
        eprintln!(
            "{reference:?}: |error| over {seconds} s, {} reads: p50 {} ns, p99 {} ns, max {} ns; sandwich p50 {} ns",
            offsets.len(),
            at(&offsets, 0.5),
            at(&offsets, 0.99),
            at(&offsets, 1.0),
            at(&widths, 0.5),
        );
        eprintln!("{:?}", clock.report().unwrap());
    }
}
