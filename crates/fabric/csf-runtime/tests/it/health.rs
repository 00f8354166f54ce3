//! The health monitor on virtual time: checks that hang, panic and flap.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{Interest, Start};
use csf_core::port::{TimeSource, Timer};
use csf_runtime::BoxFuture;
use csf_runtime::node::{
    AlertThreshold, FnCheck, HealthChange, HealthCheck, HealthCriticality, HealthMonitor, HealthResult,
    NotificationService, Status,
};
use csf_sim::{MemoryStore, SimExecutor};
use csf_time::SystemClock;

use crate::world::{SMALL, check};

const SECOND: Duration = Duration::from_secs(1);
const BUS_CHECK: &str = "performance requirements: bus";

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

/// A figure that the test moves.
fn figure(monitor: &HealthMonitor, name: &str) -> Arc<Mutex<Option<f64>>> {
    let value = Arc::new(Mutex::new(None));
    let read = value.clone();
    monitor.register_metric(name, move || *read.lock().unwrap());
    value
}

#[test]
fn a_figure_beyond_its_threshold_raises_one_alert_and_another_when_it_is_back() {
    let world = SimExecutor::new(1);
    let (monitor, sent) = monitor(&world, || Ok(()));
    let lag = figure(&monitor, "journal.lag");
    let look = || world.block_on(monitor.check_system_health()).unwrap();
    *lag.lock().unwrap() = Some(1e9);
    assert_eq!(look().components.len(), 0, "without limits it is not watched");
    monitor.set_alert_threshold("journal.lag", AlertThreshold::above(100.0, 1_000.0)).unwrap();
    let expected = [
        (None, Status::Healthy, ""),
        (Some(100.0), Status::Healthy, ""),
        (Some(101.0), Status::Degraded, "101 is above 100"),
        (Some(150.0), Status::Degraded, "150 is above 100"),
        (Some(5_000.0), Status::Unhealthy, "5000 is above 1000"),
        (Some(3.0), Status::Healthy, ""),
    ];
    for (value, status, message) in expected {
        *lag.lock().unwrap() = value;
        let report = look();
        assert_eq!((report.components[0].status, report.components[0].message.as_str()), (status, message));
        // The node goes on without what is not critical.
        let overall = if status == Status::Healthy { Status::Healthy } else { Status::Degraded };
        assert_eq!(report.overall_status, overall);
    }
    let told: Vec<_> = sent.lock().unwrap().iter().map(|(_, from, to)| (*from, *to)).collect();
    let (well, degraded, ill) = (Status::Healthy, Status::Degraded, Status::Unhealthy);
    assert_eq!(told, [(well, degraded), (degraded, ill), (ill, well)]);
}

#[test]
fn a_critical_figure_makes_the_node_unhealthy_and_one_that_panics_is_reported_while_the_rest_run() {
    let world = SimExecutor::new(1);
    let (monitor, _) = monitor(&world, || Ok(()));
    let power = figure(&monitor, "battery.volts");
    monitor.register_metric("broken", || panic!("no sensor"));
    add(&monitor, "well", || HealthResult::Healthy);
    let critical = AlertThreshold { criticality: HealthCriticality::Critical, ..AlertThreshold::below(11.0, 10.0) };
    monitor.set_alert_threshold("battery.volts", critical).unwrap();
    monitor.set_alert_threshold("broken", AlertThreshold::above(1.0, 2.0)).unwrap();
    *power.lock().unwrap() = Some(9.5);
    let report = world.block_on(monitor.check_system_health()).unwrap();
    assert_eq!(
        (report.overall_status, report.critical_failures),
        (Status::Unhealthy, vec!["battery.volts".to_owned()])
    );
    let found: Vec<_> = report.components.iter().map(|c| (c.name.as_str(), c.status, c.message.as_str())).collect();
    let expected = [
        ("well", Status::Healthy, ""),
        ("battery.volts", Status::Unhealthy, "9.5 is below 10"),
        ("broken", Status::Unhealthy, "the figure panicked: no sensor"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_threshold_for_a_figure_that_is_not_there_is_refused_with_those_that_are() {
    let world = SimExecutor::new(1);
    let (monitor, _) = monitor(&world, || Ok(()));
    let refused = || monitor.set_alert_threshold("lag", AlertThreshold::above(1.0, 2.0)).unwrap_err().to_string();
    assert_eq!(refused(), "no figure is called `lag`; the node has none");
    let _lag = figure(&monitor, "journal.lag");
    assert_eq!(refused(), "no figure is called `lag`; the node has `journal.lag`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_requirement_of_the_bus_degrades_the_node_until_a_change_lifts_it() {
    let told = |text: &str| check(&format!("{SMALL}{text}")).err().unwrap()[0].clone();
    let typo = told("[performance_requirements]\nmax_latncy_us = 1\n");
    assert_eq!((typo.code, typo.label.as_str()), ("CSF-0103", "did you mean `max_latency_us`?"));
    assert_eq!(told("[performance_requirements]\nmax_latency_us = 0\n").code, "CSF-0104");
    let strict = format!("{SMALL}[performance_requirements]\nmax_latency_us = 1\n");
    let clock = csf_time::SimulatedClock::starting_at(csf_core::NanoTime::from_nanos(1_000_000_000));
    let mut options = crate::world::options(&strict, &MemoryStore::default());
    options.clock = clock.clone();
    let node = csf_runtime::node::boot(options).await.unwrap();
    let found = async || {
        let report = node.health().await;
        report.components.into_iter().find(|part| part.name == BUS_CHECK)
    };
    assert_eq!(found().await.unwrap().status, Status::Healthy, "nothing was measured yet");
    let mut reading = node.bus().subscribe_any(&["n"], Interest::new().start(Start::Now), Arc::default()).unwrap();
    // The node looks too, and each look is of what came since the one before.
    let broken = || node.monitor().history().into_iter().find(|change| change.component == BUS_CHECK);
    while broken().is_none() {
        for value in 0..256 {
            node.publish_json("n", serde_json::json!({ "value": value })).unwrap();
            clock.advance(Duration::from_micros(50));
            while reading.peek().is_some() {
                reading.advance();
            }
        }
        node.settle().await;
        node.health().await;
    }
    let alert = broken().unwrap();
    assert_eq!((alert.to, alert.criticality), (Status::Degraded, HealthCriticality::NonCritical));
    assert!(alert.message.contains("max_latency_us = 1 broken"), "{}", alert.message);
    let report = node.reconfigure(check(SMALL).unwrap()).await.unwrap();
    assert_eq!(
        (report.plan.steps[0].kind.as_str(), report.plan.steps[0].name.as_str()),
        ("performance_requirements", "bus")
    );
    assert!(found().await.is_none());
    node.shutdown().await;
}
