//! A guarded call whose service answers at once.

use std::future::{Future, ready};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use csf_core::port::{Sleep, Timer};
use csf_resilience::{BreakerPolicy, Call, Guard, Policy, Ports};
use csf_sim::SeededRng;

/// The clock that the peers read, too.
struct Monotonic(Instant);

impl Timer for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, _span: Duration) -> Sleep {
        Box::pin(std::future::pending())
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn guard(policy: Policy) -> Guard {
    let timer = Arc::new(Monotonic(Instant::now()));
    Guard::new("bench", policy, Ports::new(timer, SeededRng::new(1))).expect("the policy is one of the presets")
}

/// A breaker alone: five failures in a row, INT-083.
pub fn breaker() -> Guard {
    guard(Policy { breaker: Some(BreakerPolicy::default()), ..Policy::default() })
}

/// Breaker, retries and bulkhead: INT-083 to INT-085.
pub fn stages() -> Guard {
    guard(Policy::quantum_integration())
}

/// One call.
#[inline(always)]
pub fn call(guard: &mut Guard) {
    let answer = at_once(guard.call(Call::idempotent(), || ready(Ok::<u64, std::io::Error>(black_box(1)))));
    black_box(answer.expect("the service answers"));
}

/// The value of a future that never waits.
#[inline(always)]
pub fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the call waits"),
    }
}
