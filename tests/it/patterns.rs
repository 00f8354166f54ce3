//! FRM-001: the twelve integration patterns, each shown with what is there. What later parts bring is said in `docs/traceability.md`.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{BusConfig, PhaseCoherenceBus};
use csf_core::Fault;
use csf_core::port::Timer;
use csf_data::SqliteReader;
use csf_resilience::{BreakerPolicy, Call, Command, FallbackStrategy, Guard, Origin, Policy, Ports, Standby};
use csf_runtime::BoxFuture;
use csf_runtime::actor::{ActorContext, ActorState, ActorSystem, Address};
use csf_runtime::integrate::{
    IntegrationContract, MessageHandler, MessageRouter, Module, ModuleRegistry, Routed, Strategy, SupervisedExecutor,
    Valid,
};
use csf_runtime::node::{AlertThreshold, PathCleanup, ShutdownReason};
use csf_runtime::persist::{KeyRing, StateKey, StatePersistence};
use csf_runtime::supervise::{Backoff, Env, Flags, Restart, Supervisor};
use csf_sim::{SeededRng, SimExecutor};
use csf_tests::{Backing, IntegrationTestHarness};
use serde_json::json;

use crate::node::Running;

fn env(sim: &SimExecutor) -> Env {
    Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(1))
}

async fn harness() -> IntegrationTestHarness {
    IntegrationTestHarness::start(Backing::Embedded).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_01_hub_and_spoke_every_part_is_at_the_hub_and_none_starts_before_what_it_needs() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let hub = running.node.hub();
    let levels = hub.compute_parallel_levels().unwrap();
    let level_of = |id: &str| levels.iter().position(|level| level.iter().any(|name| name == id)).unwrap();
    for id in levels.iter().flatten() {
        let part = hub.get(id).unwrap();
        assert!(part.dependencies().iter().all(|needed| level_of(needed) < level_of(id)), "{id}: {levels:?}");
    }
    assert!(levels.len() > 1 && hub.health().len() == levels.iter().flatten().count());
    running.node.shutdown().await;
}

#[test]
fn pattern_02_supervised_async_tasks_come_back_and_are_counted() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let executor = SupervisedExecutor::new(env(&sim));
        let flags = Flags { intensity: 5, period_s: 60, backoff: Some(Backoff::default()), ..Flags::default() };
        executor.add_supervisor("ingest", flags).await.unwrap();
        let runs = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = runs.clone();
        let task = move || {
            let run = counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            ready(if run == 0 { Err(Fault::Failed("no link yet".to_owned())) } else { Ok(()) })
        };
        let id = executor.spawn_supervised("link", "ingest", Restart::Transient, task).await.unwrap();
        sim.sleep(Duration::from_secs(60)).await;
        assert_eq!(executor.task(&id).unwrap().failure_count, 1);
        assert_eq!((executor.metrics().starts, runs.load(std::sync::atomic::Ordering::Relaxed)), (2, 2));
    })
    .unwrap();
}

struct Odometer;

impl Module<()> for Odometer {
    type Config = u32;
    type State = u32;
    type Message = u32;
    type Response = u32;
    type Error = Infallible;

    fn initialize(config: u32, _system: &()) -> Result<u32, Infallible> {
        Ok(config)
    }

    fn handle_message(message: u32, state: &mut u32) -> Result<u32, Infallible> {
        *state += message;
        Ok(*state)
    }
}

/// Takes what is not nothing.
struct Drive;

impl IntegrationContract for Drive {
    type Input = u32;
    type Output = u32;
    type Error = String;

    fn validate_input(&self, input: &u32) -> Result<(), String> {
        if *input > 0 { Ok(()) } else { Err("nothing to drive".to_owned()) }
    }

    async fn execute(&self, input: Valid<u32>) -> Result<u32, String> {
        let mut modules = ModuleRegistry::new(());
        modules.register::<Odometer>(100).map_err(|e| e.to_string())?;
        modules.handle::<Odometer>(input.into_inner()).map_err(|e| e.to_string())
    }
}

#[test]
fn pattern_03_typed_modules_are_reached_through_a_contract() {
    let sim = SimExecutor::new(1);
    assert_eq!(sim.block_on(Drive.call(7)).unwrap(), Ok(107));
    assert_eq!(sim.block_on(Drive.call(0)).unwrap(), Err("nothing to drive".to_owned()));
}

struct Counter(u64);

impl ActorState for Counter {
    type Message = u64;
    type Reply = u64;

    async fn handle(&mut self, _cx: &mut ActorContext<'_, Self>, message: &u64) -> Result<u64, Fault> {
        self.0 += message;
        Ok(self.0)
    }
}

struct Add(u64);

impl Routed for Add {
    type Answer = u64;
}

struct ToActor(Address<Counter>);

impl MessageHandler<Add> for ToActor {
    fn name(&self) -> &str {
        self.0.id()
    }

    fn handle<'a>(&'a self, message: &'a Add) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move {
            let answer = self.0.ask(message.0, Duration::from_secs(1)).await;
            answer.map_err(|error| Fault::Failed(error.to_string()))
        })
    }
}

#[test]
fn pattern_04_actors_answer_messages_that_a_router_brings_to_all_of_them() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let env = env(&sim);
        let system = ActorSystem::new(PhaseCoherenceBus::new(BusConfig::default()), &env);
        let (one, first) = system.actor("one", || Counter(1)).build().unwrap();
        let (ten, second) = system.actor("ten", || Counter(10)).build().unwrap();
        let _root = Supervisor::start("root", Flags::default(), vec![first, second], env).await.unwrap();
        let mut router = MessageRouter::new();
        router.register::<Add>(Arc::new(ToActor(one)));
        router.register::<Add>(Arc::new(ToActor(ten)));
        let aggregate = router.route(&Add(5), &Strategy::All).await.unwrap();
        let mut answers: Vec<u64> = aggregate.answers().copied().collect();
        answers.sort_unstable();
        assert_eq!(answers, [6, 15]);
    })
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_05_core_and_data_what_is_durable_can_be_read_by_another() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let (id, _) = running.node.publish_json("n", json!({ "value": 7 })).unwrap();
    running.node.feed().durable(id).await.unwrap();
    let mut reader = SqliteReader::open_read_only(harness.folder()).unwrap();
    let found = csf_core::port::JournalReader::packet(&mut reader, id).unwrap();
    assert_eq!(found.map(|packet| packet.header.id), Some(id));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_06_core_and_security_who_has_no_token_learns_and_changes_nothing() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    for who in ["", "authorization: Bearer wrong\r\n"] {
        for (method, path) in [("GET", "/node"), ("POST", "/topics/n")] {
            let (status, body) = running.ask_as(who, method, path, "{\"payload\":{\"value\":1}}").await;
            assert_eq!(status, 401, "{method} {path}");
            assert!(body.get("name").is_none() && body.get("id").is_none(), "{body}");
        }
    }
    assert_eq!(running.ask("GET", "/topics/n/last", "").await.0, 404, "nothing was published");
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_07_core_and_transport_a_request_becomes_a_packet_and_its_effect_an_answer() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let (status, receipt) = running.ask("POST", "/topics/n", "{\"payload\":{\"value\":5},\"durable\":true}").await;
    assert_eq!((status, receipt["durability"].as_str()), (200, Some("disk")), "{receipt}");
    running.node.settle().await;
    let (_, sum) = running.ask("GET", "/topics/s/last", "").await;
    assert_eq!((&sum["payload"], &sum["cause"]), (&json!({ "sum": 5 }), &receipt["id"]));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_08_core_and_operations_what_changes_is_seen_from_outside() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    assert_eq!(running.ask("GET", "/health", "").await.1["overall_status"], "healthy");
    running.node.monitor().set_alert_threshold("journal.bytes", AlertThreshold::above(1.0, 1e18)).unwrap();
    assert_eq!(running.ask("GET", "/health", "").await.1["overall_status"], "degraded");
    let (_, history) = running.ask("GET", "/health/history", "").await;
    let newest = history["changes"].as_array().unwrap().last().unwrap();
    assert_eq!((&newest["component"], &newest["to"]), (&json!("journal.bytes"), &json!("degraded")));
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_09_staged_start_tells_its_phases_in_order() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let numbers: Vec<u8> = running.told.lock().unwrap().iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (0..=10).collect::<Vec<u8>>());
    running.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pattern_10_graceful_shutdown_finishes_what_was_accepted_and_cleans_up() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let file = harness.folder().join("node.file");
    std::fs::write(&file, "here").unwrap();
    running.node.cleanup().register(Arc::new(PathCleanup::new("node file", 1, vec![file.clone()])));
    let (id, _) = running.node.publish_json("n", json!({ "value": 1 })).unwrap();
    let report = running.node.stop(ShutdownReason::Requested, |_| ()).await;
    assert!(report.is_clean() && !file.exists(), "{report:?}");
    assert_eq!(report.phases.len(), 7);
    let mut reader = SqliteReader::open_read_only(harness.folder()).unwrap();
    assert!(csf_core::port::JournalReader::packet(&mut reader, id).unwrap().is_some(), "it was accepted");
}

/// The emergency stop ends the process it is in: `apps/csf/tests/it/life.rs` shows it on the binary.
#[tokio::test(flavor = "multi_thread")]
async fn pattern_11_state_persistence_the_next_start_proves_the_state_of_the_last() {
    let harness = harness().await;
    let keep = || {
        let keys = KeyRing::new(vec![StateKey::new("2026", [7; 32]).unwrap()]).unwrap();
        Arc::new(StatePersistence::new(harness.folder().join("state"), keys))
    };
    let first = Running::start(harness.folder()).await.unwrap();
    assert!(first.node.keep_state(keep()).unwrap().is_none());
    first.node.publish_json("n", json!({ "value": 3 })).unwrap();
    first.node.settle().await;
    first.node.shutdown().await;
    let second = Running::start(harness.folder()).await.unwrap();
    let proof = second.node.keep_state(keep()).unwrap().unwrap();
    assert_eq!((proof.is_current, proof.compared, proof.different), (true, 1, vec![]));
    second.node.shutdown().await;
}

#[test]
fn pattern_12_circuit_breaker_with_fallback_answers_while_the_other_side_does_not() {
    let sim = SimExecutor::new(1);
    let policy = Policy {
        breaker: Some(BreakerPolicy::default()),
        fallback: vec![FallbackStrategy::Default { value: json!(0) }],
        ..Policy::default()
    };
    let ports = Ports::new(Arc::new(sim.clone()), SeededRng::new(1));
    let guard = Guard::new("weather", policy, ports).unwrap();
    let call = || guard.call_or(Call::once(), || ready(Ok::<u32, &str>(21)), Standby::new());
    let before = sim.block_on(call()).unwrap().unwrap();
    guard.command(Command::Trip { wait: None }).unwrap();
    let during = sim.block_on(call()).unwrap().unwrap();
    assert_eq!(
        ((before.value, before.is_fallback()), (during.value, during.origin)),
        ((21, false), (0, Origin::Default))
    );
}
