//! What every [`Timer`] and [`Spawn`] keeps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use csf_core::port::{Spawn, Timer, within};

const SHORT: Duration = Duration::from_millis(2);
const LONG: Duration = Duration::from_secs(3_600);

/// Runs the suite; to be awaited on the executor under test.
///
/// # Panics
/// With the claim that does not hold.
pub async fn execution(world: Arc<impl Timer + Spawn + 'static>) {
    let before = world.now();
    world.sleep(SHORT).await;
    assert!(world.now() - before >= SHORT, "a sleep lasts at least its span");

    let sleep = world.sleep(SHORT);
    world.sleep(2 * SHORT).await;
    let after = world.now();
    assert_eq!(
        within(&*world, Duration::ZERO, sleep).await,
        Some(()),
        "a sleep counts from the call, not the first poll"
    );
    assert!(world.now() >= after, "time does not go back");

    assert_eq!(within(&*world, LONG, async { 1 }).await, Some(1), "work that is ready wins");
    assert_eq!(within(&*world, SHORT, world.sleep(LONG)).await, None, "a limit ends a wait");

    let ran = Arc::new(AtomicU32::new(0));
    for _ in 0..100 {
        let (ran, inner) = (ran.clone(), world.clone());
        world.spawn(Box::pin(async move {
            inner.sleep(SHORT).await;
            ran.fetch_add(1, Ordering::Relaxed);
        }));
    }
    while ran.load(Ordering::Relaxed) < 100 {
        world.sleep(SHORT).await;
    }
}
