//! FRM-092: an agent that crashes is back, and counted.

use std::sync::Arc;
use std::time::Duration;

use csf_core::port::{Timer, within};
use csf_runtime::TokioWorld;
use csf_runtime::node::Status;
use csf_runtime::supervise::{Env, ExitReason};
use csf_sim::{SeededRng, SimExecutor};
use csf_tests::{
    AgentConfig, AgentHealth, FailureType, IntegrationTestHarness, TestError, TestSupervisionTree, TestSupervisor,
};

use crate::{backings, say};

const TWO_SECONDS: Duration = Duration::from_secs(2);

fn supervisor() -> TestSupervisor {
    TestSupervisor::default().add_agent_config("worker", AgentConfig::default())
}

fn healthy(restart_count: u64) -> AgentHealth {
    AgentHealth { status: Status::Healthy, restart_count }
}

/// On virtual time: two seconds after the crash the worker runs again, restarted once.
#[test]
fn test_supervision_tree_integration() {
    let sim = SimExecutor::new(1);
    let env = Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(1));
    sim.block_on(async {
        let tree = TestSupervisionTree::start(env, supervisor()).await.unwrap();
        assert_eq!(tree.health_check().await.unwrap(), Status::Healthy);
        for (failure, restarts) in [(FailureType::Crash, 1), (FailureType::Panic, 2)] {
            tree.agent("worker").inject_failure(failure).unwrap();
            sim.sleep(Duration::from_nanos(1)).await;
            assert_eq!(tree.health_check().await.unwrap(), Status::Degraded, "it waits for its restart");
            sim.sleep(TWO_SECONDS).await;
            assert_eq!(tree.agent("worker").health().await.unwrap(), healthy(restarts));
            assert_eq!(tree.health_check().await.unwrap(), Status::Healthy);
        }
        assert_eq!(tree.stop().await, ExitReason::Shutdown);
    })
    .unwrap();
}

/// The same on the machine's runtime, beside whatever the harness stands on: within two seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_supervision_tree_integration_on_the_machine() {
    for backing in backings() {
        let harness = IntegrationTestHarness::start(backing).await.unwrap();
        say(&format!("supervision on {}", harness.describe()));
        let tree = harness.test_supervision(supervisor()).await.unwrap();
        assert_eq!(tree.health_check().await.unwrap(), Status::Healthy);
        tree.agent("worker").inject_failure(FailureType::Crash).unwrap();
        let restarted = within(&TokioWorld::current(), TWO_SECONDS, tree.agent("worker").until_restarted(1)).await;
        assert!(restarted.is_some(), "not restarted within two seconds");
        assert_eq!(tree.agent("worker").health().await.unwrap(), healthy(1));
        assert_eq!(tree.stop().await, ExitReason::Shutdown);
    }
}

#[test]
fn a_tree_whose_budget_is_spent_is_no_longer_healthy() {
    let sim = SimExecutor::new(1);
    let env = Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(1));
    sim.block_on(async {
        let tree = TestSupervisionTree::start(env, supervisor()).await.unwrap();
        for _ in 0..6 {
            tree.agent("worker").inject_failure(FailureType::Crash).unwrap();
            sim.sleep(Duration::from_secs(6)).await;
        }
        assert!(matches!(tree.health_check().await, Err(TestError::Supervisor(_))));
    })
    .unwrap();
}
