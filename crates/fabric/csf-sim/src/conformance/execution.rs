//! What every place to wait and to run tasks does.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use csf_core::port::{Spawn, Timer, within};

const STEP: Duration = Duration::from_millis(20);

/// Runs the suite inside a world: await it there. Real worlds need some tenths of a second.
///
/// # Panics
/// With the claim that does not hold.
pub async fn execution(timer: &Arc<dyn Timer>, spawn: &Arc<dyn Spawn>) {
    a_wait_is_never_too_short_and_counts_from_its_call(timer).await;
    tasks_run_beside_each_other_in_the_order_of_their_waits(timer, spawn).await;
    a_limit_ends_what_would_not_end(timer).await;
}

async fn a_wait_is_never_too_short_and_counts_from_its_call(timer: &Arc<dyn Timer>) {
    let before = timer.now();
    let (first, second) = (timer.sleep(STEP), timer.sleep(STEP));
    first.await;
    let between = timer.now();
    assert!(between >= before + STEP, "a wait of {STEP:?} took {:?}", between - before);
    // Ready already, or nearly: it was begun together with the first.
    let late = within(timer.as_ref(), STEP / 2, second).await;
    assert!(late.is_some(), "a wait counts from its call, not from its first poll");
    timer.sleep(Duration::ZERO).await;
    assert!(timer.now() >= between, "time never goes backwards");
}

async fn tasks_run_beside_each_other_in_the_order_of_their_waits(timer: &Arc<dyn Timer>, spawn: &Arc<dyn Spawn>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    for steps in [3, 1, 2] {
        let (timer, seen) = (timer.clone(), seen.clone());
        spawn.spawn(Box::pin(async move {
            timer.sleep(steps * STEP).await;
            seen.lock().unwrap_or_else(PoisonError::into_inner).push(steps);
        }));
    }
    timer.sleep(6 * STEP).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, [1, 2, 3], "three tasks that waited 3, 1 and 2 steps");
}

async fn a_limit_ends_what_would_not_end(timer: &Arc<dyn Timer>) {
    let ended = within(timer.as_ref(), STEP, std::future::pending::<()>()).await;
    assert_eq!(ended, None, "a limit ends what waits for ever");
    let ended = within(timer.as_ref(), STEP, async { 7 }).await;
    assert_eq!(ended, Some(7), "work that is ready keeps its value");
}
