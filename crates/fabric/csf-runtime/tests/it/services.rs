//! Services under their supervisors, in a whole node.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use csf_runtime::exec::RunState;
use csf_runtime::node::{AlertThreshold, HealthStatus, Node, Status, TreeNode, TreeReport};
use csf_sim::MemoryStore;

use crate::world::{check, start};

fn config(sections: &str) -> String {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let test = TESTS.fetch_add(1, Ordering::Relaxed);
    format!("[source.flaky]\ntype = \"test.flaky\"\ntest = \"{test}\"\n{sections}")
}

/// Waits until the tree is as `wanted`.
async fn until(node: &Arc<Node>, wanted: impl Fn(&TreeReport) -> bool) -> TreeReport {
    loop {
        let tree = node.supervision();
        if wanted(&tree) {
            return tree;
        }
        tokio::task::yield_now().await;
    }
}

fn service<'a>(tree: &'a TreeReport, name: &str) -> &'a TreeNode {
    fn find<'a>(node: &'a TreeNode, name: &str) -> Option<&'a TreeNode> {
        let is_it = node.kind == "service" && node.name == name;
        if is_it { Some(node) } else { node.children.iter().find_map(|c| find(c, name)) }
    }
    find(&tree.root, name).unwrap()
}

fn told(tree: &TreeReport, child: &str) -> Vec<String> {
    tree.history.iter().filter(|e| e.child == child && e.supervisor.ends_with(child)).map(|e| e.what.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_fails_is_started_again_and_the_tree_says_why() {
    for (options, failure) in [("failures = 2", "on purpose"), ("failures = 2\npanics = true", "panicked: on purpose")]
    {
        let text = config(&format!("{options}\nrestart = {{ backoff = {{ min = \"1ms\", max = \"2ms\" }} }}"));
        let node = start(&text, &MemoryStore::default()).await.unwrap();
        let tree = until(&node, |t| service(t, "flaky").restarts == 2).await;
        let flaky = service(&tree, "flaky");
        assert!(flaky.last_failure.contains(failure), "{}", flaky.last_failure);
        let again = ["terminated", "delayed", "started"];
        assert_eq!(told(&tree, "flaky"), [&["started"][..], &again[..], &again[..]].concat());
        until(&node, |t| service(t, "flaky").state == RunState::Running).await;
        node.shutdown().await;
        assert_eq!(service(&node.supervision(), "flaky").state, RunState::Stopped);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spent_budget_gives_the_service_up_and_the_node_goes_on() {
    let text = config("failures = 1000\nrestart = { at_most = 3, within = \"60s\", backoff = false }");
    let node = start(&text, &MemoryStore::default()).await.unwrap();
    let tree = until(&node, |t| service(t, "flaky").state == RunState::Failed).await;
    assert_eq!(service(&tree, "flaky").restarts, 3, "the fourth does not happen");
    assert_eq!(told(&tree, "flaky").last().unwrap(), "budget_spent");
    assert_eq!(node.hub().get("services").unwrap().health_check(), HealthStatus::Healthy);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sixth_restart_of_a_service_does_not_happen() {
    // Five within 60 s are what nobody has to say.
    let text = config("failures = 1000\nrestart = { backoff = false }");
    let node = start(&text, &MemoryStore::default()).await.unwrap();
    let tree = until(&node, |t| service(t, "flaky").state == RunState::Failed).await;
    assert_eq!(service(&tree, "flaky").restarts, 5);
    let escalated: Vec<&str> =
        tree.history.iter().map(|e| e.what.as_str()).filter(|what| *what == "budget_spent").collect();
    assert_eq!(escalated.len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_spent_stop_node_ends_the_root() {
    let text = config(
        "failures = 1000\nsupervisor = \"ingest\"\n\
         [supervisor.ingest]\nat_most = 2\nbackoff = false\nwhen_spent = \"stop_node\"\n",
    );
    // It may give up before the start is over.
    let reason = match start(&text, &MemoryStore::default()).await {
        Ok(node) => {
            let services = node.hub().get("services").unwrap();
            while services.health_check() == HealthStatus::Healthy {
                tokio::task::yield_now().await;
            }
            node.shutdown().await;
            node.given_up().unwrap()
        }
        Err(error) => {
            assert_eq!(error.code(), "CSF-0212");
            error.to_string()
        }
    };
    assert!(reason.contains("restart budget"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_one_supervisor_restart_together_by_its_strategy() {
    let text = config(
        "failures = 1\nsupervisor = \"ingest\"\n\
         [service.after]\ntype = \"test.counter\"\nsupervisor = \"ingest\"\nafter = [\"flaky\"]\n\
         [service.apart]\ntype = \"test.counter\"\n\
         [supervisor.ingest]\nstrategy = \"rest_for_one\"\nbackoff = { min = \"1ms\" }\n",
    );
    let node = start(&text, &MemoryStore::default()).await.unwrap();
    let restarts = |t: &TreeReport| ["flaky", "after"].map(|name| service(t, name).restarts);
    let tree = until(&node, |t| restarts(t) == [1, 1]).await;
    assert_eq!(service(&tree, "apart").restarts, 0);
    let ingest = tree.root.children[1].children.iter().find(|c| c.name == "ingest").unwrap();
    assert_eq!((ingest.kind.as_str(), ingest.children.len()), ("supervisor", 2));
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_ignores_the_stop_costs_its_time_and_is_named() {
    let text = config("is_stubborn = true\nstop_within = \"20ms\"");
    let node = start(&text, &MemoryStore::default()).await.unwrap();
    until(&node, |t| service(t, "flaky").state == RunState::Running).await;
    node.shutdown().await;
    let tree = node.supervision();
    assert_eq!(told(&tree, "flaky"), ["started", "shutdown_failed"]);
    assert!(service(&tree, "flaky").last_failure.contains("killed"));
}

#[test]
fn what_is_wrong_with_supervision_is_said_with_its_place() {
    let cases = [
        ("supervisor = \"ingest\"", "CSF-0114", "no supervisor is called `ingest`"),
        ("[supervisor.x]", "CSF-0114", "supervisor `x` supervises nothing"),
        ("supervisor = \"x\"\nrestart = { at_most = 3 }\n[supervisor.x]", "CSF-0115", "a restart budget of its own"),
        ("restart = { policy = \"sometimes\" }", "CSF-0104", "`sometimes` is no `policy`"),
        ("restart = { backoff = { jitter = 1.5 } }", "CSF-0104", "`jitter` = 1.5 is outside 0..=1"),
        ("restart = { backoff = { min = \"1s\", max = \"1ms\" } }", "CSF-0104", "is below `min`"),
        ("stop_within = \"soon\"", "CSF-0104", "`soon` is no duration"),
        ("restart = { at_least = 3 }", "CSF-0103", "unknown key `at_least`"),
    ];
    for (text, code, message) in cases {
        let problems = check(&config(text)).err().unwrap();
        let found = problems.iter().any(|p| p.code == code && p.message.contains(message));
        assert!(found, "{text}: {problems:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_beyond_a_threshold_degrade_the_node_and_say_how_many() {
    let text = config("failures = 2\nrestart = { backoff = false }");
    let node = start(&text, &MemoryStore::default()).await.unwrap();
    until(&node, |t| service(t, "flaky").restarts == 2).await;
    until(&node, |t| service(t, "flaky").state == RunState::Running).await;
    let figures: Vec<String> = node.monitor().metrics().into_iter().map(|(name, _)| name).collect();
    assert_eq!(figures, ["journal.bytes", "supervision.restarts"]);
    for (warning, status, message) in [(2.0, Status::Healthy, ""), (1.0, Status::Degraded, "2 is above 1")] {
        node.monitor().set_alert_threshold("supervision.restarts", AlertThreshold::above(warning, 100.0)).unwrap();
        let report = node.health().await;
        let found = report.components.iter().find(|c| c.name == "supervision.restarts").unwrap();
        assert_eq!((found.status, found.message.as_str()), (status, message));
    }
    node.shutdown().await;
}
