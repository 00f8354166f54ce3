//! FRM-003 to FRM-005: parts and links that are there, rows of the integration matrix, and the order of the work.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{BusConfig, PhaseCoherenceBus};
use csf_core::port::Timer;
use csf_runtime::integrate::{ServiceInfo, ServiceRegistry, ServiceRequest, ServiceStatus};
use csf_runtime::node::TreeNode;
use csf_runtime::supervise::{Env, Flags, Supervisor};
use csf_sim::{SeededRng, SimExecutor};
use csf_tests::{Backing, IntegrationTestHarness};
use serde_json::json;

use crate::node::Running;

async fn harness() -> IntegrationTestHarness {
    IntegrationTestHarness::start(Backing::Embedded).await.unwrap()
}

fn names(node: &TreeNode, into: &mut BTreeSet<String>) {
    into.insert(node.name.clone());
    node.children.iter().for_each(|child| names(child, into));
}

/// FRM-003: links that exist carry something: orchestrator to tree, bus and registry; tree to health; bus to journal.
#[tokio::test(flavor = "multi_thread")]
async fn links_between_the_layers_that_exist_carry_a_packet_and_a_state() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let node = &running.node;
    let (id, _) = node.publish_json("n", json!({ "value": 2 })).unwrap();
    node.feed().durable(id).await.unwrap();
    node.settle().await;
    let (status, why) = running.ask("GET", "/topics/s/last", "").await;
    assert_eq!((status, &why["cause"]), (200, &json!(id.to_string())), "bus, component, journal, gateway");
    let health = node.health().await;
    let checked: BTreeSet<&str> = health.components.iter().map(|c| c.name.as_str()).collect();
    assert!(["numbers", "adder"].iter().all(|part| checked.contains(part)), "tree to health: {checked:?}");
    node.shutdown().await;
}

/// FRM-004, SupervisionTree: all components, their life cycle.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_supervision_tree_has_every_component_and_service_of_the_topology() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let mut found = BTreeSet::new();
    names(&running.node.supervision().root, &mut found);
    let (_, components) = running.ask("GET", "/components", "").await;
    for component in components.as_array().unwrap() {
        assert!(found.contains(component["name"].as_str().unwrap()), "{component} is supervised by nobody: {found:?}");
    }
    running.node.shutdown().await;
}

/// FRM-004, EventBus: all components, publish and subscribe.
#[tokio::test(flavor = "multi_thread")]
async fn matrix_event_bus_links_every_component_to_its_topics() {
    let harness = harness().await;
    let running = Running::start(harness.folder()).await.unwrap();
    let topics: BTreeSet<String> = running.node.bus().topics().iter().map(|t| t.spec().name.clone()).collect();
    let (_, components) = running.ask("GET", "/components", "").await;
    for component in components.as_array().unwrap() {
        let linked = ["reads", "writes"].iter().flat_map(|side| component[side].as_array().unwrap());
        assert!(linked.map(|t| t.as_str().unwrap()).all(|t| topics.contains(t)), "{component} {topics:?}");
    }
    running.node.shutdown().await;
}

/// FRM-004, ServiceRegistry: services find each other by name, over the bus.
#[test]
fn matrix_service_registry_finds_a_service_by_its_name() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let world = Arc::new(sim.clone());
        let registry = ServiceRegistry::new(PhaseCoherenceBus::new(BusConfig::default()), world.clone());
        let echo = ServiceInfo::new("echo", |request: &ServiceRequest| {
            let payload = request.payload.clone();
            Box::pin(async move { Ok(payload) })
        });
        let spec = registry.register_service(echo).unwrap();
        let env = Env::new(world.clone(), world, SeededRng::new(1));
        let _root = Supervisor::start("services", Flags::default(), vec![spec], env).await.unwrap();
        // Virtual time goes on when the service has subscribed.
        sim.sleep(Duration::from_secs(1)).await;
        let ask = |service: &str| {
            let (service_id, operation) = (service.to_owned(), "say".to_owned());
            registry.request(ServiceRequest { service_id, operation, payload: vec![4, 2], timeout_ms: 1_000 })
        };
        let answer = ask("echo").await.unwrap();
        assert_eq!((answer.status, answer.result), (ServiceStatus::Success, Some(vec![4, 2])));
        assert_eq!(ask("nobody").await.unwrap().status, ServiceStatus::TimedOut);
        assert_eq!(registry.services(), ["echo"]);
    })
    .unwrap();
}

/// FRM-005: no item of high priority is closed while one of critical priority has no evidence.
#[test]
fn critical_items_are_verified_before_high_ones_are_closed() {
    const CRITICAL: [&str; 4] = ["FRM-010", "FRM-012", "FRM-013", "FRM-016"];
    const HIGH: [&str; 3] = ["FRM-040", "FRM-041", "FRM-100"];
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/traceability.md");
    let text = std::fs::read_to_string(file).unwrap();
    let row = |id: &str| -> Vec<String> {
        let line = text.lines().find(|line| line.starts_with(&format!("| {id} |"))).unwrap();
        line.split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let is_verified = |id: &str| row(id)[2] != "open" && row(id)[4].contains("::");
    let unverified: Vec<&str> = CRITICAL.into_iter().filter(|id| !is_verified(id)).collect();
    let closed: Vec<&str> = HIGH.into_iter().filter(|id| row(id)[2] == "done").collect();
    assert!(unverified.is_empty() || closed.is_empty(), "{closed:?} closed before {unverified:?} is verified");
}
