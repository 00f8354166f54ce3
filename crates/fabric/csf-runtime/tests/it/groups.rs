//! Components below supervisors, with services and with each other: who is restarted, what they keep, and what replay makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use csf_runtime::exec::RunState;
use csf_runtime::node::{ComponentReport, Node, TreeNode, TreeReport};
use csf_runtime::replay::{ReplayReport, replay};
use csf_runtime::{Delivery, Input};
use csf_sim::MemoryStore;
use serde_json::json;

use crate::world::{catalogue, check, start};

/// A source, a service, and three components that add up in their own ways; only `adder` panics at -2 on `n`.
fn config(supervisor: &str) -> String {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    format!(
        r#"
[source.numbers]
type = "test.counter"
writes = {{ number = "n" }}

[source.others]
type = "test.counter"
writes = {{ number = "m" }}

[service.helper]
type = "test.flaky"
test = "groups {test}"
supervisor = "g"
after = ["adder"]

[component.first]
type = "test.adder"
reads = ["m"]
writes = {{ sum = "f" }}
supervisor = "g"

[component.adder]
type = "test.adder"
reads = ["n"]
writes = {{ sum = "s" }}
supervisor = "g"
after = ["first"]

[component.last]
type = "test.adder"
reads = ["m"]
writes = {{ sum = "l" }}
supervisor = "g"
after = ["helper"]

[supervisor.g]
{supervisor}
"#
    )
}

fn publish(node: &Node, topic: &str, values: impl IntoIterator<Item = i64>) {
    for value in values {
        node.publish_json(topic, json!({ "value": value })).unwrap();
    }
}

/// What was published on a topic, in order.
fn sums(node: &Node, topic: &str) -> Vec<i64> {
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

/// Entries of the delivery log that tell of a restart with a group.
fn renewals(store: &MemoryStore) -> usize {
    let mut reader = store.reader();
    let lanes = reader.lanes().unwrap().into_iter().filter(|lane| lane.topic == csf_runtime::DELIVERY_TOPIC);
    let packets: Vec<_> = lanes.flat_map(|lane| reader.lane(lane.id, 0, 10_000).unwrap()).collect();
    let decode = csf_core::MessageType::of::<Delivery>().decode;
    let input = |bytes: &[u8]| decode(bytes).unwrap().downcast_ref::<Delivery>().unwrap().input;
    packets.iter().filter(|packet| input(&packet.payload) == Input::Renewal).count()
}

fn part(node: &Node, name: &str) -> ComponentReport {
    node.components().into_iter().find(|part| part.name == name).unwrap()
}

fn find<'a>(node: &'a TreeNode, name: &str) -> Option<&'a TreeNode> {
    if node.name == name { Some(node) } else { node.children.iter().find_map(|child| find(child, name)) }
}

fn restarts(node: &Node) -> [u64; 4] {
    let tree = node.supervision();
    ["first", "adder", "helper", "last"].map(|name| find(&tree.root, name).unwrap().restarts)
}

async fn until(node: &Arc<Node>, wanted: impl Fn(&TreeReport) -> bool) -> TreeReport {
    loop {
        let tree = node.supervision();
        if wanted(&tree) {
            return tree;
        }
        tokio::task::yield_now().await;
    }
}

/// Waits until the helper, which is started among the others, runs so often.
async fn settle(node: &Arc<Node>, wanted: [u64; 4]) {
    node.settle().await;
    until(node, |_| restarts(node) == wanted).await;
    node.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strategy_says_whom_a_component_s_failure_concerns_and_nobody_loses_a_state() {
    // Three failures of one event, then it is a dead letter.
    let cases = [("one_for_one", [0, 3, 0, 0], 0), ("rest_for_one", [0, 3, 3, 3], 3), ("one_for_all", [3; 4], 6)];
    for (strategy, wanted, renewed) in cases {
        let store = MemoryStore::default();
        let text = config(&format!("strategy = \"{strategy}\"\nbackoff = false"));
        let node = start(&text, &store).await.unwrap();
        publish(&node, "m", [1, 2]);
        publish(&node, "n", [5]);
        node.settle().await;
        publish(&node, "n", [-2, 6]);
        settle(&node, wanted).await;
        publish(&node, "m", [4]);
        node.settle().await;
        assert_eq!((sums(&node, "s"), sums(&node, "f"), sums(&node, "l")), (vec![5, 11], vec![1, 3, 7], vec![1, 3, 7]));
        let tree = node.supervision();
        let group = find(&tree.root, "g").unwrap();
        let children: Vec<(&str, &str)> = group.children.iter().map(|c| (c.name.as_str(), c.kind.as_str())).collect();
        let order = [("first", "component"), ("adder", "component"), ("helper", "service"), ("last", "component")];
        assert_eq!(children, order, "in start order");
        assert_eq!(find(&tree.root, "adder").unwrap().last_failure, "minus two");
        assert!(tree.root.children[0].children.is_empty(), "none is without a supervisor");
        assert_eq!(part(&node, "last").incarnation, wanted[3] + 1);
        node.shutdown().await;
        prove(&store);
        assert_eq!(renewals(&store), renewed);
        // Another start comes to the same states.
        let node = start(&text, &store).await.unwrap();
        publish(&node, "m", [10]);
        node.settle().await;
        assert_eq!(sums(&node, "l"), [1, 3, 7, 17]);
        node.shutdown().await;
        prove(&store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_history_tells_causes_in_order_and_siblings_stop_in_reverse() {
    let node = start(&config("strategy = \"one_for_all\"\nbackoff = false"), &MemoryStore::default()).await.unwrap();
    publish(&node, "n", [-2]);
    settle(&node, [3; 4]).await;
    let tree = node.supervision();
    let told: Vec<String> =
        tree.history.iter().filter(|e| e.child != "g").map(|e| format!("{} {}", e.child, e.what)).collect();
    let start = told.iter().position(|line| line == "adder terminated").unwrap();
    let restored = |name: &str| told[start..].iter().position(|line| *line == format!("{name} restored")).unwrap();
    assert!(restored("first") < restored("last"));
    let starts: Vec<&str> = told[start..].iter().filter_map(|line| line.strip_suffix(" started")).take(4).collect();
    assert_eq!(starts, ["first", "adder", "helper", "last"]);
    let cause = tree.history.iter().find(|e| e.what == "terminated").unwrap();
    assert_eq!((cause.supervisor.as_str(), cause.detail.as_str()), ("services/g", "panicked: minus two"));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_s_failure_restarts_the_components_of_its_group_with_their_states_and_timers() {
    let store = MemoryStore::default();
    let text = config("strategy = \"one_for_all\"\nbackoff = { min = \"20ms\" }")
        .replace("after = [\"adder\"]", "after = [\"adder\"]\nfailures = 2");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", 0..50);
    settle(&node, [2; 4]).await;
    publish(&node, "m", [1]);
    node.settle().await;
    assert_eq!(sums(&node, "f").last(), Some(&(49 * 25 + 1)));
    assert_eq!(sums(&node, "f").len(), 51);
    node.shutdown().await;
    assert_eq!(renewals(&store), 6, "three components, twice");
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_restart_of_a_group_does_not_happen_and_nobody_waits_for_what_was_given_up() {
    let store = MemoryStore::default();
    let text = config("strategy = \"rest_for_one\"\nbackoff = false");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [1]);
    // Six failures of five that may be.
    publish(&node, "n", [5, -2, -2, 6]);
    let is_down =
        |t: &TreeReport| ["first", "adder", "last"].iter().all(|n| find(&t.root, n).unwrap().state == RunState::Failed);
    let tree = until(&node, is_down).await;
    assert_eq!((restarts(&node)[0], restarts(&node)[1]), (0, 5), "the sixth does not happen");
    let spent: Vec<_> = tree.history.iter().filter(|e| e.what == "budget_spent").collect();
    assert_eq!(spent.len(), 1);
    assert_eq!((spent[0].supervisor.as_str(), spent[0].child.as_str()), ("services/g", "adder"));
    // More than their lanes hold.
    for _ in 0..20 {
        publish(&node, "m", 0..500);
        publish(&node, "n", 0..500);
        node.settle().await;
    }
    assert_eq!(sums(&node, "s"), [5]);
    node.shutdown().await;
    prove(&store);
    // The next start goes on where they were given up. The sixth failure was the third of its event, which is a dead letter.
    let node = start(&text, &store).await.unwrap();
    node.settle().await;
    assert_eq!(sums(&node, "s")[..2], [5, 11]);
    assert_eq!(restarts(&node), [0; 4]);
    node.shutdown().await;
    prove(&store);
}

/// `adder` below `inner`, that and `last` below `outer`.
fn nested(inner: &str, outer: &str) -> String {
    let text = config(&format!("supervisor = \"outer\"\nbackoff = false\n{inner}"));
    let (before, last) = text.split_once("[component.last]").unwrap();
    let last = last.replacen("supervisor = \"g\"", "supervisor = \"outer\"", 1);
    format!("{before}[component.last]{last}\n[supervisor.outer]\nbackoff = false\n{outer}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_is_a_failure_of_the_supervisor_above_and_its_spent_budget_the_end() {
    let store = MemoryStore::default();
    let text = nested("at_most = 1", "at_most = 2\nstrategy = \"one_for_all\"");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [7]);
    // Two failures spend the inner budget: the outer one restarts all below it. So does the fourth, and the sixth is its third.
    publish(&node, "n", [5, -2, -2]);
    let is_down = |t: &TreeReport| find(&t.root, "last").unwrap().state == RunState::Failed;
    let tree = until(&node, is_down).await;
    let outer = find(&tree.root, "outer").unwrap();
    let below: Vec<&str> = outer.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(below, ["g", "last"]);
    assert_eq!(find(outer, "g").unwrap().restarts, 2);
    // Of six failures, two were spent by the outer supervisor, three by the inner one, and the last by nobody.
    assert_eq!(restarts(&node), [2, 5, 2, 2]);
    let spent: Vec<(&str, &str)> = tree
        .history
        .iter()
        .filter(|e| e.what == "budget_spent")
        .map(|e| (e.supervisor.as_str(), e.child.as_str()))
        .collect();
    let inner = ("services/outer/g", "adder");
    assert_eq!(spent, [inner, inner, inner, ("services/outer", "g")]);
    until(&node, |t| ["first", "adder"].iter().all(|n| find(&t.root, n).unwrap().state == RunState::Failed)).await;
    node.shutdown().await;
    prove(&store);
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [1]);
    node.settle().await;
    assert_eq!(sums(&node, "l"), [7, 8]);
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_spends_its_supervisor_s_budget_can_end_the_node() {
    let store = MemoryStore::default();
    let node = start(&config("at_most = 2\nbackoff = false\nwhen_spent = \"stop_node\""), &store).await.unwrap();
    publish(&node, "n", [5, -2, 6]);
    while node.given_up().is_none() {
        tokio::task::yield_now().await;
    }
    assert!(node.given_up().unwrap().contains("restart budget"));
    node.shutdown().await;
    assert_eq!((part(&node, "adder").state, restarts(&node)[1]), (RunState::Failed, 2));
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_group_pauses_for_is_handled_before_a_stop_is_over() {
    let store = MemoryStore::default();
    let text = config("strategy = \"one_for_all\"\nbackoff = { min = \"1h\", max = \"1h\" }");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "n", [5, -2, 6]);
    until(&node, |t| t.history.iter().any(|e| e.what == "delayed")).await;
    publish(&node, "m", [1, 2]);
    node.shutdown().await;
    let node = start(&text, &store).await.unwrap();
    assert_eq!((sums(&node, "s"), sums(&node, "l")), (vec![5, 11], vec![1, 3]));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_forgets_is_forgotten_in_replay_too() {
    let store = MemoryStore::default();
    let text = config("strategy = \"one_for_all\"\nbackoff = false")
        .replace("[component.last]\ntype = \"test.adder\"", "[component.last]\ntype = \"test.forgetful\"");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [1, 2]);
    node.settle().await;
    publish(&node, "n", [-2]);
    settle(&node, [3; 4]).await;
    publish(&node, "m", [4]);
    node.settle().await;
    assert_eq!(sums(&node, "l"), [1, 3, 4], "what it says of itself is what it keeps");
    node.shutdown().await;
    prove(&store);
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [1]);
    node.settle().await;
    assert_eq!(sums(&node, "l"), [1, 3, 4, 5]);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_components_between_supervisors_and_brings_back_what_was_given_up() {
    let store = MemoryStore::default();
    let text = config("at_most = 2\nbackoff = false");
    let alone = |text: &str| text.replacen("supervisor = \"g\"\nafter = [\"first\"]", "after = [\"first\"]", 1);
    let node = start(&alone(&text), &store).await.unwrap();
    publish(&node, "n", [5, -2]);
    node.settle().await;
    let below = |node: &Node, supervisor: &str| {
        let tree = node.supervision();
        find(find(&tree.root, supervisor).unwrap(), "adder").map(|adder| adder.restarts)
    };
    assert_eq!((below(&node, "components"), below(&node, "g")), (Some(3), None));
    // It joins the group: from now on its failures are the group's.
    let report = node.reconfigure(check(&text).unwrap()).await.unwrap();
    let [step] = &report.plan.steps[..] else { panic!("{}", report.plan) };
    assert_eq!(
        (step.name.as_str(), step.effect.as_str()),
        ("adder", "goes on with its state below another supervisor")
    );
    publish(&node, "n", [6, -2, 7]);
    until(&node, |t| find(&t.root, "last").unwrap().state == RunState::Failed).await;
    until(&node, |t| find(&t.root, "adder").unwrap().state == RunState::Failed).await;
    assert_eq!(below(&node, "g"), Some(5), "two more");
    assert_eq!(sums(&node, "s"), [5, 11]);
    // A change of the supervisor brings all of it back; what was published meanwhile is passed over.
    publish(&node, "m", [1]);
    node.settle().await;
    let wider = text.replacen("at_most = 2", "at_most = 3\nstrategy = \"one_for_all\"", 1);
    node.reconfigure(check(&wider).unwrap()).await.unwrap();
    publish(&node, "n", [8, -2, 9]);
    publish(&node, "m", [2]);
    until(&node, |_| sums(&node, "s") == [5, 11, 19, 28]).await;
    node.settle().await;
    assert_eq!(sums(&node, "l"), [2]);
    // It leaves the group, which goes on without it.
    node.reconfigure(check(&alone(&wider)).unwrap()).await.unwrap();
    publish(&node, "n", [1, -2, 1]);
    node.settle().await;
    assert_eq!((below(&node, "components").is_some(), below(&node, "g")), (true, None));
    assert_eq!(sums(&node, "s"), [5, 11, 19, 28, 29, 30]);
    node.shutdown().await;
    prove(&store);
    let node = start(&wider, &store).await.unwrap();
    publish(&node, "n", [1]);
    node.settle().await;
    assert_eq!(sums(&node, "s").last(), Some(&31));
    node.shutdown().await;
    prove(&store);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_and_removes_members_and_nests_supervisors() {
    let store = MemoryStore::default();
    let text = config("backoff = false");
    let node = start(&text, &store).await.unwrap();
    publish(&node, "m", [1]);
    publish(&node, "n", [5]);
    node.settle().await;
    let (before, rest) = text.split_once("[component.last]").unwrap();
    let without = format!("{before}[supervisor.g]{}", rest.split_once("[supervisor.g]").unwrap().1);
    node.reconfigure(check(&without).unwrap()).await.unwrap();
    publish(&node, "n", [-2, 6]);
    until(&node, |_| sums(&node, "s") == [5, 11]).await;
    node.settle().await;
    node.reconfigure(check(&text).unwrap()).await.unwrap();
    publish(&node, "m", [2]);
    node.settle().await;
    assert_eq!((sums(&node, "l"), sums(&node, "f")), (vec![1, 2], vec![1, 3]), "it came back as another one");
    let outer = "[supervisor.outer]\nbackoff = false\n";
    let below = format!("{}supervisor = \"outer\"\n{outer}", text.trim_end().to_owned() + "\n");
    let report = node.reconfigure(check(&below).unwrap()).await.unwrap();
    let adder = report.plan.untouched.iter().find(|name| *name == "adder");
    assert_eq!(adder, None, "{}", report.plan);
    publish(&node, "n", [-2, 7]);
    until(&node, |_| sums(&node, "s") == [5, 11, 18]).await;
    let tree = node.supervision();
    assert!(find(find(&tree.root, "outer").unwrap(), "adder").is_some());
    node.shutdown().await;
    prove(&store);
}

#[test]
fn what_is_wrong_with_a_group_is_said_with_its_place() {
    let sound = config("");
    assert!(check(&sound).is_ok());
    let with = |from: &str, to: &str| sound.replacen(from, to, 1);
    let own = "supervisor = \"g\"\nafter = [\"first\"]";
    let cases = [
        (with(own, "supervisor = \"h\""), "CSF-0114", "no supervisor is called `h`"),
        (with(own, "supervisr = \"g\""), "CSF-0103", "unknown"),
        (
            with(own, "supervisor = \"g\"\nrestart = { at_most = 3 }"),
            "CSF-0115",
            "`adder` has a restart budget of its own",
        ),
        (with("[supervisor.g]", "[supervisor.g]\nsupervisor = \"h\""), "CSF-0114", "no supervisor is called `h`"),
        (with("[supervisor.g]", "[supervisor.g]\nsupervisor = \"g\""), "CSF-0114", "g → g"),
        (
            with("[supervisor.g]", "[supervisor.h]\nsupervisor = \"g\"\n[supervisor.g]\nsupervisor = \"h\""),
            "CSF-0114",
            "g → h → g",
        ),
        (
            with("[supervisor.g]", "[supervisor.h]\n[supervisor.g]\nsupervisor = \"h\"\nwhen_spent = \"stop_node\""),
            "CSF-0115",
            "`g` is below `h` and has a `when_spent`",
        ),
        (sound.replace("\"g\"", "\"adder\"").replace("[supervisor.g]", "[supervisor.adder]"), "CSF-0109", "`adder`"),
    ];
    for (text, code, message) in cases {
        let problems = check(&text).err().unwrap_or_default();
        let found = problems.iter().any(|p| p.code == code && p.message.contains(message));
        assert!(found, "{message}: {problems:?}");
    }
}
