//! Handlers that do not return: their component is given up, the others go on.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use csf_runtime::exec::RunState;
use csf_runtime::node::{Node, Status, boot};
use csf_runtime::replay::{ReplayReport, replay};
use csf_runtime::{Workers, World};
use csf_sim::MemoryStore;
use serde_json::json;

use crate::world::{Door, catalogue, check, options_in};

/// One dispatcher for all: the hanger, one beside it and one behind that.
const THREE: &str = r#"
[source.numbers]
type = "test.counter"
writes = { number = "n" }

[component.adder]
type = "test.adder"
reads = ["n"]
writes = { sum = "s" }

[component.behind]
type = "test.adder"
reads = ["s"]
writes = { sum = "t" }

[component.hanger]
type = "test.hanger"
reads = ["n"]
writes = { sum = "h" }
stuck_after = "20ms"
door = "DOOR"

[topic.n]
capacity = 64
"#;

async fn start(text: &str, store: &MemoryStore) -> Arc<Node> {
    let mut world = World::machine();
    world.workers = Workers::Threads { cores: 2 };
    boot(options_in(world, text, store)).await.unwrap()
}

fn three(door: &str) -> String {
    THREE.replace("DOOR", door)
}

async fn publish(node: &Node, value: i64) {
    while node.publish_json("n", json!({ "value": value })).is_err() {
        tokio::task::yield_now().await;
    }
}

fn state(node: &Node, name: &str) -> RunState {
    node.components().into_iter().find(|c| c.name == name).unwrap().state
}

async fn becomes_stuck(node: &Node) {
    while state(node, "hanger") != RunState::Stuck {
        tokio::task::yield_now().await;
    }
}

fn values(node: &Node, topic: &str) -> Vec<i64> {
    let mut reader = node.reader().unwrap();
    let message = &node.catalogue().messages["test.sum@1"];
    let lanes = reader.lanes().unwrap().into_iter().filter(|lane| lane.topic == topic);
    let packets: Vec<_> = lanes.flat_map(|lane| reader.lane(lane.id, 0, 10_000).unwrap()).collect();
    let sum = |bytes: &[u8]| (message.to_json)((message.decode)(bytes).unwrap().as_ref()).unwrap()["sum"].as_i64();
    packets.iter().map(|packet| sum(&packet.payload).unwrap()).collect()
}

fn prove(store: &MemoryStore) -> ReplayReport {
    let report = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report;
    assert_eq!(report.first_difference, None);
    assert_eq!(report.compared, report.equal);
    report
}

/// Running sums.
fn sums(of: &[i64]) -> Vec<i64> {
    of.iter()
        .scan(0, |sum, value| {
            *sum += value;
            Some(*sum)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_go_on_without_loss_and_in_order_and_a_late_return_has_no_effect() {
    let store = MemoryStore::default();
    let node = start(&three("late"), &store).await;
    let door = Door::of("late");
    publish(&node, 100).await;
    publish(&node, -9).await;
    // More than the lane holds: what hangs keeps nobody waiting once it is given up.
    for value in 2..=500 {
        publish(&node, value).await;
    }
    becomes_stuck(&node).await;
    node.settle().await;
    let numbers: Vec<i64> = [100, -9].into_iter().chain(2..=500).collect();
    let expected = sums(&numbers);
    assert_eq!(values(&node, "s"), expected);
    assert_eq!(values(&node, "t"), sums(&expected));
    assert_eq!((state(&node, "adder"), state(&node, "behind")), (RunState::Running, RunState::Running));
    let gone = door.gone.load(Ordering::SeqCst);
    door.open();
    while door.gone.load(Ordering::SeqCst) == gone {
        tokio::task::yield_now().await;
    }
    publish(&node, 7).await;
    node.settle().await;
    assert_eq!(values(&node, "h"), [100], "what it did late was undone");
    assert_eq!(values(&node, "s").len(), 502);
    assert!(node.shutdown().await.is_clean());
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_component_is_told_everywhere_and_a_stop_does_not_wait_for_it() {
    let store = MemoryStore::default();
    let node = start(&three("told"), &store).await;
    publish(&node, -9).await;
    becomes_stuck(&node).await;
    publish(&node, 5).await;
    node.settle().await;
    let tree = node.supervision();
    let told: Vec<_> =
        tree.history.iter().filter(|e| e.child != "numbers").map(|e| (e.child.as_str(), e.what.as_str())).collect();
    let expected = [("hanger", "stuck"), ("hanger", "dead_letter"), ("adder", "moved"), ("behind", "moved")];
    assert_eq!(told, expected);
    assert_eq!(tree.root.children[0].state, RunState::Stuck);
    let dead = node.bus_report().dead_events;
    assert_eq!(dead.iter().map(|d| (d.component.as_str(), d.kind.as_str())).collect::<Vec<_>>(), [("hanger", "stuck")]);
    let health = node.health().await;
    let hanger = health.components.iter().find(|part| part.name == "hanger").unwrap();
    assert_eq!((hanger.status, health.overall_status), (Status::Unhealthy, Status::Degraded));
    assert!(node.shutdown().await.is_clean());
    prove(&store);
    // The next start passes the event over that it hung at.
    let node = start(&three("told"), &store).await;
    node.settle().await;
    assert_eq!(state(&node, "hanger"), RunState::Running);
    assert_eq!(values(&node, "h"), [5]);
    node.shutdown().await;
    prove(&store);
    Door::of("told").open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_reaches_components_that_moved() {
    let store = MemoryStore::default();
    let node = start(&three("reload"), &store).await;
    publish(&node, -9).await;
    becomes_stuck(&node).await;
    publish(&node, 5).await;
    let text = three("reload").replace(r#"reads = ["s"]"#, r#"reads = ["s", "n"]"#);
    node.reconfigure(check(&text).unwrap()).await.unwrap();
    publish(&node, 6).await;
    node.settle().await;
    assert_eq!(values(&node, "s"), [-9, -4, 2]);
    assert_eq!(values(&node, "t").len(), 4);
    assert!(node.shutdown().await.is_clean());
    prove(&store);
    Door::of("reload").open();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_member_of_a_group_stays_down_and_its_siblings_are_restarted_without_it() {
    let store = MemoryStore::default();
    let grouped = three("group").replace("reads = [\"n\"]", "supervisor = \"g\"\nreads = [\"n\"]");
    let text = format!("{grouped}\n[supervisor.g]\nstrategy = \"one_for_all\"\nbackoff = false\n");
    let node = start(&text, &store).await;
    publish(&node, 1).await;
    publish(&node, -9).await;
    becomes_stuck(&node).await;
    let adder = || node.components().into_iter().find(|c| c.name == "adder").unwrap();
    while (adder().restarts, adder().state) != (1, RunState::Running) {
        tokio::task::yield_now().await;
    }
    for value in 2..=200 {
        publish(&node, value).await;
    }
    node.settle().await;
    assert_eq!(values(&node, "s"), sums(&[1, -9].into_iter().chain(2..=200).collect::<Vec<_>>()));
    assert_eq!(state(&node, "hanger"), RunState::Stuck);
    Door::of("group").open();
    assert!(node.shutdown().await.is_clean());
    prove(&store);
}
