//! What every service registry does: leases, the choice, and watching.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    Lease, OrchestrationError, RegistryError, ServiceCapabilities, ServiceChange, ServiceCondition, ServiceHealth,
    ServiceId, ServiceNeed, ServiceRegistry, Standing, Timer, TimingRequirements, within,
};

/// A lease every registry gives.
const LEASE: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);

type Registry = Arc<dyn ServiceRegistry>;

/// Runs the suite inside a world whose time `timer` is the registry's; await it there, on virtual time: it waits for leases to end.
/// Each call of `make` gives a new, empty registry.
///
/// # Panics
/// With the claim that does not hold.
pub async fn registry(timer: &Arc<dyn Timer>, make: impl Fn() -> Registry) {
    only_capable_services_are_found(make()).await;
    a_step_nobody_can_execute_is_named(make()).await;
    unhealthy_and_overloaded_services_are_the_last_choice(make()).await;
    who_has_seen_the_causes_comes_before_who_is_idle(make()).await;
    choices_count_as_load_until_the_next_report(make()).await;
    a_name_has_one_live_lease(make()).await;
    a_lease_that_is_not_renewed_ends(timer, make()).await;
    an_old_lease_has_no_power(timer, make()).await;
    the_worse_word_about_health_counts(make()).await;
    a_watch_is_told_every_change_after_its_services(timer, make()).await;
    a_watch_hears_of_an_end_that_nobody_else_sees(timer, make()).await;
}

fn id(name: &str) -> ServiceId {
    ServiceId::new(name).expect("a plain name")
}

/// Executes `solve` within `latency_ms`, `capacity` at once.
fn solver(latency_ms: u32, capacity: u32) -> ServiceCapabilities {
    ServiceCapabilities {
        operations: ["solve".to_owned()].into(),
        latency: latency_ms * MS,
        clock_error: MS,
        capacity: NonZeroU32::new(capacity).expect("room for one"),
    }
}

fn need(latency_max_ms: u32) -> ServiceNeed {
    let timing_requirements = TimingRequirements { latency_max: Some(latency_max_ms * MS), clock_error_max: None };
    ServiceNeed { operation_type: "solve".into(), timing_requirements, after: Stamp(0) }
}

fn busy(in_flight: u32) -> ServiceCondition {
    ServiceCondition { in_flight, ..ServiceCondition::default() }
}

async fn register(registry: &Registry, name: &str, capabilities: ServiceCapabilities) -> Lease {
    registry.register(id(name), capabilities, LEASE).await.expect("a free name, a fair lease")
}

async fn renew(registry: &Registry, lease: &Lease, condition: ServiceCondition) {
    registry.renew(lease, condition).await.expect("a live lease");
}

async fn found(registry: &Registry, need: &ServiceNeed) -> Vec<String> {
    let records = registry.discover(need).await.expect("a registry that answers");
    records.into_iter().map(|record| record.id.to_string()).collect()
}

async fn chosen(registry: &Registry) -> String {
    registry.select_optimal_service("step", &need(1_000)).await.expect("somebody is capable").id.to_string()
}

async fn only_capable_services_are_found(registry: Registry) {
    register(&registry, "slow", solver(100, 1)).await;
    register(&registry, "fast", solver(10, 1)).await;
    let other = ServiceCapabilities { operations: ["draw".to_owned()].into(), ..solver(1, 1) };
    register(&registry, "painter", other).await;
    assert_eq!(found(&registry, &need(100)).await, ["fast", "slow"], "who executes the operation, in time");
    assert_eq!(found(&registry, &need(10)).await, ["fast"], "a promise equal to the limit keeps it");
    assert_eq!(found(&registry, &need(9)).await, [""; 0], "nobody keeps 9 ms");
    let exact = TimingRequirements { latency_max: None, clock_error_max: Some(MS / 2) };
    let exact = ServiceNeed { timing_requirements: exact, ..need(0) };
    assert_eq!(found(&registry, &exact).await, [""; 0], "a clock that is off by more is no match");
}

async fn a_step_nobody_can_execute_is_named(registry: Registry) {
    register(&registry, "slow", solver(100, 1)).await;
    let refused = registry.select_optimal_service("step-7", &need(99)).await;
    assert_eq!(refused, Err(OrchestrationError::NoCapableService("step-7".into())), "no capable service");
}

async fn unhealthy_and_overloaded_services_are_the_last_choice(registry: Registry) {
    let sick = register(&registry, "a-sick", solver(1, 100)).await;
    let full = register(&registry, "b-full", solver(1, 2)).await;
    let weak = register(&registry, "c-weak", solver(1, 100)).await;
    let last = register(&registry, "d-last", solver(900, 10)).await;
    let is = |health| ServiceCondition { health, ..ServiceCondition::default() };
    renew(&registry, &sick, is(ServiceHealth::Unhealthy)).await;
    renew(&registry, &full, busy(2)).await;
    renew(&registry, &weak, is(ServiceHealth::Degraded)).await;
    renew(&registry, &last, busy(9)).await;
    assert_eq!(found(&registry, &need(1_000)).await, ["d-last", "c-weak", "b-full", "a-sick"], "the order of standing");
    assert_eq!(
        chosen(&registry).await,
        "d-last",
        "a slow and busy one before an unhealthy, overloaded or degraded one"
    );
    registry.deregister(&last).await.expect("a live lease");
    registry.deregister(&weak).await.expect("a live lease");
    let least_bad = registry.select_optimal_service("step", &need(1_000)).await.expect("capable ones are left");
    assert_eq!(
        (least_bad.id.as_str(), least_bad.standing()),
        ("b-full", Standing::Overloaded),
        "no alternative is left"
    );
}

async fn who_has_seen_the_causes_comes_before_who_is_idle(registry: Registry) {
    let current = register(&registry, "current", solver(10, 10)).await;
    register(&registry, "behind", solver(1, 10)).await;
    renew(&registry, &current, ServiceCondition { in_flight: 9, seen: Stamp(500), ..busy(0) }).await;
    let after = |stamp| ServiceNeed { after: Stamp(stamp), ..need(1_000) };
    assert_eq!(found(&registry, &after(500)).await, ["current", "behind"], "one that needs not wait for the causes");
    assert_eq!(found(&registry, &after(501)).await, ["behind", "current"], "both would wait: the smaller load");
}

async fn choices_count_as_load_until_the_next_report(registry: Registry) {
    let large = register(&registry, "large", solver(10, 4)).await;
    register(&registry, "small", solver(10, 2)).await;
    let mut times = [0, 0];
    for _ in 0..6 {
        times[usize::from(chosen(&registry).await == "small")] += 1;
    }
    assert_eq!(times, [4, 2], "choices between reports fill each service in proportion to its capacity");
    renew(&registry, &large, busy(0)).await;
    let next = registry.select_optimal_service("step", &need(1_000)).await.expect("somebody is capable");
    assert_eq!((next.id.as_str(), next.in_flight), ("large", 0), "a report replaces what was counted");
}

async fn a_name_has_one_live_lease(registry: Registry) {
    let lease = register(&registry, "only", solver(1, 1)).await;
    match registry.register(id("only"), solver(1, 1), LEASE).await {
        Err(RegistryError::Taken { .. }) => {}
        other => panic!("a name that is taken is refused, got {other:?}"),
    }
    registry.deregister(&lease).await.expect("a live lease");
    let next = register(&registry, "only", solver(1, 1)).await;
    assert!(next.token > lease.token, "tokens grow: {} after {}", next.token, lease.token);
    match registry.register(id("other"), solver(1, 1), Duration::ZERO).await {
        Err(RegistryError::LeaseSpan { .. }) => {}
        other => panic!("a lease of nothing is refused, got {other:?}"),
    }
}

async fn a_lease_that_is_not_renewed_ends(timer: &Arc<dyn Timer>, registry: Registry) {
    let kept = register(&registry, "kept", solver(1, 1)).await;
    register(&registry, "silent", solver(1, 1)).await;
    timer.sleep(LEASE / 2).await;
    renew(&registry, &kept, busy(0)).await;
    assert_eq!(found(&registry, &need(1_000)).await, ["kept", "silent"], "half a lease is not over");
    timer.sleep(LEASE / 2).await;
    assert_eq!(found(&registry, &need(1_000)).await, ["kept"], "a lease that was not renewed is over");
    register(&registry, "silent", solver(1, 1)).await;
}

async fn an_old_lease_has_no_power(timer: &Arc<dyn Timer>, registry: Registry) {
    let old = register(&registry, "twice", solver(1, 1)).await;
    timer.sleep(LEASE).await;
    let over = Err(RegistryError::LeaseOver { service: id("twice"), token: old.token });
    assert_eq!(registry.renew(&old, busy(0)).await, over, "a lease that is over is not renewed");
    let new = register(&registry, "twice", solver(1, 1)).await;
    assert_eq!(registry.renew(&old, busy(0)).await, over, "nor does it renew its successor");
    assert_eq!(registry.deregister(&old).await, over, "nor take it out");
    renew(&registry, &new, busy(0)).await;
}

async fn the_worse_word_about_health_counts(registry: Registry) {
    let lease = register(&registry, "seen", solver(1, 1)).await;
    registry.observe(&id("seen"), ServiceHealth::Unhealthy).await.expect("it is registered");
    renew(&registry, &lease, busy(0)).await;
    let health = async || registry.discover(&need(1_000)).await.expect("an answer")[0].health;
    assert_eq!(health().await, ServiceHealth::Unhealthy, "a service cannot talk a monitor's word away");
    registry.observe(&id("seen"), ServiceHealth::Healthy).await.expect("it is registered");
    assert_eq!(health().await, ServiceHealth::Healthy, "the monitor can");
    let nobody = registry.observe(&id("nobody"), ServiceHealth::Healthy).await;
    assert_eq!(nobody, Err(RegistryError::Unknown { service: id("nobody") }), "nobody of that name");
}

async fn a_watch_is_told_every_change_after_its_services(timer: &Arc<dyn Timer>, registry: Registry) {
    let first = register(&registry, "first", solver(1, 1)).await;
    let mut watch = registry.watch().await.expect("a watch");
    let names: Vec<_> = watch.services.iter().map(|record| record.id.as_str()).collect();
    assert_eq!(names, ["first"], "a watch begins with what is there");
    register(&registry, "second", solver(1, 1)).await;
    renew(&registry, &first, busy(1)).await;
    registry.observe(&id("second"), ServiceHealth::Degraded).await.expect("it is registered");
    registry.deregister(&first).await.expect("a live lease");
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(match watch.changes.next().await.expect("not lagging") {
            ServiceChange::Registered(record) => format!("+{}", record.id),
            ServiceChange::Health(record) => format!("{} {:?}", record.id, record.health),
            ServiceChange::Left(id) => format!("-{id}"),
            ServiceChange::Expired(id) => format!("!{id}"),
        });
    }
    assert_eq!(told, ["+second", "second Degraded", "-first"], "every change in order; a renewal is none");
    let more = within(timer.as_ref(), LEASE / 2, watch.changes.next()).await;
    assert_eq!(more, None, "nothing else changed");
}

async fn a_watch_hears_of_an_end_that_nobody_else_sees(timer: &Arc<dyn Timer>, registry: Registry) {
    register(&registry, "silent", solver(1, 1)).await;
    let mut watch = registry.watch().await.expect("a watch");
    let told = within(timer.as_ref(), 2 * LEASE, watch.changes.next()).await;
    assert_eq!(told, Some(Ok(ServiceChange::Expired(id("silent")))), "a lease ends although nobody calls");
}
