//! Workflows of steps on services of the embedded registry (INT-050, INT-052).

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{
    EventLog, Json, ServiceCapabilities, ServiceHealth, ServiceId, ServiceRegistry, Timer, TimingRequirements,
};
use csf_runtime::registry::{EmbeddedRegistry, RegistryLimits};
use csf_sim::{SimClock, SimDisk, SimExecutor, SimLog};
use csf_time::Hlc;
use csf_workflow::orchestrate::{
    CausalityConstraints, Coordination, DistributedWorkflow, OrchestratorError, ResourceRequirements,
    ServiceAssignment, StepCall, StepFuture, StepReply, StepService, TemporalOrchestrator, WorkflowResult,
    WorkflowStep,
};
use csf_workflow::{Engine, EngineOptions};

use crate::{killed_before, world};

/// Services that take some time and know keys; `rogue` stamps by a clock of its own, far behind, and merges nothing.
#[derive(Clone)]
struct Outside {
    executor: SimExecutor,
    /// What was done, by key; it survives every crash.
    done: Arc<Mutex<BTreeMap<String, StepReply>>>,
    calls: Arc<Mutex<Vec<StepCall>>>,
}

impl StepService for Outside {
    fn execute(&self, call: StepCall) -> StepFuture<'_> {
        Box::pin(async move {
            self.calls.lock().unwrap().push(call.clone());
            let is_rogue = call.assignment.service_id.as_str() == "rogue";
            let started = if is_rogue { Stamp(1) } else { call.after.after(1) };
            self.executor.sleep(Duration::from_millis(20)).await;
            let ended = started.after(20_000_000);
            let causes: Vec<&str> = call.causes.keys().map(String::as_str).collect();
            let output = Json::from(serde_json::json!(format!("{}({})", call.assignment.step_id, causes.join(","))));
            let reply = StepReply { started, ended, output };
            Ok(self.done.lock().unwrap().entry(call.key).or_insert(reply).clone())
        })
    }
}

fn step(id: &str, operation: &str) -> WorkflowStep {
    WorkflowStep {
        id: id.into(),
        operation_type: operation.into(),
        timing_requirements: TimingRequirements { latency_max: Some(Duration::from_millis(50)), clock_error_max: None },
        resource_requirements: ResourceRequirements { capacity_min: 2, free_min: 1 },
        input: Json::from(serde_json::json!({"of": id})),
    }
}

fn diamond() -> DistributedWorkflow {
    let constraints = CausalityConstraints::default().after("b", "a").after("c", "a").after("d", "b").after("d", "c");
    // Written down in another order than they can be done in.
    let steps = ["d", "c", "b", "a"].map(|id| step(id, "solve")).into();
    DistributedWorkflow { id: "diamond".into(), steps, constraints }
}

async fn registered(executor: &SimExecutor) -> Arc<dyn ServiceRegistry> {
    let registry = EmbeddedRegistry::new(Arc::new(executor.clone()), RegistryLimits::default());
    let services = [
        ("one", "solve", 20, 8),
        ("two", "solve", 20, 8),
        ("slow", "solve", 500, 9),
        ("rogue", "cheat", 20, 4),
        ("small", "fit", 20, 1),
    ];
    for (name, operation, latency_ms, capacity) in services {
        let capabilities = ServiceCapabilities {
            operations: BTreeSet::from([operation.to_owned()]),
            latency: Duration::from_millis(latency_ms),
            clock_error: Duration::ZERO,
            capacity: NonZeroU32::new(capacity).unwrap(),
        };
        registry.register(ServiceId::new(name).unwrap(), capabilities, Duration::from_secs(60)).await.unwrap();
    }
    Arc::new(registry)
}

struct Scene {
    outside: Outside,
    registry: Arc<dyn ServiceRegistry>,
    orchestrator: TemporalOrchestrator,
}

async fn scene(executor: &SimExecutor, disk: &SimDisk, done: &Arc<Mutex<BTreeMap<String, StepReply>>>) -> Scene {
    let log: Arc<dyn EventLog> = SimLog::start(executor, Box::new(disk.open().unwrap()), 1);
    let outside = Outside { executor: executor.clone(), done: done.clone(), calls: Arc::default() };
    let registry = registered(executor).await;
    let clock = Arc::new(Mutex::new(Hlc::new(SimClock::new(executor, 1_700_000_000_000_000_000, 0), 1)));
    let coordination = Coordination { registry: registry.clone(), services: Arc::new(outside.clone()), clock };
    let options = EngineOptions::default();
    let activities = coordination.activities();
    let engine = Engine::open(log, world(executor), [Coordination::workflow()], activities, options).await.unwrap();
    Scene { outside, registry, orchestrator: TemporalOrchestrator::new(engine) }
}

fn with_scene(test: impl AsyncFnOnce(Scene)) {
    let executor = SimExecutor::new(1);
    let run = async { test(scene(&executor, &SimDisk::new(), &Arc::default()).await).await };
    executor.block_on(run).unwrap_or_else(|stalled| panic!("{stalled}"));
    executor.drop_tasks();
}

fn check(result: &WorkflowResult) {
    let order: Vec<&str> = result.steps.iter().map(|step| step.assignment.step_id.as_str()).collect();
    assert_eq!((order[0], order[3]), ("a", "d"));
    let of = |id: &str| result.steps.iter().find(|step| step.assignment.step_id == id).unwrap();
    for (before, after) in [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")] {
        assert!(of(before).reply.ended < of(after).reply.started, "{before} before {after}");
    }
    assert_eq!(of("d").reply.output, Json::from(serde_json::json!("d(b,c)")), "the causes came with it");
}

#[test]
fn steps_are_placed_on_services_that_can_do_them_and_begin_after_their_causes() {
    with_scene(async |scene| {
        let result = scene.orchestrator.execute_distributed_workflow(&diamond()).await.unwrap();
        check(&result);
        let reply = |id: &str| &result.steps.iter().find(|step| step.assignment.step_id == id).unwrap().reply;
        let (b, c) = (reply("b"), reply("c"));
        assert!(
            b.started < c.ended && c.started < b.ended,
            "what does not wait for each other is done at the same time"
        );
        let services: Vec<&str> = result.steps.iter().map(|step| step.assignment.service_id.as_str()).collect();
        assert!(services.iter().all(|service| ["one", "two"].contains(service)), "{services:?}");
        assert!(services.contains(&"one") && services.contains(&"two"), "the load is shared: {services:?}");
        let again = scene.orchestrator.execute_distributed_workflow(&diamond()).await.unwrap();
        assert_eq!((again, scene.outside.calls.lock().unwrap().len()), (result, 4), "once under one id");

        scene.registry.observe(&ServiceId::new("one").unwrap(), ServiceHealth::Unhealthy).await.unwrap();
        let other = DistributedWorkflow { id: "other".into(), ..diamond() };
        let result = scene.orchestrator.execute_distributed_workflow(&other).await.unwrap();
        assert!(result.steps.iter().all(|step| step.assignment.service_id.as_str() == "two"), "one is sick");
    });
}

#[test]
fn an_execution_out_of_causal_order_fails_in_the_last_phase_with_the_pair() {
    with_scene(async |scene| {
        let workflow = DistributedWorkflow {
            id: "cheated".into(),
            steps: vec![step("honest", "solve"), step("cheat", "cheat"), step("after", "solve")],
            constraints: CausalityConstraints::default().after("cheat", "honest").after("after", "cheat"),
        };
        let error = scene.orchestrator.execute_distributed_workflow(&workflow).await.unwrap_err();
        let OrchestratorError::OutOfOrder { dependency, step, started, ended } = &error else { panic!("{error}") };
        assert_eq!((dependency.as_str(), step.as_str(), *started), ("honest", "cheat", Stamp(1)));
        assert!(ended > started);
        assert_eq!(scene.outside.calls.lock().unwrap().len(), 3, "everything was executed before");
    });
}

#[test]
fn a_step_that_no_service_can_do_is_named_before_anything_is_executed() {
    with_scene(async |scene| {
        let resources = |capacity_min, free_min| ResourceRequirements { capacity_min, free_min };
        let bad = [
            WorkflowStep { operation_type: "unheard-of".into(), ..step("b", "") },
            WorkflowStep { resource_requirements: resources(10, 0), ..step("b", "solve") },
            WorkflowStep { resource_requirements: resources(1, 2), ..step("b", "fit") },
            WorkflowStep {
                timing_requirements: TimingRequirements {
                    latency_max: Some(Duration::from_millis(1)),
                    clock_error_max: None,
                },
                ..step("b", "solve")
            },
        ];
        for (number, bad) in bad.into_iter().enumerate() {
            let constraints = CausalityConstraints::default().after("b", "a");
            let workflow =
                DistributedWorkflow { id: format!("bad-{number}"), steps: vec![step("a", "solve"), bad], constraints };
            let error = scene.orchestrator.execute_distributed_workflow(&workflow).await.unwrap_err();
            assert_eq!(error, OrchestratorError::NoCapableService("b".into()), "{number}");
        }
        assert!(scene.outside.calls.lock().unwrap().is_empty());
        // Only the slow one has room for nine, and only for who has the time.
        let patient = TimingRequirements::default();
        let large =
            WorkflowStep { timing_requirements: patient, resource_requirements: resources(9, 9), ..step("a", "solve") };
        let workflow = DistributedWorkflow {
            id: "large".into(),
            steps: vec![large],
            constraints: CausalityConstraints::default(),
        };
        let result = scene.orchestrator.execute_distributed_workflow(&workflow).await.unwrap();
        assert_eq!(result.steps[0].assignment.service_id.as_str(), "slow");
    });
}

#[test]
fn steps_that_wait_for_each_other_or_for_nobody_are_refused_before_the_start() {
    with_scene(async |scene| {
        let refused = async |change: fn(&mut DistributedWorkflow)| {
            let mut workflow = diamond();
            change(&mut workflow);
            scene.orchestrator.execute_distributed_workflow(&workflow).await.unwrap_err()
        };
        let OrchestratorError::Cycle { steps } =
            refused(|w| w.constraints = w.constraints.clone().after("b", "d")).await
        else {
            panic!("a cycle")
        };
        assert_eq!(steps, ["d", "b", "d"]);
        let itself = refused(|w| w.constraints = w.constraints.clone().after("a", "a")).await;
        assert_eq!(itself, OrchestratorError::Cycle { steps: vec!["a".into(), "a".into()] });
        let unknown = refused(|w| w.constraints = w.constraints.clone().after("a", "z")).await;
        assert_eq!(unknown, OrchestratorError::UnknownStep { step: "a".into(), dependency: "z".into() });
        let twice = refused(|w| w.steps.push(step("a", "solve"))).await;
        assert_eq!(twice, OrchestratorError::DuplicateStep { step: "a".into() });
        assert!(scene.outside.calls.lock().unwrap().is_empty());
    });
}

#[test]
fn what_is_written_down_comes_back_with_every_field() {
    let workflow = diamond();
    let text = serde_json::to_string(&workflow).unwrap();
    assert_eq!(serde_json::from_str::<DistributedWorkflow>(&text).unwrap(), workflow);
    with_scene(async |scene| {
        let result = scene.orchestrator.execute_distributed_workflow(&diamond()).await.unwrap();
        for executed in &result.steps {
            let assignment = &executed.assignment;
            let back: ServiceAssignment = serde_json::from_str(&serde_json::to_string(assignment).unwrap()).unwrap();
            assert_eq!(&back, assignment);
            let needs = &assignment.execution_requirements;
            assert_eq!(needs.causality_dependencies, diamond().constraints.get_dependencies(&assignment.step_id));
            assert_eq!(needs.temporal_constraints.latency_max, Some(Duration::from_millis(50)));
            assert_eq!(needs.resource_requirements, ResourceRequirements { capacity_min: 2, free_min: 1 });
        }
    });
}

#[test]
fn a_workflow_that_is_killed_at_each_step_is_carried_out_with_each_step_once() {
    let mut kills = 0;
    for kill in 0.. {
        let (disk, done) = (SimDisk::new(), Arc::default());
        let life = |kill: u64| {
            let executor = SimExecutor::new(3);
            let main = async {
                let scene = scene(&executor, &disk, &done).await;
                check(&scene.orchestrator.execute_distributed_workflow(&diamond()).await.unwrap());
            };
            killed_before(&executor, kill, main)
        };
        if !life(kill) {
            break;
        }
        assert!(!life(u64::MAX), "killed at step {kill}");
        assert_eq!(done.lock().unwrap().len(), 4, "killed at step {kill}");
        kills += 1;
    }
    assert!(kills > 50, "{kills} kills");
}
