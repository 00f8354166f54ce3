//! The public interface on virtual time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod breaker_cases;
mod breaker_laws;
mod cancel;
mod config;
mod fallback;
mod layers;
mod limits;
mod reconfigure;
mod specification;

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::Timer;
use csf_resilience::{Guard, Policy, Ports};
use csf_sim::{SeededRng, SimExecutor};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn ports(world: &SimExecutor) -> Ports {
    Ports::new(Arc::new(world.clone()), SeededRng::new(1))
}

fn guard(world: &SimExecutor, name: &str, policy: Policy) -> Guard {
    Guard::new(name, policy, ports(world)).unwrap()
}

fn timer(world: &SimExecutor) -> Arc<dyn Timer> {
    Arc::new(world.clone())
}
