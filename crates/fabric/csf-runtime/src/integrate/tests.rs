//! The acceptance lines of the patterns, in virtual time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus, Policy, TopicSpec};
use csf_core::port::{LaneKind, Timer};
use csf_core::{Attributes, Fault, Message, NanoTime};
use csf_sim::{SeededRng, SimExecutor};
use csf_time::SimulatedClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::*;
use crate::BoxFuture;
use crate::supervise::{Backoff, Env, ExitReason, Flags, Restart, Supervisor};

const SECOND: Duration = Duration::from_secs(1);

fn env(sim: &SimExecutor) -> Env {
    Env::new(Arc::new(sim.clone()), Arc::new(sim.clone()), SeededRng::new(1))
}

fn bus() -> PhaseCoherenceBus {
    PhaseCoherenceBus::new(BusConfig::new(SimulatedClock::starting_at(NanoTime::from_nanos(1))))
}

struct Ping(u32);

impl Routed for Ping {
    type Answer = u32;
}

struct Adds(&'static str, u32, Arc<AtomicU32>);

impl MessageHandler<Ping> for Adds {
    fn name(&self) -> &str {
        self.0
    }

    fn handle<'a>(&'a self, message: &'a Ping) -> BoxFuture<'a, Result<u32, Fault>> {
        self.2.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            match self.1 {
                u32::MAX => panic!("on purpose"),
                0 => Err(Fault::Failed("has nothing to add".to_owned())),
                by => Ok(message.0 + by),
            }
        })
    }
}

/// FRM-017.
#[test]
fn every_handler_gets_the_message_and_a_failing_one_is_visible() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let calls = Arc::<AtomicU32>::default();
        let mut router = MessageRouter::new();
        let Err(RoutingError::NoHandlerRegistered { message }) = router.route(&Ping(1), &Strategy::All).await else {
            panic!("nobody is there")
        };
        assert!(message.ends_with("Ping"));
        for (name, by) in [("one", 1), ("ten", 10), ("none", 0), ("panics", u32::MAX)] {
            router.register::<Ping>(Arc::new(Adds(name, by, calls.clone())));
        }
        let aggregate = router.route(&Ping(1), &Strategy::Quorum(2)).await.unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        let mut answers: Vec<u32> = aggregate.answers().copied().collect();
        answers.sort_unstable();
        assert_eq!(answers, [2, 11]);
        let mut failed: Vec<String> = aggregate.failures().map(|(who, why)| format!("{who}: {why}")).collect();
        failed.sort_unstable();
        assert_eq!(failed, ["none: has nothing to add", "panics: panicked: on purpose"]);
        assert_eq!(router.route(&Ping(1), &Strategy::First).await.unwrap().outcomes.len(), 4);
        for (strategy, says) in [
            (Strategy::All, "2 of 4 handlers answered, 4 were needed"),
            (Strategy::Quorum(3), "2 of 4 handlers answered, 3 were needed"),
            (Strategy::Custom(Arc::new(|_: &[Outcome<u32>]| Err("no".to_owned()))), "no"),
        ] {
            let error = router.route(&Ping(1), &strategy).await.unwrap_err();
            assert!(error.to_string().starts_with(says), "{error}");
            let RoutingError::Unsatisfied { aggregate, .. } = error else { panic!("somebody is there") };
            assert_eq!(aggregate.outcomes.len(), 4, "what came is not lost");
        }
    })
    .unwrap();
}

struct Root;

impl IntegrationContract for AtomicU32 {
    type Input = i32;
    type Output = i32;
    type Error = String;

    fn validate_input(&self, input: &i32) -> Result<(), String> {
        if *input < 0 { Err(format!("{input} is negative")) } else { Ok(()) }
    }

    async fn execute(&self, input: Valid<i32>) -> Result<i32, String> {
        self.fetch_add(1, Ordering::Relaxed);
        Ok(input.isqrt())
    }
}

/// FRM-015.
#[test]
fn an_invalid_input_never_reaches_execute() {
    let (sim, executed) = (SimExecutor::new(1), AtomicU32::new(0));
    assert_eq!(sim.block_on(executed.call(9)).unwrap(), Ok(3));
    assert_eq!(sim.block_on(executed.call(-9)).unwrap(), Err("-9 is negative".to_owned()));
    assert_eq!(executed.load(Ordering::Relaxed), 1);
}

impl Module<u32> for Root {
    type Config = u32;
    type State = u32;
    type Message = u32;
    type Response = u32;
    type Error = std::num::TryFromIntError;

    fn initialize(config: u32, system: &u32) -> Result<u32, Self::Error> {
        Ok(config + system)
    }

    fn handle_message(by: u32, state: &mut u32) -> Result<u32, Self::Error> {
        u8::try_from(by)?;
        *state += by;
        Ok(*state)
    }
}

/// FRM-014: the state is what the handled messages made of it, no more and no less.
#[test]
fn the_state_of_a_module_changes_through_handle_message_only() {
    let mut modules = ModuleRegistry::new(100u32);
    assert!(matches!(modules.handle::<Root>(1), Err(ModuleError::Unknown { .. })));
    modules.register::<Root>(5).unwrap();
    assert!(matches!(modules.register::<Root>(6), Err(ModuleError::Registered { .. })));
    assert_eq!(modules.state::<Root>(), Some(&105));
    assert_eq!(modules.handle::<Root>(1).unwrap(), 106);
    assert!(matches!(modules.handle::<Root>(256), Err(ModuleError::Failed { .. })));
    assert_eq!(modules.state::<Root>(), Some(&106));
}

/// FRM-012.
#[test]
fn a_task_that_fails_three_times_then_succeeds_shows_it_and_its_growing_pauses() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let executor = SupervisedExecutor::new(env(&sim));
        let flags = Flags { intensity: 5, period_s: 60, backoff: Some(Backoff::default()), ..Flags::default() };
        executor.add_supervisor("io", flags).await.unwrap();
        assert!(matches!(executor.add_supervisor("io", flags).await, Err(ExecutorError::SupervisorExists(_))));
        let runs = Arc::<AtomicU32>::default();
        let counted = runs.clone();
        let work = move || {
            let run = counted.fetch_add(1, Ordering::Relaxed);
            async move {
                match run {
                    0 | 2 => Err(Fault::Failed("not yet".to_owned())),
                    1 => panic!("a panic is a failure"),
                    _ => Ok(()),
                }
            }
        };
        let id = executor.spawn_supervised("load", "io", Restart::Transient, work.clone()).await.unwrap();
        sim.sleep(60 * SECOND).await;
        let task = executor.task(&id).unwrap();
        assert_eq!((task.failure_count, runs.load(Ordering::Relaxed)), (3, 4));
        assert_eq!(task.last_failure, Some(ExitReason::failed("not yet")));
        assert_eq!(task.pauses.len(), 3);
        assert!(task.pauses.windows(2).all(|pair| pair[1] > pair[0]), "{:?}", task.pauses);
        let metrics = executor.metrics();
        assert_eq!((metrics.spawned, metrics.starts, metrics.failures, metrics.budgets_spent), (1, 4, 3, 0));
        let unknown = executor.spawn_supervised("x", "nobody", Restart::Transient, work.clone()).await;
        assert!(matches!(unknown, Err(ExecutorError::UnknownSupervisor(_))));
        let twice = executor.spawn_supervised("load", "io", Restart::Transient, work).await;
        assert!(matches!(twice, Err(ExecutorError::Supervisor(_))));
        assert_eq!(executor.task(&id), Some(task), "a refused spawn changes nothing");
    })
    .unwrap();
}

/// FRM-013: with 5 restarts in 60 s, the sixth does not happen, and the parent hears.
#[test]
fn the_restart_beyond_the_budget_does_not_happen() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let executor = SupervisedExecutor::new(env(&sim));
        executor.add_supervisor("io", Flags { intensity: 5, period_s: 60, ..Flags::default() }).await.unwrap();
        let failing = || async { Err(Fault::Failed("always".to_owned())) };
        let id = executor.spawn_supervised("load", "io", Restart::Permanent, failing).await.unwrap();
        sim.sleep(SECOND).await;
        assert_eq!(executor.metrics().starts, 6, "the first start and five restarts");
        assert_eq!((executor.metrics().budgets_spent, executor.task(&id).unwrap().failure_count), (1, 6));
    })
    .unwrap();
}

fn service(name: &str, asked: &Arc<Mutex<Vec<String>>>) -> ServiceInfo {
    let (name, asked) = (name.to_owned(), asked.clone());
    ServiceInfo::new(name.clone(), move |request| {
        asked.lock().unwrap().push(format!("{name} {}", request.operation));
        let outcome = match &*request.operation {
            "echo" => Some(Ok(request.payload.clone())),
            "hang" => None,
            other => Some(Err(format!("no operation `{other}`"))),
        };
        Box::pin(async move {
            match outcome {
                Some(outcome) => outcome,
                None => std::future::pending().await,
            }
        })
    })
}

/// FAB-110.
#[test]
fn services_answer_only_their_own_requests_and_a_time_out_is_an_error_response() {
    let sim = SimExecutor::new(1);
    sim.block_on(async {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let registry = ServiceRegistry::new(bus(), Arc::new(sim.clone()));
        let specs = ["a", "b"].map(|name| registry.register_service(service(name, &asked)).unwrap());
        assert!(registry.register_service(service("a", &asked)).is_err());
        let _root = Supervisor::start("root", Flags::default(), specs.into(), env(&sim)).await.unwrap();
        sim.sleep(SECOND).await;
        let ask = |service: &str, operation: &str| {
            let (service_id, operation) = (service.to_owned(), operation.to_owned());
            registry.request(ServiceRequest { service_id, operation, payload: vec![7], timeout_ms: 500 })
        };
        let (one, two) = futures_util::future::join(ask("a", "echo"), ask("b", "no")).await;
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((one.status, one.result), (ServiceStatus::Success, Some(vec![7])));
        assert_eq!((two.status, two.error.as_deref()), (ServiceStatus::Failed, Some("no operation `no`")));
        assert_ne!(one.request_id, two.request_id);
        let (before, late) = (sim.now(), ask("b", "hang").await.unwrap());
        assert_eq!((late.status, late.error.as_deref()), (ServiceStatus::TimedOut, Some("no response within 500 ms")));
        assert_eq!(sim.now() - before, SECOND / 2);
        assert_eq!(ask("nobody", "echo").await.unwrap().status, ServiceStatus::TimedOut);
        let mut asked = asked.lock().unwrap().clone();
        asked.sort_unstable();
        assert_eq!(asked, ["a echo", "b hang", "b no"]);
    })
    .unwrap();
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Level(u32);

impl Message for Level {
    const NAME: &'static str = "test.level";
    const VERSION: u16 = 1;
}

/// Watch semantics come from the bus: history of one, `Conflate`.
#[test]
fn a_conflating_subscriber_of_a_topic_with_history_sees_the_last_value() {
    let bus = bus();
    bus.declare(TopicSpec::new::<Level>("level").history(1)).unwrap();
    let mut publisher = bus.publisher::<Level>("level", "a", LaneKind::Source).unwrap();
    for level in 0..5 {
        publisher.try_publish(Level(level), Attributes::default()).unwrap();
    }
    let interest = Interest::new().policy(Policy::Conflate).start(csf_bus::Start::Last(1));
    let mut late = bus.subscriber::<Level>("level", interest).unwrap();
    assert_eq!(late.poll(|_, level| level.0), Some(4), "who comes late sees the last value at once");
    for level in 5..9 {
        publisher.try_publish(Level(level), Attributes::default()).unwrap();
    }
    assert_eq!((late.poll(|_, level| level.0), late.poll(|_, level| level.0)), (Some(8), None));
}
