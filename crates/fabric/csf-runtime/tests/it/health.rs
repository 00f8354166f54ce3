//! The health monitor on virtual time: checks that hang, panic and flap.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{TimeSource, Timer};
use csf_runtime::BoxFuture;
use csf_runtime::node::{
    FnCheck, HealthChange, HealthCheck, HealthCriticality, HealthMonitor, HealthResult, NotificationService, Status,
};
use csf_sim::SimExecutor;
use csf_time::SystemClock;

const SECOND: Duration = Duration::from_secs(1);

/// Remembers every alert, then does what it was made for: nothing, refuse, or panic.
struct Alerts {
    sent: Arc<Mutex<Vec<(String, Status, Status)>>>,
    then: fn() -> Result<(), String>,
}

impl NotificationService for Alerts {
    fn send_status_change_alert(&self, change: &HealthChange) -> Result<(), String> {
        self.sent.lock().unwrap().push((change.component.clone(), change.from, change.to));
        (self.then)()
    }
}

type Sent = Arc<Mutex<Vec<(String, Status, Status)>>>;

fn monitor(world: &SimExecutor, then: fn() -> Result<(), String>) -> (Arc<HealthMonitor>, Sent) {
    let clock: Arc<dyn TimeSource> = SystemClock::detect().unwrap();
    let monitor = HealthMonitor::new(Arc::new(world.clone()), Arc::new(world.clone()), clock);
    let sent = Sent::default();
    monitor.notify(Arc::new(Alerts { sent: sent.clone(), then }));
    (Arc::new(monitor), sent)
}

fn add(monitor: &HealthMonitor, name: &str, look: impl Fn() -> HealthResult + Send + Sync + 'static) {
    monitor.register_health_check(Arc::new(FnCheck::new(name, HealthCriticality::Critical, look)));
}

/// Never answers; counts how often it was begun.
struct Hanging(Arc<AtomicUsize>);

impl HealthCheck for Hanging {
    fn name(&self) -> &str {
        "hanging"
    }

    fn criticality(&self) -> HealthCriticality {
        HealthCriticality::Critical
    }

    fn check(&self) -> BoxFuture<'_, HealthResult> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::pending())
    }
}

#[test]
fn one_hanging_check_delays_no_other_and_is_begun_once() {
    let world = SimExecutor::new(1);
    let (monitor, sent) = monitor(&world, || Ok(()));
    let begun = Arc::new(AtomicUsize::new(0));
    monitor.register_health_check(Arc::new(Hanging(begun.clone())));
    add(&monitor, "well", || HealthResult::Healthy);
    add(&monitor, "ill", || HealthResult::Degraded("slow".to_owned()));

    let report = world.block_on(monitor.check_system_health()).unwrap();
    assert_eq!(world.now(), 2 * SECOND);
    let found: Vec<_> = report.components.iter().map(|c| (c.name.as_str(), c.status, c.response_ms)).collect();
    let expected =
        [("hanging", Status::Unknown, 2_000.0), ("well", Status::Healthy, 0.0), ("ill", Status::Degraded, 0.0)];
    assert_eq!(found, expected);
    assert_eq!(report.components[0].message, "the check timed out");
    assert_eq!((report.overall_status, report.check_duration_ms), (Status::Degraded, 2_000.0));

    // It still hangs: nobody waits for it again, and nothing new is told.
    world.block_on(monitor.check_system_health()).unwrap();
    assert_eq!((world.now(), begun.load(Ordering::SeqCst)), (2 * SECOND, 1));
    let (hanging, ill) = ("hanging".to_owned(), "ill".to_owned());
    let expected = [(hanging, Status::Unknown, Status::Unknown), (ill, Status::Unknown, Status::Degraded)];
    assert_eq!(*sent.lock().unwrap(), expected);
}

#[test]
fn a_check_that_panics_is_unhealthy_with_its_cause_and_the_rest_run() {
    let world = SimExecutor::new(1);
    let (monitor, _) = monitor(&world, || Ok(()));
    add(&monitor, "broken", || panic!("index 7 of 3"));
    add(&monitor, "well", || HealthResult::Healthy);
    for _ in 0..2 {
        let report = world.block_on(monitor.check_system_health()).unwrap();
        assert_eq!(report.components[0].message, "the check panicked: index 7 of 3");
        assert_eq!(report.critical_failures, ["broken"]);
        assert_eq!(report.components[1].status, Status::Healthy);
    }
}

/// What a flapping part says at each look, and the alerts that must come of it.
const FLAPS: &[Status] = &[
    Status::Healthy,
    Status::Unhealthy,
    Status::Unhealthy,
    Status::Healthy,
    Status::Degraded,
    Status::Degraded,
    Status::Unhealthy,
    Status::Healthy,
    Status::Healthy,
];

fn flapping() -> impl Fn() -> HealthResult {
    let looks = AtomicUsize::new(0);
    move || match FLAPS[looks.fetch_add(1, Ordering::SeqCst) % FLAPS.len()] {
        Status::Healthy => HealthResult::Healthy,
        Status::Degraded => HealthResult::Degraded("slow".to_owned()),
        _ => HealthResult::Unhealthy("gone".to_owned()),
    }
}

#[test]
fn a_flapping_part_gives_one_alert_per_change_even_when_alerts_fail() {
    let outcomes: [fn() -> Result<(), String>; 3] =
        [|| Ok(()), || Err("mail server is down".to_owned()), || panic!("oh")];
    for then in outcomes {
        let world = SimExecutor::new(1);
        let (monitor, sent) = monitor(&world, then);
        add(&monitor, "flapping", flapping());
        add(&monitor, "steady", || HealthResult::Healthy);
        monitor.start_monitoring(10 * SECOND, world.sleep(Duration::from_secs(85)));
        world.block_on(world.sleep(Duration::from_secs(1_000))).unwrap();
        let changes: Vec<_> = FLAPS.windows(2).filter(|w| w[0] != w[1]).map(|w| (w[0], w[1])).collect();
        let told: Vec<_> = sent.lock().unwrap().iter().map(|(_, from, to)| (*from, *to)).collect();
        assert_eq!(told, changes);
        assert_eq!(monitor.history().len(), changes.len());
        assert!(sent.lock().unwrap().iter().all(|(part, _, _)| part == "flapping"));
    }
}

#[test]
fn the_newest_sixty_four_changes_are_kept() {
    let world = SimExecutor::new(1);
    let (monitor, _) = monitor(&world, || Ok(()));
    let looks = AtomicUsize::new(0);
    add(&monitor, "restless", move || match looks.fetch_add(1, Ordering::SeqCst) {
        n if n % 2 == 0 => HealthResult::Healthy,
        n => HealthResult::Degraded(n.to_string()),
    });
    for _ in 0..200 {
        world.block_on(monitor.check_system_health()).unwrap();
    }
    let history = monitor.history();
    assert_eq!((history.len(), history.last().unwrap().message.as_str()), (64, "199"));
}
