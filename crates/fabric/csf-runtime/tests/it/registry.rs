//! The node's service registry: who is in it, since when, and how good a choice they are.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{ServiceHealth, ServiceId, ServiceNeed, Standing, Timer, TimingRequirements};
use csf_runtime::World;
use csf_runtime::exec::RunState;
use csf_runtime::node::{Node, Registered, boot};
use csf_sim::{MemoryStore, SeededRng, SimClock, SimExecutor};

use crate::reload::{part, reconfigure};
use crate::world::{check, options_in, start};

/// A component that offers what its type does not, and a service that fails as often as it is told.
fn offering(of_adder: &str, of_flaky: &str) -> String {
    format!(
        r#"
[source.numbers]
type = "test.counter"
writes = {{ number = "n" }}

[component.adder]
type = "test.adder"
reads = ["n"]
writes = {{ sum = "s" }}
{of_adder}

[service.flaky]
type = "test.flaky"
{of_flaky}
"#
    )
}

const ADDS: &str = "offers = [\"add\"]\npromises = { latency = \"2ms\", clock_error = \"1us\", capacity = 4 }";

async fn registered(node: &Node) -> Vec<Registered> {
    node.registered(None).await.unwrap()
}

async fn names(node: &Node) -> Vec<String> {
    registered(node).await.into_iter().map(|part| part.name).collect()
}

/// Waits until those are registered, and nobody else.
async fn until(node: &Node, wanted: &[&str]) {
    while names(node).await != wanted {
        tokio::task::yield_now().await;
    }
}

fn need(operation_type: &str) -> ServiceNeed {
    ServiceNeed { operation_type: operation_type.to_owned(), ..ServiceNeed::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_offers_something_is_registered_while_it_is_up_and_what_does_not_never_is() {
    let node = start(&offering(ADDS, "test = \"up\""), &MemoryStore::default()).await.unwrap();
    // What the type offers, without a word in the configuration.
    assert_eq!(names(&node).await, ["adder", "flaky"]);
    let adder = &registered(&node).await[0];
    assert_eq!((adder.operations.as_slice(), adder.capacity), (&["add".to_owned()][..], 4));
    assert_eq!((adder.latency_ns, adder.clock_error_ns), (Some(2_000_000), Some(1_000)));
    assert_eq!((adder.health, adder.standing), (ServiceHealth::Healthy, Standing::Fit));
    let flaky = &registered(&node).await[1];
    assert_eq!((flaky.latency_ns, flaky.clock_error_ns, flaky.capacity), (Some(50_000_000), None, 16));
    // A workflow places its steps by operation and timing.
    let chosen = node.registry().select_optimal_service("step", &need("add")).await.unwrap();
    assert_eq!(chosen.id, ServiceId::new("adder").unwrap());
    let latency_max = Some(Duration::from_millis(1));
    let timing_requirements = TimingRequirements { latency_max, clock_error_max: None };
    let hasty = ServiceNeed { timing_requirements, ..need("add") };
    assert!(node.registry().select_optimal_service("step", &hasty).await.is_err(), "it promises 2 ms");
    let exact = TimingRequirements { latency_max: None, clock_error_max: Some(Duration::from_secs(3_600)) };
    let exact = ServiceNeed { timing_requirements: exact, ..need("wobble") };
    assert!(node.registry().discover(&exact).await.unwrap().is_empty(), "what is not promised keeps no limit");
    assert_eq!(node.registered(Some("wobble")).await.unwrap().len(), 1);
    node.shutdown().await;
    assert!(names(&node).await.is_empty(), "deregistered, not left to run out");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_leaves_and_a_change_brings_it_back() {
    let failing = "test = \"given up\"\nfailures = 2\nrestart = { at_most = 1, within = \"60s\", backoff = false }";
    let node = start(&offering("", failing), &MemoryStore::default()).await.unwrap();
    while part(&node, "flaky").state != RunState::Failed {
        tokio::task::yield_now().await;
    }
    until(&node, &[]).await;
    reconfigure(&node, &offering("", &format!("{failing}\nis_stubborn = false"))).await.unwrap();
    assert_eq!(names(&node).await, ["flaky"], "the change is back when it is registered");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_is_offered_touches_nobody_and_is_known_when_it_is_back() {
    let node = start(&offering(ADDS, "test = \"change\""), &MemoryStore::default()).await.unwrap();
    let token = registered(&node).await[0].token;
    let more = "offers = [\"add\", \"sum\"]\npromises = { latency = \"1ms\" }";
    let report = reconfigure(&node, &offering(more, "test = \"change\"\noffers = [\"shake\"]")).await.unwrap();
    assert!(report.plan.steps.iter().all(|step| step.effect.contains("registered anew")), "{}", report.plan);
    let parts = registered(&node).await;
    assert_eq!((parts[0].operations.len(), parts[0].latency_ns, parts[0].capacity), (2, Some(1_000_000), 16));
    assert!(parts[0].token > token, "who meets the old lease's token may refuse it");
    assert_eq!(parts[1].operations, ["shake", "wobble"], "beside what its type offers");
    assert_eq!((part(&node, "adder").incarnation, part(&node, "flaky").incarnation), (1, 1));
    reconfigure(&node, &offering("", "test = \"change\"")).await.unwrap();
    assert_eq!(names(&node).await, ["flaky"]);
    node.shutdown().await;
}

#[test]
fn in_a_simulated_world_leases_live_on_virtual_time_and_health_is_known() {
    let sim = SimExecutor::new(3);
    let world = World::simulated(sim.clone(), || Box::new(SeededRng::new(3)));
    let failing = "test = \"virtual\"\nfailures = 1\nrestart = { backoff = { min = \"20s\", max = \"20s\" } }";
    let mut options = options_in(world, &offering(ADDS, failing), &MemoryStore::default());
    options.clock = SimClock::new(&sim, 1_700_000_000_000_000_000, 0);
    sim.block_on(async {
        let node: Arc<Node> = boot(options).await.unwrap();
        // Far longer than a lease, while the service waits for its next start.
        sim.sleep(Duration::from_secs(10)).await;
        let parts = registered(&node).await;
        assert_eq!(
            parts.iter().map(|part| part.health).collect::<Vec<_>>(),
            [ServiceHealth::Healthy, ServiceHealth::Degraded]
        );
        sim.sleep(Duration::from_secs(20)).await;
        assert_eq!(registered(&node).await[1].standing, Standing::Fit);
        node.shutdown().await;
        assert!(names(&node).await.is_empty());
    })
    .unwrap();
}

#[test]
fn what_cannot_be_registered_is_said_before_the_start() {
    let told = |text: &str| check(text).err().unwrap().into_iter().map(|p| (p.code, p.message)).collect::<Vec<_>>();
    let unknown = told(&offering("offres = [\"add\"]\npromises = { latncy = \"1ms\" }\noffers = [\"add\"]", ""));
    assert_eq!(unknown.len(), 2, "{unknown:?}");
    assert!(unknown.iter().all(|(code, _)| *code == "CSF-0103"), "{unknown:?}");
    let cases = [
        ("promises = { capacity = 4 }", "promises, but offers nothing"),
        ("offers = [\"add up\"]", "cannot name what is offered"),
        ("offers = \"add\"", "expected a list"),
        ("offers = [\"add\"]\npromises = { capacity = 0 }", "outside 1..="),
        ("offers = [\"add\"]\npromises = 4", "expected a table"),
    ];
    for (of_adder, message) in cases {
        let told = told(&offering(of_adder, ""));
        assert!(told.len() == 1 && told[0].0 == "CSF-0104" && told[0].1.contains(message), "{of_adder}: {told:?}");
    }
    let spaced = offering(ADDS, "").replace("component.adder", "component.\"an adder\"");
    assert!(told(&spaced)[0].1.contains("cannot name a service"));
}
