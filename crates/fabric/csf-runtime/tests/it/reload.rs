//! Whole nodes whose configuration changes while they run, and between their starts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use csf_core::port::{Batch, Journal, JournalError, JournalReader, LaneBatch, LaneKind, NewEvent, Receipt, Scan};
use csf_runtime::exec::RunState;
use csf_runtime::node::{ComponentReport, Node, PlanAction, ReloadError, ReloadReport, boot};
use csf_runtime::replay::{ReplayReport, replay};
use csf_runtime::runs::{RUN_STREAM, chapters};
use csf_sim::MemoryStore;
use serde_json::json;

use crate::world::{catalogue, check, options, start};

/// A number's way: `adder` is never touched, `keeper` is.
pub(crate) fn configured(keeper: &str) -> String {
    format!(
        r#"
[source.numbers]
type = "test.counter"
writes = {{ number = "n" }}

[component.adder]
type = "test.adder"
reads = ["n"]
writes = {{ sum = "s" }}
{keeper}"#
    )
}

pub(crate) fn keeper(options: &str) -> String {
    configured(&format!(
        "[component.keeper]\ntype = \"test.keeper\"\nreads = [\"n\"]\nwrites = {{ sum = \"k\" }}\n{options}\n"
    ))
}

pub(crate) async fn reconfigure(node: &Arc<Node>, text: &str) -> Result<ReloadReport, ReloadError> {
    node.reconfigure(check(text).unwrap()).await
}

pub(crate) async fn publish(node: &Node, values: impl IntoIterator<Item = i64>) {
    for value in values {
        node.publish_json("n", json!({ "value": value })).unwrap();
    }
    node.settle().await;
}

pub(crate) fn last(node: &Node, topic: &str) -> Option<i64> {
    let last = node.feed().last_values().remove(topic)?;
    let payload = (node.catalogue().messages[&last.lane.message].decode)(&last.packet.payload).unwrap();
    (node.catalogue().messages[&last.lane.message].to_json)(payload.as_ref()).unwrap()["sum"].as_i64()
}

pub(crate) fn part(node: &Node, name: &str) -> ComponentReport {
    node.components().into_iter().find(|part| part.name == name).unwrap()
}

/// The journal of a node that stopped, replayed.
pub(crate) fn prove(store: &MemoryStore) -> ReplayReport {
    let report = replay(store.reader().as_mut(), &catalogue(), None, &mut |_| ()).unwrap().report;
    assert_eq!(report.first_difference, None);
    assert_eq!(report.compared, report.equal);
    report
}

#[tokio::test(flavor = "multi_thread")]
async fn other_options_make_another_instance_that_takes_the_state_over() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1\ntakes_over = true"), &store).await.unwrap();
    publish(&node, [1, 2]).await;
    let report = reconfigure(&node, &keeper("times = 10\ntakes_over = true")).await.unwrap();
    assert_eq!((report.generation, report.plan.steps.len()), (1, 1));
    let step = &report.plan.steps[0];
    assert_eq!((step.action, step.name.as_str(), step.keys[0].key.as_str()), (PlanAction::Change, "keeper", "times"));
    assert_eq!((step.keys[0].from.as_deref(), step.keys[0].to.as_deref()), (Some("1"), Some("10")));
    assert_eq!(report.plan.untouched, ["adder", "numbers"]);
    publish(&node, [3]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(33), Some(6)));
    assert_eq!((part(&node, "keeper").incarnation, part(&node, "adder").incarnation), (2, 1));
    node.shutdown().await;
    assert_eq!(prove(&store).compared, 6);
    // Another start, with other options once more.
    let node = start(&keeper("times = 100\ntakes_over = true"), &store).await.unwrap();
    publish(&node, [1]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(133), Some(7)));
    node.shutdown().await;
    assert_eq!(prove(&store).compared, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_takes_nothing_over_starts_anew() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [1, 2]).await;
    reconfigure(&node, &keeper("times = 2")).await.unwrap();
    publish(&node, [3]).await;
    assert_eq!(last(&node, "k"), Some(6));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_comes_reads_from_then_on_and_goes() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    publish(&node, [1]).await;
    reconfigure(&node, &keeper("times = 1")).await.unwrap();
    publish(&node, [2, 3]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(5), Some(6)));
    let names = |node: &Node| node.topics().into_iter().map(|t| t.name).collect::<Vec<_>>();
    assert_eq!(names(&node), ["k", "n", "s"]);
    reconfigure(&node, &configured("")).await.unwrap();
    assert_eq!(names(&node), ["n", "s"]);
    publish(&node, [4]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(5), Some(10)));
    // It comes back as another one, and goes on with the same lane.
    reconfigure(&node, &keeper("times = 1")).await.unwrap();
    publish(&node, [5]).await;
    assert_eq!(last(&node, "k"), Some(5));
    node.shutdown().await;
    let lanes = store.reader().lanes().unwrap();
    assert_eq!(lanes.iter().filter(|lane| lane.author == "keeper").count(), 1);
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_came_later_is_not_given_what_was_before_it_after_a_restart_either() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    publish(&node, [1, 2]).await;
    reconfigure(&node, &keeper("times = 1")).await.unwrap();
    node.shutdown().await;
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [4]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(4), Some(7)));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_changed_between_two_starts_is_taken() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [1]).await;
    node.shutdown().await;
    let node = start(&configured(""), &store).await.unwrap();
    publish(&node, [2]).await;
    assert_eq!(last(&node, "s"), Some(3));
    node.shutdown().await;
    // Back again: it is new, and what was published without it is over.
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [4]).await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(4), Some(7)));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_file_changes_nothing_and_leaves_an_event() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    let bad = keeper("times = 1\ntims = 2");
    node.set_configuration_source(Arc::new(move || check(&bad)));
    let error = node.reload().await.unwrap_err();
    assert!(matches!(&error, ReloadError::Invalid(problems) if problems[0].code == "CSF-0103"), "{error}");
    assert_eq!(error.code(), "CSF-0118");
    let configuration = node.configuration();
    assert_eq!(configuration.generation, 0);
    assert!(configuration.text.contains("times = 1"));
    assert!(configuration.last.unwrap().refused.unwrap().contains("1 problem"));
    publish(&node, [3]).await;
    assert_eq!((last(&node, "k"), part(&node, "keeper").incarnation), (Some(3), 1));
    node.shutdown().await;
    let events = store.reader().events(RUN_STREAM, 1, 10).unwrap();
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["started", "reload_refused"]);
    assert_eq!(events[1].data.to_value()["problems"][0][0], "CSF-0103");
    assert_eq!(chapters(store.reader().as_mut()).unwrap().len(), 1);
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_another_start_is_refused_with_all_that_came_with_it() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    for change in ["[node]\nname = \"other\"\n", "[topic.n]\ncapacity = 8192\n"] {
        let error = reconfigure(&node, &format!("{}{change}", keeper("times = 5"))).await.unwrap_err();
        assert!(matches!(&error, ReloadError::NeedsStart(problems) if problems.len() == 1), "{error}");
        assert_eq!(error.code(), "CSF-0117");
    }
    publish(&node, [1]).await;
    assert_eq!(last(&node, "k"), Some(1));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_goes_on_where_it_was() {
    let store = MemoryStore::default();
    let counting =
        |count: u64| configured("").replace("\"test.counter\"", &format!("\"test.counter\"\ncount = {count}"));
    let node = start(&counting(10), &store).await.unwrap();
    let added = async |sum: i64| {
        while last(&node, "s") != Some(sum) {
            node.settle().await;
            tokio::task::yield_now().await;
        }
    };
    added(45).await;
    let report = reconfigure(&node, &counting(20)).await.unwrap();
    assert_eq!(report.plan.steps[0].name, "numbers");
    // 0..20, added up once each.
    added(190).await;
    assert_eq!(part(&node, "numbers").restarts, 0, "a change is no failure");
    node.shutdown().await;
    let lanes = store.reader().lanes().unwrap();
    assert_eq!(lanes.iter().filter(|lane| lane.author == "numbers").count(), 1);
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_refuses_the_change_leaves_the_old_configuration_in_force() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [1]).await;
    store.set_capacity_bytes(Some(0));
    let error = reconfigure(&node, &keeper("times = 5")).await.unwrap_err();
    assert!(matches!(error, ReloadError::Journal { .. }), "{error}");
    store.set_capacity_bytes(None);
    publish(&node, [2]).await;
    assert_eq!((last(&node, "k"), part(&node, "keeper").incarnation), (Some(3), 1));
    assert_eq!(part(&node, "numbers").state, RunState::Running);
    reconfigure(&node, &keeper("times = 5")).await.unwrap();
    publish(&node, [1]).await;
    assert_eq!(last(&node, "k"), Some(5));
    node.shutdown().await;
    assert_eq!(chapters(store.reader().as_mut()).unwrap().len(), 2);
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_given_up_holds_nobody_up_and_comes_back_with_a_change() {
    let store = MemoryStore::default();
    let never = "times = 1\nrestart = { at_most = 0, within = \"60s\" }";
    let node = start(&keeper(never), &store).await.unwrap();
    publish(&node, [1, -2]).await;
    assert_eq!(part(&node, "keeper").state, RunState::Failed);
    // Far more than its lane could hold for it.
    for _ in 0..10 {
        publish(&node, (0..1_000).map(|_| 1)).await;
    }
    // The poison was tried three times.
    assert_eq!(part(&node, "adder").handled, 10_004);
    reconfigure(&node, &keeper("times = 2\nrestart = { at_most = 3, within = \"60s\" }")).await.unwrap();
    assert_eq!(part(&node, "keeper").state, RunState::Running);
    publish(&node, [4]).await;
    assert_eq!(last(&node, "k"), Some(8));
    publish(&node, [-2]).await;
    assert_eq!(part(&node, "keeper").state, RunState::Running, "within its new budget");
    reconfigure(&node, &keeper("times = 3\nrestart = { at_most = 3, within = \"60s\" }")).await.unwrap();
    publish(&node, [-2]).await;
    assert_eq!(part(&node, "keeper").state, RunState::Running, "a change gives the whole budget back");
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_may_change_places() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    publish(&node, [1]).await;
    let elsewhere = keeper("times = 1").replace("sum = \"k\"", "sum = \"elsewhere\"");
    let report = reconfigure(&node, &elsewhere).await.unwrap();
    assert!(report.plan.steps.iter().any(|step| step.effect.contains("goes on with its state")), "{}", report.plan);
    publish(&node, [2]).await;
    assert_eq!((last(&node, "k"), last(&node, "elsewhere")), (Some(1), Some(3)));
    assert_eq!(part(&node, "keeper").incarnation, 1);
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_takes_no_change() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    node.shutdown().await;
    assert!(matches!(reconfigure(&node, &keeper("times = 2")).await, Err(ReloadError::NotRunning { .. })));
    assert!(matches!(node.reload().await, Err(ReloadError::NoSource)));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_given_up_begins_with_the_change_that_brought_it_back_also_after_a_restart() {
    let store = MemoryStore::default();
    let restarts = |at_most: u32| keeper(&format!("times = 1\nrestart = {{ at_most = {at_most}, within = \"60s\" }}"));
    let node = start(&restarts(0), &store).await.unwrap();
    publish(&node, [1, -2, 5]).await;
    assert_eq!(part(&node, "keeper").state, RunState::Failed);
    reconfigure(&node, &restarts(3)).await.unwrap();
    node.shutdown().await;
    let node = start(&restarts(3), &store).await.unwrap();
    publish(&node, [4]).await;
    assert_eq!(last(&node, "k"), Some(5), "what was published while it was down is over");
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_given_up_while_services_stop_for_the_change_reads_again() {
    let store = MemoryStore::default();
    let with = |at_most: u32, value: i64| {
        let restart = format!("times = 1\nrestart = {{ at_most = {at_most}, within = \"60s\" }}");
        let leaver =
            format!("[source.leaver]\ntype = \"test.leaver\"\nlast = {value}\nwrites = {{ number = \"n\" }}\n");
        format!("{}{leaver}", keeper(&restart))
    };
    let node = start(&with(0, -2), &store).await.unwrap();
    publish(&node, [1]).await;
    assert_eq!(last(&node, "k"), Some(1));
    reconfigure(&node, &with(3, 0)).await.unwrap();
    publish(&node, [4]).await;
    assert_eq!((part(&node, "keeper").state, last(&node, "k")), (RunState::Running, Some(5)));
    node.shutdown().await;
    prove(&store);
}

/// What a crash leaves that comes before the packets that `is_lost` tells by author.
fn crashed(store: &MemoryStore, is_lost: impl Fn(LaneKind, &str) -> bool) -> MemoryStore {
    let mut reader = store.reader();
    let lanes = reader.lanes().unwrap();
    let of = |id| lanes.iter().find(|lane| lane.id == id).unwrap().clone();
    let left = MemoryStore::default();
    let mut journal = left.open().unwrap();
    let event =
        |event: csf_core::port::StoredEvent| NewEvent::new(event.stream, event.kind, event.stamp, event.data).into();
    let appends = reader.events(RUN_STREAM, 1, 10).unwrap().into_iter().map(event).collect();
    journal.append(&Batch { appends, ..Batch::default() }).unwrap();
    let packets = reader.scan(&Scan { from_position: 1, limit: 1_000, lanes: Vec::new() }).unwrap();
    let mut known = Vec::new();
    for mut packet in packets {
        packet.position = journal.position() + 1;
        let lane = of(packet.header.id.lane);
        if is_lost(lane.kind, &lane.author) {
            break;
        }
        let lanes = if known.contains(&lane.id) { Vec::new() } else { vec![lane.clone()] };
        known.push(lane.id);
        let packets = vec![LaneBatch::of([packet])];
        journal.append(&Batch { lanes, packets, ..Batch::default() }).unwrap();
    }
    left
}

/// Adds up what `adder` says.
const FOLLOWER: &str = "[component.follower]\ntype = \"test.adder\"\nreads = [\"s\"]\nwrites = { sum = \"f\" }\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_new_after_a_crash_is_not_given_what_the_crash_kept_from_the_journal() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    publish(&node, [1]).await;
    publish(&node, [2]).await;
    node.shutdown().await;
    let seen = AtomicUsize::new(0);
    let left = crashed(&store, |kind, _| kind == LaneKind::Effect && seen.fetch_add(1, Ordering::SeqCst) == 1);
    let node = start(&configured(FOLLOWER), &left).await.unwrap();
    publish(&node, [4]).await;
    assert_eq!((last(&node, "s"), last(&node, "f")), (Some(7), Some(7)));
    node.shutdown().await;
    prove(&left);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_effect_of_a_lane_survives_a_crash_behind_its_delivery() {
    let store = MemoryStore::default();
    let node = start(&configured(FOLLOWER), &store).await.unwrap();
    publish(&node, [1]).await;
    node.shutdown().await;
    let left = crashed(&store, |kind, _| kind == LaneKind::Effect);
    let node = start(&configured(FOLLOWER), &left).await.unwrap();
    publish(&node, [2]).await;
    assert_eq!((last(&node, "s"), last(&node, "f")), (Some(3), Some(4)), "1 and 3 were added up");
    node.shutdown().await;
    let lanes = left.reader().lanes().unwrap();
    assert_eq!(lanes.iter().filter(|lane| lane.author == "adder").count(), 2, "one of each start");
    prove(&left);
    let node = start(&configured(FOLLOWER), &left).await.unwrap();
    publish(&node, [0]).await;
    assert_eq!((last(&node, "s"), last(&node, "f")), (Some(3), Some(7)));
    node.shutdown().await;
    prove(&left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_waits_for_another_reads_the_files_after_it() {
    let store = MemoryStore::default();
    let node = start(&keeper("times = 1"), &store).await.unwrap();
    let (read, reader) = (Arc::new(AtomicUsize::new(0)), Arc::new(OnceLock::new()));
    let _ = reader.set(Arc::downgrade(&node));
    node.set_configuration_source(Arc::new({
        let (read, reader) = (read.clone(), reader.clone());
        move || {
            let before = read.fetch_add(1, Ordering::SeqCst);
            let node: &std::sync::Weak<Node> = reader.get().unwrap();
            let generation = node.upgrade().unwrap().configuration().generation;
            assert_eq!(generation, before as u64, "the one before is over");
            check(&keeper(&format!("times = {}", before + 2)))
        }
    }));
    let (first, second) = tokio::join!(node.reload(), node.reload());
    assert_eq!((first.unwrap().generation, second.unwrap().generation), (1, 2));
    assert!(node.configuration().text.contains("times = 3"));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn effects_are_not_taken_for_what_a_source_of_the_same_name_published() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    node.publish_json("s", json!({ "sum": 100 })).unwrap();
    let api = configured("").replace("component.adder", "component.api");
    reconfigure(&node, &api).await.unwrap();
    publish(&node, [1, 2]).await;
    assert_eq!(last(&node, "s"), Some(3));
    node.shutdown().await;
    assert_eq!(prove(&store).compared, 2);
}

/// A journal that keeps a change waiting until it is let go.
pub(crate) struct Waiting {
    pub(crate) journal: csf_sim::MemoryJournal,
    pub(crate) gate: Arc<Gate>,
}

#[derive(Default)]
pub(crate) struct Gate {
    pub(crate) is_asked: AtomicBool,
    pub(crate) is_open: Mutex<bool>,
    pub(crate) opened: Condvar,
}

impl Gate {
    pub(crate) async fn asked(&self) {
        while !self.is_asked.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

impl Journal for Waiting {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        if batch.appends.iter().flat_map(|a| &a.events).any(|event| event.kind == "reconfigured") {
            self.gate.is_asked.store(true, Ordering::SeqCst);
            let is_open = self.gate.is_open.lock().unwrap();
            drop(self.gate.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
        self.journal.append(batch)
    }

    fn position(&self) -> u64 {
        self.journal.position()
    }

    fn incarnation(&self) -> csf_core::Incarnation {
        self.journal.incarnation()
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        self.journal.reader()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_the_change_is_journaled_is_for_the_part_as_it_will_be() {
    let (store, gate) = (MemoryStore::default(), Arc::new(Gate::default()));
    let mut options = options(&keeper("times = 1\ntakes_over = true"), &store);
    let (write, held) = (store.clone(), gate.clone());
    options.open_journal = Box::new(move || Ok(Box::new(Waiting { journal: write.open()?, gate: held })));
    let node = boot(options).await.unwrap();
    publish(&node, [1]).await;
    let reloading = tokio::spawn({
        let node = node.clone();
        async move { reconfigure(&node, &keeper("times = 10\ntakes_over = true")).await }
    });
    gate.asked().await;
    for handled in 2..10 {
        node.publish_json("n", json!({ "value": 1 })).unwrap();
        while part(&node, "adder").handled < handled {
            tokio::task::yield_now().await;
        }
    }
    gate.open();
    reloading.await.unwrap().unwrap();
    node.settle().await;
    assert_eq!((last(&node, "k"), last(&node, "s")), (Some(81), Some(9)));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn timers_go_over_with_the_state() {
    let store = MemoryStore::default();
    let mut options = options(&keeper("times = 1\ntakes_over = true"), &store);
    let clock = csf_time::SimulatedClock::starting_at(csf_core::NanoTime::from_nanos(1_000_000_000));
    options.clock = clock.clone();
    let node = boot(options).await.unwrap();
    publish(&node, [5, -4]).await;
    reconfigure(&node, &keeper("times = 10\ntakes_over = true")).await.unwrap();
    clock.advance(std::time::Duration::from_secs(61));
    node.settle().await;
    assert_eq!(last(&node, "k"), Some(1001));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_for_a_change_that_did_not_come_runs_again() {
    let store = MemoryStore::default();
    let counting = |count: u64, times: u64| {
        keeper(&format!("times = {times}")).replace("\"test.counter\"", &format!("\"test.counter\"\ncount = {count}"))
    };
    let node = start(&counting(3, 1), &store).await.unwrap();
    while last(&node, "s") != Some(3) {
        node.settle().await;
    }
    store.set_capacity_bytes(Some(0));
    let error = reconfigure(&node, &counting(5, 2)).await.unwrap_err();
    assert!(matches!(error, ReloadError::Journal { .. }), "{error}");
    store.set_capacity_bytes(None);
    while part(&node, "numbers").state != RunState::Running {
        tokio::task::yield_now().await;
    }
    publish(&node, [1]).await;
    assert_eq!((last(&node, "s"), last(&node, "k")), (Some(4), Some(4)));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_of_another_type_begins_anew_under_the_same_name() {
    let store = MemoryStore::default();
    let counting = |kind: &str, count: u64| {
        configured("").replace("\"test.counter\"", &format!("\"test.{kind}\"\ncount = {count}"))
    };
    let added = async |node: &Node, sum: i64| {
        while last(node, "s").is_none_or(|is| is < sum) {
            node.settle().await;
        }
        assert_eq!(last(node, "s"), Some(sum));
    };
    let node = start(&counting("counter", 3), &store).await.unwrap();
    added(&node, 3).await;
    reconfigure(&node, &counting("recounter", 4)).await.unwrap();
    added(&node, 9).await;
    node.shutdown().await;
    let node = start(&counting("recounter", 6), &store).await.unwrap();
    added(&node, 18).await;
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_may_leave_a_topic_that_others_go_on_with() {
    let store = MemoryStore::default();
    let reading = |reads: &str| {
        let more = "[source.more]\ntype = \"test.counter\"\nwrites = { number = \"m\" }\n";
        format!(
            "{}{more}",
            keeper("times = 1").replace(
                "reads = [\"n\"]\nwrites = { sum = \"k\" }",
                &format!("reads = {reads}\nwrites = {{ sum = \"k\" }}")
            )
        )
    };
    let node = start(&reading("[\"n\", \"m\"]"), &store).await.unwrap();
    publish(&node, [1]).await;
    let more = async |value: i64| {
        node.publish_json("m", json!({ "value": value })).unwrap();
        node.settle().await;
    };
    more(10).await;
    assert_eq!(last(&node, "k"), Some(11));
    reconfigure(&node, &reading("[\"n\"]")).await.unwrap();
    more(100).await;
    assert_eq!(last(&node, "k"), Some(11));
    reconfigure(&node, &reading("[\"n\", \"m\"]")).await.unwrap();
    more(1000).await;
    assert_eq!(last(&node, "k"), Some(1011), "from then on");
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_live_and_die_together_are_changed_together() {
    let store = MemoryStore::default();
    let count = |count: u64| {
        let one = |name: &str, count: u64| {
            format!(
                "[source.{name}]\ntype = \"test.counter\"\ncount = {count}\nsupervisor = \"both\"\nwrites = {{ number = \"{name}\" }}\n"
            )
        };
        format!(
            "{}[supervisor.both]\nstrategy = \"one_for_all\"\n{}{}",
            configured(""),
            one("left", count),
            one("right", 0)
        )
    };
    let node = start(&count(0), &store).await.unwrap();
    let report = reconfigure(&node, &count(1)).await.unwrap();
    let right = report.plan.steps.iter().find(|step| step.name == "right").unwrap();
    assert!(right.effect.contains("with its supervisor"), "{}", report.plan);
    assert_eq!(report.plan.untouched, ["adder", "numbers"]);
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_report_is_of_the_parts_there_are() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    let is_watched = async |name: &str| node.health().await.components.iter().any(|component| component.name == name);
    assert!(!is_watched("keeper").await);
    reconfigure(&node, &keeper("times = 1")).await.unwrap();
    assert!(is_watched("keeper").await && is_watched("adder").await);
    reconfigure(&node, &configured("")).await.unwrap();
    assert!(!is_watched("keeper").await && is_watched("adder").await);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn guards_come_with_a_change() {
    let store = MemoryStore::default();
    let node = start(&configured(""), &store).await.unwrap();
    assert_eq!(node.resilience().len(), 0);
    let gate = "[topic.n]\nresilience = \"gate\"\n[resilience.gate.rate_limit]\ncalls = 1\nper = \"10s\"\n";
    reconfigure(&node, &configured(gate)).await.unwrap();
    let guards = node.resilience();
    assert_eq!((guards.len(), &*guards[0].report.name), (1, "gate"));
    assert_eq!(guards[0].attached.topics, ["n"]);
    node.shutdown().await;
}
