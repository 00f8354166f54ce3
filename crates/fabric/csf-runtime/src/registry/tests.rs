//! The embedded registry against the suite, against a model, and behind services that answer on a bus.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use csf_bus::{BusConfig, PhaseCoherenceBus};
use csf_core::port::{
    Lease, RegistryError, ServiceCapabilities, ServiceChange, ServiceCondition, ServiceHealth, ServiceId, ServiceNeed,
    ServiceRecord, Standing, Timer,
};
use csf_core::{NanoTime, Stamp, port};
use csf_sim::{SeededRng, SimExecutor};
use csf_time::SimulatedClock;
use proptest::prelude::*;

use super::*;
use crate::BoxFuture;
use crate::integrate::{ServiceInfo, ServiceRegistry, ServiceRequest};
use crate::node::{FnCheck, HealthCriticality, HealthMonitor, HealthResult};
use crate::supervise::{Env, Flags, Supervisor};

const SECOND: Duration = Duration::from_secs(1);

fn embedded(world: &SimExecutor, limits: RegistryLimits) -> Arc<dyn port::ServiceRegistry> {
    Arc::new(EmbeddedRegistry::new(Arc::new(world.clone()), limits))
}

fn capabilities(operation: &str, capacity: u32) -> ServiceCapabilities {
    ServiceCapabilities {
        operations: [operation.to_owned()].into(),
        latency: SECOND,
        clock_error: SECOND,
        capacity: NonZeroU32::new(capacity).unwrap(),
    }
}

fn id(name: &str) -> ServiceId {
    ServiceId::new(name).unwrap()
}

fn need(operation_type: &str) -> ServiceNeed {
    ServiceNeed { operation_type: operation_type.into(), ..ServiceNeed::default() }
}

#[test]
fn the_embedded_registry_conforms() {
    let world = SimExecutor::new(1);
    let timer: Arc<dyn Timer> = Arc::new(world.clone());
    let suite = csf_sim::conformance::registry(&timer, || embedded(&world, RegistryLimits::default()));
    world.block_on(suite).unwrap();
}

/// INT-051: what is asked for is what is answered, by a service on a real bus.
#[test]
fn a_request_goes_to_the_healthy_service_and_to_the_sick_one_only_when_alone() {
    let world = SimExecutor::new(1);
    let registry = embedded(&world, RegistryLimits::default());
    let monitor = HealthMonitor::new(
        Arc::new(world.clone()),
        Arc::new(world.clone()),
        SimulatedClock::starting_at(NanoTime::ZERO),
    );
    monitor.notify(Arc::new(HealthFeed::new(registry.clone(), &world)));
    let is_sick = Arc::new(AtomicBool::new(false));
    let look = is_sick.clone();
    monitor.register_health_check(Arc::new(FnCheck::new("a", HealthCriticality::Critical, move || {
        match look.load(Ordering::SeqCst) {
            true => HealthResult::Unhealthy("it hangs".into()),
            false => HealthResult::Healthy,
        }
    })));
    let bus = PhaseCoherenceBus::new(BusConfig::new(SimulatedClock::starting_at(NanoTime::from_nanos(1))));
    let services = ServiceRegistry::new(bus, Arc::new(world.clone()));
    let specs = ["a", "b"].map(|name| {
        let named = move |_: &ServiceRequest| -> BoxFuture<'static, Result<Vec<u8>, String>> {
            Box::pin(std::future::ready(Ok(name.into())))
        };
        services.register_service(ServiceInfo::new(name, named)).unwrap()
    });
    let ask = async || {
        let chosen = registry.select_optimal_service("step", &need("echo")).await.unwrap();
        let service_id = chosen.id.to_string();
        let request = ServiceRequest { service_id, operation: "echo".into(), payload: Vec::new(), timeout_ms: 1_000 };
        let response = services.request(request).await.unwrap();
        (String::from_utf8(response.result.unwrap()).unwrap(), chosen.standing())
    };
    let work = async {
        let env = Env::new(Arc::new(world.clone()), Arc::new(world.clone()), SeededRng::new(1));
        let _root = Supervisor::start("root", Flags::default(), specs.into(), env).await.unwrap();
        world.sleep(SECOND).await;
        let lease = registry.register(id("a"), capabilities("echo", 10), 60 * SECOND).await.unwrap();
        let other = registry.register(id("b"), capabilities("echo", 10), 60 * SECOND).await.unwrap();
        assert_eq!(ask().await.0, "a", "both are fit: the name decides");
        registry.renew(&lease, ServiceCondition::default()).await.unwrap();
        is_sick.store(true, Ordering::SeqCst);
        monitor.check_system_health().await;
        world.sleep(SECOND).await;
        assert_eq!(ask().await.0, "b", "the monitor saw that the first hangs");
        registry.deregister(&other).await.unwrap();
        assert_eq!(ask().await, ("a".to_owned(), Standing::Unhealthy), "no alternative is left");
        is_sick.store(false, Ordering::SeqCst);
        monitor.check_system_health().await;
        world.sleep(SECOND).await;
        assert_eq!(ask().await, ("a".to_owned(), Standing::Fit));
    };
    world.block_on(work).unwrap();
}

#[test]
fn limits_are_refusals_and_a_slow_watcher_is_told() {
    let world = SimExecutor::new(1);
    let limits = RegistryLimits { services_max: 2, changes_max: 2, ..RegistryLimits::default() };
    let registry = embedded(&world, limits);
    let work = async {
        let mut watch = registry.watch().await.unwrap();
        let mut leases = Vec::new();
        for name in ["a", "b"] {
            leases.push(registry.register(id(name), capabilities("x", 1), SECOND).await.unwrap());
        }
        let third = registry.register(id("c"), capabilities("x", 1), SECOND).await;
        assert_eq!(third, Err(RegistryError::Full { limit: 2 }));
        let span = 2 * limits.lease_max;
        let refused = registry.register(id("c"), capabilities("x", 1), span).await;
        assert_eq!(refused, Err(RegistryError::LeaseSpan { span, min: limits.lease_min, max: limits.lease_max }));
        registry.deregister(&leases[0]).await.unwrap();
        assert_eq!(watch.changes.next().await, Err(RegistryError::Lagged { missed: 1 }));
        let again = registry.watch().await.unwrap();
        assert_eq!(again.services.len(), 1, "a new watch begins with what is there");
    };
    world.block_on(work).unwrap();
    for bad in ["", "two words", "tab\t", &"x".repeat(129)] {
        assert_eq!(ServiceId::new(bad), Err(RegistryError::BadName { name: bad.into() }));
    }
}

/// A caller's copy of a lease is only data: it cannot lengthen what was granted.
#[test]
fn a_lease_is_renewed_by_what_was_granted() {
    let world = SimExecutor::new(1);
    let registry = embedded(&world, RegistryLimits::default());
    let work = async {
        let lease = registry.register(id("a"), capabilities("x", 1), SECOND).await.unwrap();
        let forged = Lease { span: 1_000 * SECOND, ..lease };
        registry.renew(&forged, ServiceCondition::default()).await.unwrap();
        world.sleep(SECOND).await;
        assert_eq!(registry.discover(&need("x")).await.unwrap(), []);
    };
    world.block_on(work).unwrap();
}

/// One call, by any of four services.
#[derive(Clone, Debug)]
enum Call {
    Register(u8, u32, u32),
    Renew(u8, u32, u8, u64),
    Observe(u8, u8),
    Deregister(u8),
    Select(u64),
    Wait(u32),
}

fn call() -> impl Strategy<Value = Call> {
    let service = 0..4u8;
    prop_oneof![
        (service.clone(), 1..4u32, 1..6u32).prop_map(|(s, capacity, lease)| Call::Register(s, capacity, lease)),
        (service.clone(), 0..4u32, 0..3u8, 0..10u64)
            .prop_map(|(s, load, health, seen)| Call::Renew(s, load, health, seen)),
        (service.clone(), 0..3u8).prop_map(|(s, health)| Call::Observe(s, health)),
        service.prop_map(Call::Deregister),
        (0..10u64).prop_map(Call::Select),
        (1..4u32).prop_map(Call::Wait),
    ]
}

const HEALTH: [ServiceHealth; 3] = [ServiceHealth::Healthy, ServiceHealth::Degraded, ServiceHealth::Unhealthy];

/// What a watcher believes.
fn follow(believed: &mut BTreeMap<ServiceId, ServiceHealth>, change: ServiceChange) {
    match change {
        ServiceChange::Registered(record) => assert_eq!(believed.insert(record.id, record.health), None),
        ServiceChange::Health(record) => {
            let before = believed.insert(record.id, record.health);
            assert!(before.is_some_and(|before| before != record.health), "a change of health changes it");
        }
        ServiceChange::Left(id) | ServiceChange::Expired(id) => assert!(believed.remove(&id).is_some()),
    }
}

/// No other capable service is better in what the requirement names.
fn judge(chosen: &ServiceRecord, all: &[ServiceRecord], after: Stamp) {
    for other in all.iter().filter(|other| other.id != chosen.id) {
        let key = |record: &ServiceRecord| (record.standing(), record.seen < after);
        assert!(key(chosen) <= key(other), "{chosen:?} was chosen over {other:?}");
        if key(chosen) == key(other) {
            let share = |r: &ServiceRecord| f64::from(r.in_flight) / f64::from(r.capabilities.capacity.get());
            assert!(share(chosen) <= share(other), "{chosen:?} has more load than {other:?}");
        }
    }
}

proptest! {
    /// Whatever is called: only live leases are seen, the choice is never worse than another, and a watcher knows what the registry does.
    #[test]
    fn calls_agree_with_a_model(calls in proptest::collection::vec(call(), 1..80), seed in any::<u64>()) {
        let world = SimExecutor::new(seed);
        let registry = embedded(&world, RegistryLimits::default());
        let work = async {
            let mut watch = registry.watch().await.unwrap();
            let mut believed = BTreeMap::new();
            // The newest lease of each service, and when it ends.
            let mut leases: BTreeMap<u8, (Lease, Duration)> = BTreeMap::new();
            for call in calls {
                let now = world.now();
                let live = |leases: &BTreeMap<u8, (Lease, Duration)>, s: u8| leases.get(&s).is_some_and(|(_, end)| *end > now);
                match call {
                    Call::Register(s, capacity, lease) => {
                        let result = registry.register(id(&s.to_string()), capabilities("x", capacity), lease * SECOND).await;
                        assert_eq!(result.is_ok(), !live(&leases, s));
                        if let Ok(lease) = result {
                            assert!(leases.values().all(|(older, _)| older.token < lease.token));
                            let end = now + lease.span;
                            leases.insert(s, (lease, end));
                        }
                    }
                    Call::Renew(s, in_flight, health, seen) => {
                        let is_live = live(&leases, s);
                        let Some((lease, end)) = leases.get_mut(&s) else { continue };
                        let condition = ServiceCondition { in_flight, health: HEALTH[usize::from(health)], seen: Stamp(seen) };
                        assert_eq!(registry.renew(lease, condition).await.is_ok(), is_live);
                        if is_live {
                            *end = now + lease.span;
                        }
                    }
                    Call::Observe(s, health) => {
                        let result = registry.observe(&id(&s.to_string()), HEALTH[usize::from(health)]).await;
                        assert_eq!(result.is_ok(), live(&leases, s));
                    }
                    Call::Deregister(s) => {
                        let is_live = live(&leases, s);
                        let Some((lease, end)) = leases.get_mut(&s) else { continue };
                        assert_eq!(registry.deregister(lease).await.is_ok(), is_live);
                        *end = Duration::ZERO;
                    }
                    Call::Select(after) => {
                        let need = ServiceNeed { after: Stamp(after), ..need("x") };
                        let all = registry.discover(&need).await.unwrap();
                        match registry.select_optimal_service("step", &need).await {
                            Ok(chosen) => judge(&chosen, &all, need.after),
                            Err(_) => assert_eq!(all, []),
                        }
                    }
                    Call::Wait(seconds) => world.sleep(seconds * SECOND).await,
                }
                let now = world.now();
                let expected: Vec<_> = leases.values().filter(|(_, end)| *end > now).map(|(l, _)| l.service.clone()).collect();
                let mut found: Vec<_> = registry.discover(&need("x")).await.unwrap().into_iter().map(|r| (r.id, r.health)).collect();
                found.sort();
                assert_eq!(found.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), expected);
                while let Some(change) = futures_util::FutureExt::now_or_never(watch.changes.next()) {
                    follow(&mut believed, change.unwrap());
                }
                assert_eq!(believed.clone().into_iter().collect::<Vec<_>>(), found);
            }
        };
        world.block_on(work).unwrap();
    }
}
