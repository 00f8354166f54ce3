//! Handlers that fail: what their components lose, which is nothing but the event.

use std::sync::Arc;

use csf_runtime::exec::{FAILURES_MAX, RunState};
use csf_runtime::node::{DEAD_LETTER_STREAM, Node};
use csf_runtime::replay::{ReplayReport, replay};
use csf_sim::MemoryStore;
use serde_json::json;

use crate::world::{SMALL, catalogue, start};

fn publish(node: &Node, value: i64) {
    node.publish_json("n", json!({ "value": value })).unwrap();
}

fn prove(store: &MemoryStore) -> ReplayReport {
    let report = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report;
    assert_eq!(report.first_difference, None);
    assert_eq!(report.compared, report.equal);
    report
}

/// What the adder published, in order.
fn sums(node: &Node) -> Vec<i64> {
    let mut reader = node.reader().unwrap();
    let message = &node.catalogue().messages["test.sum@1"];
    let lanes = reader.lanes().unwrap().into_iter().filter(|lane| lane.topic == "s");
    let packets: Vec<_> = lanes.flat_map(|lane| reader.lane(lane.id, 0, 10_000).unwrap()).collect();
    let sum = |bytes: &[u8]| (message.to_json)((message.decode)(bytes).unwrap().as_ref()).unwrap()["sum"].as_i64();
    packets.iter().map(|packet| sum(&packet.payload).unwrap()).collect()
}

fn history(node: &Node) -> Vec<String> {
    let own = node.supervision().history.into_iter().filter(|event| event.child == "adder");
    own.map(|event| event.what).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_the_event_and_not_the_state() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    for value in [5, -2, 6] {
        publish(&node, value);
    }
    node.settle().await;
    assert_eq!(sums(&node), [5, 11]);
    let reports = node.components();
    let adder = reports.iter().find(|c| c.name == "adder").unwrap();
    assert_eq!((adder.faults, adder.restarts, adder.dead_letters, adder.state), (3, 3, 1, RunState::Running));
    let failure = ["terminated", "started"];
    let last = ["terminated", "dead_letter", "started"];
    assert_eq!(history(&node), [&failure[..], &failure, &last].concat());
    let bus = node.bus_report();
    let [dead] = &bus.dead_events[..] else { panic!("{:?}", bus.dead_events) };
    assert_eq!((dead.component.as_str(), dead.kind.as_str(), dead.failures), ("adder", "panic", FAILURES_MAX));
    assert_eq!((dead.reason.as_str(), bus.dead_events_total), ("minus two", 1));
    let dead = dead.clone();
    node.shutdown().await;
    let events = store.reader().events(DEAD_LETTER_STREAM, 1, 10).unwrap();
    assert_eq!(events.iter().map(|event| event.data.to_value()).collect::<Vec<_>>(), [json!(dead)]);
    // Three deliveries of the poison and one of each other.
    assert_eq!(prove(&store).deliveries, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_is_an_answer_so_its_event_is_dead_at_once_and_costs_no_restart() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    for value in [5, -1, 6, -1] {
        publish(&node, value);
    }
    node.settle().await;
    let reports = node.components();
    let adder = reports.iter().find(|c| c.name == "adder").unwrap();
    assert_eq!((adder.faults, adder.restarts, adder.dead_letters), (2, 0, 2));
    let dead = node.bus_report().dead_events;
    assert_eq!(dead.iter().map(|d| (d.kind.as_str(), d.failures)).collect::<Vec<_>>(), [("fault", 1), ("fault", 1)]);
    assert_eq!(sums(&node), [5, 11]);
    node.shutdown().await;
    assert_eq!(prove(&store).deliveries, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_made_again_over_checkpoints_timers_and_faults() {
    let text = format!("{SMALL}restart = {{ at_most = 100 }}\n");
    let store = MemoryStore::default();
    let node = start(&text, &store).await.unwrap();
    let mut expected = 0;
    for _ in 0..3 {
        // More deliveries than lie between two checkpoints, some of them faults and timers.
        for value in 1..=1_500 {
            let odd = [-1, -3].into_iter().find(|odd| value % 500 == -odd);
            publish(&node, odd.unwrap_or(1));
            expected += i64::from(odd.is_none());
            if value % 100 == 0 {
                node.settle().await;
            }
        }
        publish(&node, -2);
        publish(&node, 1);
        expected += 1;
        node.settle().await;
        assert_eq!(sums(&node).into_iter().max(), Some(expected));
    }
    let started = node.supervision().history.into_iter().filter(|e| e.child == "adder" && e.what == "started");
    assert!(
        started.clone().all(|e| e.detail.starts_with("with the state of before")),
        "{:?}",
        node.supervision().history
    );
    assert_eq!(started.count(), 9);
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_cannot_be_made_again_is_lost_aloud_and_replay_loses_it_too() {
    let store = MemoryStore::default();
    let node = start(&SMALL.replace("test.adder", "test.forgetful"), &store).await.unwrap();
    // So many that a checkpoint lies in between, which does not lead to what followed it.
    for value in 0..1_100 {
        publish(&node, 1);
        if value % 100 == 0 {
            node.settle().await;
        }
    }
    for value in [-2, 7] {
        publish(&node, value);
    }
    node.settle().await;
    let history = node.supervision().history;
    let started: Vec<_> = history.iter().filter(|e| e.child == "adder" && e.what == "started").collect();
    assert!(started[0].detail.starts_with("from its factory, without its state: it published"), "{started:?}");
    assert_eq!(sums(&node).last(), Some(&7));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_gives_the_component_up_and_the_next_start_goes_on_with_its_state() {
    let text = format!("{SMALL}restart = {{ at_most = 1 }}\n");
    let store = MemoryStore::default();
    let node = start(&text, &store).await.unwrap();
    for value in [5, -2, 6] {
        publish(&node, value);
    }
    while node.supervision().history.iter().all(|event| event.what != "budget_spent") {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.components().into_iter().find(|c| c.name == "adder").unwrap().state, RunState::Failed);
    node.shutdown().await;
    prove(&store);
    // Two failures are in the journal: the third sends it to the dead letters.
    let node = start(&text, &store).await.unwrap();
    node.settle().await;
    assert_eq!(node.bus_report().dead_events.iter().map(|dead| dead.failures).collect::<Vec<_>>(), [FAILURES_MAX]);
    assert_eq!(sums(&node), [5, 11]);
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_waits_for_a_journal_that_is_full_and_a_stop_does_not() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    publish(&node, 5);
    node.settle().await;
    store.set_capacity_bytes(Some(1));
    publish(&node, -2);
    let adder = |node: &Arc<Node>| node.components().into_iter().find(|c| c.name == "adder").unwrap();
    while adder(&node).state != RunState::Restarting || node.feed().failure().is_none() {
        tokio::task::yield_now().await;
    }
    store.set_capacity_bytes(None);
    publish(&node, 6);
    node.settle().await;
    assert_eq!(sums(&node), [5, 11]);
    store.set_capacity_bytes(Some(1));
    publish(&node, -2);
    while adder(&node).state != RunState::Restarting || node.feed().failure().is_none() {
        tokio::task::yield_now().await;
    }
    node.shutdown().await;
    assert_eq!(adder(&node).state, RunState::Failed);
    store.set_capacity_bytes(None);
    prove(&store);
}
