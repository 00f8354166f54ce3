//! A change of the configuration and what goes on meanwhile: packets that come, callers that go, names that become something else.

use std::sync::Arc;
use std::time::Duration;

use csf_runtime::exec::RunState;
use csf_runtime::node::{Node, Status, boot};
use csf_runtime::replay::replay;
use csf_sim::MemoryStore;
use serde_json::json;

use crate::reload::{Gate, Waiting, configured, keeper, last, part, prove, publish, reconfigure};
use crate::world::{catalogue, options, start};

/// A node whose changes wait in their journal until the gate is opened.
async fn gated(text: &str, store: &MemoryStore) -> (Arc<Node>, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let mut options = options(text, store);
    let (write, held) = (store.clone(), gate.clone());
    options.open_journal = Box::new(move || Ok(Box::new(Waiting { journal: write.open()?, gate: held })));
    (boot(options).await.unwrap(), gate)
}

/// Changes to `text`, publishing `value` on `topic` while the change is journaled.
async fn change_meanwhile(node: &Arc<Node>, gate: &Gate, text: &str, (topic, value): (&str, i64)) {
    let reloading = tokio::spawn({
        let (node, text) = (node.clone(), text.to_owned());
        async move { reconfigure(&node, &text).await }
    });
    gate.asked().await;
    node.publish_json(topic, json!({ "value": value })).unwrap();
    gate.open();
    reloading.await.unwrap().unwrap();
    node.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_part_is_given_what_came_since_the_chapter_that_began_it() {
    let store = MemoryStore::default();
    let (node, gate) = gated(&configured(""), &store).await;
    publish(&node, [100]).await;
    change_meanwhile(&node, &gate, &keeper("times = 1"), ("n", 5)).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(5), Some(105)));
    node.shutdown().await;
    prove(&store);
    // A start finds nothing left to hand out.
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    node.settle().await;
    assert_eq!((last(&node, "k"), part(&node, "keeper").handled), (None, 0));
    publish(&node, [1]).await;
    assert_eq!(last(&node, "k"), Some(6));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_reads_a_topic_newly_is_given_what_came_since_the_chapter() {
    let store = MemoryStore::default();
    let reading = |reads: &str| {
        let more = "[source.more]\ntype = \"test.counter\"\nwrites = { number = \"m\" }\n";
        let own = "reads = [\"n\"]\nwrites = { sum = \"k\" }";
        let text = keeper("times = 1").replace(own, &format!("reads = {reads}\nwrites = {{ sum = \"k\" }}"));
        format!("{text}{more}")
    };
    let (node, gate) = gated(&reading("[\"n\"]"), &store).await;
    node.publish_json("m", json!({ "value": 1000 })).unwrap();
    publish(&node, [1]).await;
    change_meanwhile(&node, &gate, &reading("[\"n\", \"m\"]"), ("m", 20)).await;
    assert_eq!(last(&node, "k"), Some(21));
    // A lane that is opened later is read too.
    publish(&node, [300]).await;
    assert_eq!(last(&node, "k"), Some(321));
    node.shutdown().await;
    prove(&store);
    let node = start(&reading("[\"n\", \"m\"]"), &store).await.unwrap();
    publish(&node, [1]).await;
    assert_eq!((last(&node, "k"), part(&node, "keeper").handled), (Some(322), 1));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_on_to_its_end_when_nobody_waits_for_it_any_more() {
    let store = MemoryStore::default();
    let counting = |count: u64, times: u64| {
        keeper(&format!("times = {times}")).replace("\"test.counter\"", &format!("\"test.counter\"\ncount = {count}"))
    };
    let (node, gate) = gated(&counting(1, 1), &store).await;
    let reloading = tokio::spawn({
        let (node, text) = (node.clone(), counting(2, 10));
        async move { reconfigure(&node, &text).await }
    });
    gate.asked().await;
    reloading.abort();
    assert!(reloading.await.unwrap_err().is_cancelled());
    assert_eq!(part(&node, "numbers").state, RunState::Stopped, "it is stopped for the change");
    gate.open();
    while node.configuration().last.is_none() || part(&node, "numbers").state != RunState::Running {
        tokio::task::yield_now().await;
    }
    assert_eq!((node.configuration().generation, part(&node, "keeper").incarnation), (1, 2));
    publish(&node, [3]).await;
    assert_eq!(last(&node, "k"), Some(40), "1 and 3, ten times");
    // And the turn is free.
    reconfigure(&node, &counting(2, 100)).await.unwrap();
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_packet_that_cannot_be_recorded_holds_no_change_up() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [1]).await;
    // The last of its lane, and both components were given it.
    let within = async |node: &Arc<Node>| {
        publish(node, [crate::world::UNSPEAKABLE]).await;
        reconfigure(node, &keeper("times = 2")).await
    };
    let report = tokio::time::timeout(Duration::from_secs(30), within(&node)).await.expect("nothing waits for ever");
    assert_eq!(report.unwrap().generation, 1);
    publish(&node, [4]).await;
    assert_eq!(last(&node, "s"), Some(5 + crate::world::UNSPEAKABLE));
    node.shutdown().await;
    // What nobody can read back cannot be repeated, and that is said.
    let replayed = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ());
    assert!(replayed.is_err_and(|error| error.to_string().contains("0 bytes are no test.number@1")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_goes_from_a_component_to_a_service_is_watched_as_what_it_is() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    let status = async |name: &str| {
        let health = node.health().await;
        let found: Vec<Status> = health.components.iter().filter(|c| c.name == name).map(|c| c.status).collect();
        assert_eq!(found.len(), 1, "one check");
        found[0]
    };
    assert_eq!(status("keeper").await, Status::Healthy);
    let flaky = "[service.keeper]\ntype = \"test.flaky\"\ntest = \"a name that goes\"\nfailures = 1000\n\
                 restart = { at_most = 0, within = \"60s\", backoff = false }\n";
    reconfigure(&node, &configured(flaky)).await.unwrap();
    while part(&node, "keeper").state != RunState::Failed {
        tokio::task::yield_now().await;
    }
    assert_eq!(status("keeper").await, Status::Unhealthy, "the service was given up");
    reconfigure(&node, &keeper("times = 1")).await.unwrap();
    assert_eq!(status("keeper").await, Status::Healthy);
    node.shutdown().await;
}
