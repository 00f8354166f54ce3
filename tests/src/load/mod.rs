//! Load tests: more and more users at once against a running node, until too much of what they ask fails.
//!
//! Each user asks at a rate of its own, whether or not the node keeps up. A request that could not be made when it was due counts from when it was
//! due: what a slow answer does to those behind it is in the figures (no coordinated omission).
//! Reference: FRM-097; Tene, "How NOT to Measure Latency" (2013).

mod node;
mod report;
mod scenario;
mod user;

pub use node::NodeProcess;
pub use report::{ERROR_RATE_MAX, LoadTestReport};
pub use scenario::{LEVELS, LoadScenario, ScenarioResult, ScenarioType, User, load_test_concurrency, run_scenario};
pub use user::{NodeUser, TOPIC, Target};
