//! Whole nodes on a journal in memory: run, record, replay, continue.

use std::sync::{Arc, Mutex};

use csf_core::port::Scan;
use csf_runtime::exec::RunState;
use csf_runtime::node::{BootError, Node, Readiness, Status, Urgency, boot};
use csf_runtime::persist::{KeyRing, PersistableComponent, StateKey, StatePersistence};
use csf_runtime::provenance::{Provenance, Relation};
use csf_runtime::replay::{ReplayReport, replay};
use csf_sim::MemoryStore;
use serde_json::json;

use crate::world::{SMALL, catalogue, options, start};

fn counting(count: i64) -> String {
    SMALL.replace("type = \"test.counter\"", &format!("type = \"test.counter\"\ncount = {count}"))
}

fn publish(node: &Node, value: i64) {
    node.publish_json("n", json!({ "value": value })).unwrap();
}

/// Waits until the newest durable sum is this one: services begin beside the start's end.
async fn sum_becomes(node: &Node, sum: i64) {
    while last_sum(node) != Some(sum) {
        node.settle().await;
        tokio::task::yield_now().await;
    }
}

fn last_sum(node: &Node) -> Option<i64> {
    let last = node.feed().last_values().remove("s")?;
    let message = &node.catalogue().messages[&last.lane.message];
    let payload = (message.decode)(&last.packet.payload).unwrap();
    (message.to_json)(payload.as_ref()).unwrap()["sum"].as_i64()
}

fn prove(store: &MemoryStore) -> ReplayReport {
    replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_tells_its_phases_in_order() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = told.clone();
    let store = MemoryStore::default();
    let mut options = options(SMALL, &store);
    options.on_phase = Box::new(move |phase| tell.lock().unwrap().push(phase.number));
    let node = boot(options).await.unwrap();
    assert_eq!(*told.lock().unwrap(), (0..=10).collect::<Vec<_>>());
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occupied_address_fails_before_anything_runs() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let store = MemoryStore::default();
    let mut options = options(SMALL, &store);
    options.listen = taken.local_addr().ok();
    let error = boot(options).await.err().unwrap();
    assert!(matches!(error, BootError::PreFlightCheckFailed { check: "address", .. }), "{error}");
    assert_eq!(error.code(), "CSF-0201");
    assert_eq!(store.reader().size().unwrap().position, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_published_before_a_stop_is_durable_after_it() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    for value in 1..=100 {
        publish(&node, value);
    }
    node.shutdown().await;
    let packets = store.reader().scan(&Scan { from_position: 1, limit: 100_000, lanes: Vec::new() }).unwrap();
    // 100 numbers, 100 deliveries, 100 sums.
    assert_eq!(packets.len(), 300);
    assert!(packets.windows(2).all(|w| w[0].position < w[1].position));
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_repeats_faults_panics_and_timers_bit_for_bit() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    for value in [5, -1, 6, -2, 7, -3, 8] {
        publish(&node, value);
    }
    node.settle().await;
    let reports = node.components();
    let adder = reports.iter().find(|c| c.name == "adder").unwrap();
    // One fault, and three panics at the same packet.
    assert_eq!((adder.faults, adder.restarts, adder.state), (4, 3, RunState::Running));
    let sums: Vec<i64> = {
        let mut reader = node.reader().unwrap();
        let lane = reader.lanes().unwrap().into_iter().find(|l| l.topic == "s").unwrap();
        let message = node.catalogue().messages[&lane.message];
        let packets = reader.lane(lane.id, 0, 100).unwrap();
        let sum = |bytes: &[u8]| {
            (message.to_json)((message.decode)(bytes).unwrap().as_ref()).unwrap()["sum"].as_i64().unwrap()
        };
        packets.iter().map(|p| sum(&p.payload)).collect()
    };
    let mut sorted = sums.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, [5, 11, 18, 26, 1007]);
    node.shutdown().await;
    let report = prove(&store);
    assert_eq!((report.deliveries, report.compared, report.equal), (10, 5, 5));
    assert_eq!(report.first_difference, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_shows_the_first_difference_of_a_component_that_lies() {
    let text = SMALL.replace("test.adder", "test.liar");
    let store = MemoryStore::default();
    let node = start(&text, &store).await.unwrap();
    publish(&node, 1);
    publish(&node, 2);
    node.shutdown().await;
    let report = prove(&store);
    let difference = report.first_difference.unwrap();
    assert_eq!((difference.what.as_str(), difference.author.as_str()), ("payload", "adder"));
    assert!(difference.recorded["sum"].as_i64() < difference.replayed["sum"].as_i64());
    assert!(matches!(start(&text, &store).await, Err(BootError::Diverged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_start_goes_on_where_the_first_one_ended() {
    let store = MemoryStore::default();
    let node = start(&counting(10), &store).await.unwrap();
    sum_becomes(&node, 45).await;
    node.shutdown().await;
    let node = start(&counting(20), &store).await.unwrap();
    // 0..20, added up once each.
    sum_becomes(&node, 190).await;
    assert_eq!(node.report().incarnation, 2);
    node.shutdown().await;
    let report = prove(&store);
    assert_eq!((report.compared, report.equal), (20, 20));
}

#[tokio::test(flavor = "multi_thread")]
async fn why_leads_from_a_sum_to_its_number_and_what_came_between() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    // -1 fails, so it is consumed by the adder between the outputs for 5 and 6.
    for value in [5, -1, 6] {
        publish(&node, value);
    }
    node.settle().await;
    let sum = node.feed().last_values().remove("s").unwrap().packet.header.id;
    let mut reader = node.reader().unwrap();
    let mut provenance = Provenance::new(reader.as_mut(), node.catalogue()).unwrap();
    let why = provenance.why(sum, 3).unwrap().unwrap();
    assert_eq!(why.packet.payload["sum"], 11);
    assert_eq!(why.packet.author, "adder");
    let causes: Vec<_> = why.causes.iter().map(|c| (c.relation, c.packet.payload["value"].as_i64().unwrap())).collect();
    assert_eq!(causes, [(Relation::Trigger, 6), (Relation::Consumed, -1)]);
    assert!(why.causes.iter().all(|c| c.elapsed_ns > 0 && c.packet.author == "api"));
    let effects = provenance.effects(why.causes[0].packet.id.parse::<csf_core::MessageId>().unwrap(), 2, 10).unwrap();
    assert_eq!(effects[0].packet.id, why.packet.id);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_journal_stops_nothing_that_is_durable_and_recovers() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    publish(&node, 1);
    node.settle().await;
    let before = node.feed().position();
    store.set_capacity_bytes(Some(1));
    publish(&node, 2);
    while node.feed().failure().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(node.feed().position(), before);
    assert_eq!(serde_json::to_value(node.health().await.overall_status).unwrap(), json!("unhealthy"));
    assert!(
        matches!(node.readiness(), Readiness::Unhealthy { reasons } if reasons[0].starts_with("recorder: [CSF-0205]"))
    );
    store.set_capacity_bytes(None);
    node.settle().await;
    node.health().await;
    assert_eq!(node.readiness(), Readiness::Ok);
    let changes: Vec<_> = node.monitor().history().into_iter().map(|c| (c.component, c.to)).collect();
    assert_eq!(changes, [("recorder".to_owned(), Status::Unhealthy), ("recorder".to_owned(), Status::Healthy)]);
    assert_eq!(last_sum(&node), Some(3));
    assert_eq!(node.feed().failure(), None);
    node.shutdown().await;
    assert_eq!(prove(&store).equal, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_in_any_phase_of_the_start_leaves_a_journal_that_can_be_continued() {
    let store = MemoryStore::default();
    for phase in 0..=10 {
        let mut interrupted = options(&counting(10), &store);
        let interrupt = interrupted.interrupt.clone();
        interrupted.on_phase = Box::new(move |done| {
            if done.number == phase {
                interrupt.raise(Urgency::Orderly);
            }
        });
        match boot(interrupted).await.err() {
            Some(BootError::Interrupted { phase: told, .. }) => assert_eq!(told, phase),
            other => panic!("phase {phase}: {other:?}"),
        }
    }
    let node = start(&counting(12), &store).await.unwrap();
    // 0..12, added up once each, over twelve starts.
    sum_becomes(&node, 66).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_refuses_packets_and_says_what_its_stop_did() {
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    let mut signal = node.shutdown_signal();
    publish(&node, 1);
    let report = node.shutdown().await;
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.phases.iter().map(|p| p.number).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let newest = store.reader().size().unwrap().position;
    assert_eq!(report.phases[4].detail, format!("the journal is durable to position {newest}"));
    assert!(signal.borrow_and_update().is_some());
    let refused = node.publish_json("n", json!({ "value": 2 })).unwrap_err();
    assert_eq!(refused.to_string(), "the node is stopped, so it takes no packets from outside");
    assert_eq!(node.shutdown().await, report, "a second stop has nothing to do");
}

#[tokio::test(flavor = "multi_thread")]
async fn persisted_state_proves_the_next_start_and_a_state_of_another_build_is_found() {
    let folder = std::env::temp_dir().join(format!("csf-node-state-{}", std::process::id()));
    let persistence = || {
        let key = StateKey::new("k1", [7; 32]).unwrap();
        Arc::new(StatePersistence::new(folder.clone(), KeyRing::new(vec![key]).unwrap()))
    };
    let store = MemoryStore::default();
    let node = start(SMALL, &store).await.unwrap();
    assert_eq!(node.keep_state(persistence()).unwrap(), None);
    publish(&node, 40);
    publish(&node, 5);
    let report = node.shutdown().await;
    assert!(report.phases[4].detail.contains("1 states sealed at"), "{report:?}");
    let (_, states) = persistence().read_newest().unwrap().unwrap();
    // The adder's snapshot is its sum, little-endian.
    assert!(states.contains(&("adder".to_owned(), json!({ "snapshot": "2d00000000000000" }))), "{states:?}");

    // Equal after the repetition; and what this start adds makes the set an old one.
    let node = start(SMALL, &store).await.unwrap();
    let proof = node.keep_state(persistence()).unwrap().unwrap();
    assert_eq!((proof.is_current, proof.compared, proof.different.len()), (true, 1, 0));
    drop(node.shutdown().await);
    let node = start(SMALL, &store).await.unwrap();
    publish(&node, 1);
    node.shutdown().await;
    let node = start(SMALL, &store).await.unwrap();
    let proof = node.keep_state(persistence()).unwrap().unwrap();
    assert_eq!((proof.is_current, proof.compared), (false, 0));
    node.shutdown().await;

    // Another build's state for the same journal.
    let (report, states) = persistence().read_newest().unwrap().unwrap();
    let forger = persistence();
    for (id, state) in states {
        let state = if id == "adder" { json!({ "snapshot": "2f00000000000000" }) } else { state };
        forger.register(Arc::new(Forged(id, state)));
    }
    forger.persist_all(csf_core::Stamp(u64::MAX / 2)).unwrap();
    let node = start(SMALL, &store).await.unwrap();
    let proof = node.keep_state(persistence()).unwrap().unwrap();
    assert!(proof.time > report.time);
    assert_eq!((proof.is_current, proof.different), (true, vec!["adder".to_owned()]));
    node.shutdown().await;
    std::fs::remove_dir_all(&folder).unwrap();
}

struct Forged(String, serde_json::Value);

impl PersistableComponent for Forged {
    fn component_id(&self) -> &str {
        &self.0
    }

    fn extract_state(&self) -> Result<serde_json::Value, String> {
        Ok(self.1.clone())
    }

    fn restore_state(&self, _state: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}
