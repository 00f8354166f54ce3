//! What a guard adds to a call whose service answers at once. No goal: any call that leaves the node takes a thousand times as long.

use super::floor::{COUNTER, counter_side};
use crate::experiment::{Experiment, Side};
use crate::load::repeated;
use crate::ours::guard;
use crate::peer::tower_resilience as tower;
use crate::row::Spec;
use crate::stats::Metric;

/// Batches of a full run.
const BATCHES: u64 = 2_000;
/// Calls in each.
const CALLS: u64 = 256;

/// Breaker alone; breaker, retries and bulkhead.
pub fn experiment() -> Experiment {
    let (breaker, stages) = ("csf-resilience/breaker", "csf-resilience/stages");
    let (tower_breaker, tower_stages) = ("tower-resilience/breaker", "tower-resilience/stages");
    let sides = vec![
        Side::new(breaker, |effort| Ok(repeated(guard::breaker, effort.of(BATCHES), CALLS, guard::call))),
        Side::new(tower_breaker, |effort| Ok(repeated(tower::breaker, effort.of(BATCHES), CALLS, tower::call))),
        Side::new(stages, |effort| Ok(repeated(guard::stages, effort.of(BATCHES), CALLS, guard::call))),
        Side::new(tower_stages, |effort| Ok(repeated(tower::stages, effort.of(BATCHES), CALLS, tower::call))),
        counter_side(),
    ];
    let row = |id: &str, what: &str, ours: &str, peer: &str| {
        Spec::new(id, what, Metric::Cost, ours).peers(&[peer]).floor(COUNTER)
    };
    let specs = vec![
        row("guard.breaker", "call through a circuit breaker", breaker, tower_breaker),
        row("guard.stages", "call through retries, breaker and bulkhead", stages, tower_stages),
    ];
    Experiment::new("guarded calls", sides, specs)
}
