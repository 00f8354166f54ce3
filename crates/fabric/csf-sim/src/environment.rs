//! The world of a unit test: time that starts at zero and stands until it is moved, and a log that shows with the test that failed.

use std::sync::{Arc, OnceLock};

use csf_core::NanoTime;
use csf_time::{SimulatedClock, initialize_global_time_source};
use tracing_subscriber::EnvFilter;

/// A clock of the test's own that stands at zero, and what the whole process needs once: a log that each test keeps to itself until it
/// fails, at `RUST_LOG` or from warnings on, and a global time source that is simulated too, stands at zero and is nobody's to move, so
/// that no test depends on another or on the machine's time. A global time source that is there already stays.
///
/// Call it first in every test that needs time.
#[must_use]
pub fn init_test_environment() -> Arc<SimulatedClock> {
    static PROCESS: OnceLock<()> = OnceLock::new();
    PROCESS.get_or_init(|| {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
        // Whoever has set up a log or a time source before us wanted that one.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let _ = initialize_global_time_source(SimulatedClock::starting_at(NanoTime::ZERO));
    });
    SimulatedClock::starting_at(NanoTime::ZERO)
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Duration;

    use csf_core::port::TimeSource;
    use csf_time::global_time_source;

    use super::*;

    /// FAB-132: however many tests run at once, each begins at zero and sees nobody else's time.
    #[test]
    fn every_test_has_a_time_of_its_own_from_zero() {
        let tests: Vec<_> = (1..8u64)
            .map(|own| {
                thread::spawn(move || {
                    let clock = init_test_environment();
                    assert_eq!(clock.now_ns(), Ok(NanoTime::ZERO));
                    clock.advance(Duration::from_nanos(own));
                    assert_eq!(clock.now_ns(), Ok(NanoTime::from_nanos(own)));
                    assert_eq!(global_time_source().unwrap().now_ns(), Ok(NanoTime::ZERO));
                })
            })
            .collect();
        tests.into_iter().for_each(|test| test.join().unwrap());
    }
}
