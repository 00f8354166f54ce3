//! The seven phases of a stop and its clean-up, on virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_core::port::{Spawn, Timer};
use csf_runtime::BoxFuture;
use csf_runtime::node::{
    CleanupError, CleanupHandler, CleanupReport, CleanupResult, CoordinationHub, HealthStatus, Interrupt, PathCleanup,
    ResourceCleanup, ShutdownCoordinator, ShutdownReason, ShutdownReport, ShutdownSignal, Subsystem, SubsystemError,
    Urgency, Winddown, WorkGate,
};
use csf_sim::SimExecutor;

const SECOND: Duration = Duration::from_secs(1);

type Log = Arc<Mutex<Vec<String>>>;

/// What is brought down; everything it does goes to its log.
struct Target {
    world: SimExecutor,
    log: Log,
    gate: WorkGate,
    hub: CoordinationHub,
    cleanup: ResourceCleanup,
    persist: Result<String, String>,
}

impl Target {
    fn new() -> Self {
        let gate = WorkGate::default();
        gate.open();
        Self {
            world: SimExecutor::new(1),
            log: Log::default(),
            gate,
            hub: CoordinationHub::default(),
            cleanup: ResourceCleanup::default(),
            persist: Ok("all of it".to_owned()),
        }
    }

    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(what.to_owned());
    }

    /// A request that takes this long.
    fn request(&self, span: Duration) {
        let (work, timer, log) = (self.gate.enter().unwrap(), self.world.clone(), self.log.clone());
        self.world.spawn(Box::pin(async move {
            timer.sleep(span).await;
            log.lock().unwrap().push("answered".to_owned());
            drop(work);
        }));
    }

    fn part(&self, id: &'static str, needs: &[&'static str], hangs: bool) {
        let part = Part { id, needs: needs.to_vec(), hangs, log: self.log.clone() };
        self.hub.register(Arc::new(part)).unwrap();
    }

    fn shutdown(&self, interrupt: &Interrupt) -> ShutdownReport {
        let tell = |phase: &csf_runtime::node::Phase| self.say(&format!("{} {}", phase.number, phase.name));
        let coordinator = ShutdownCoordinator::new(&self.world, interrupt, tell);
        self.world.block_on(coordinator.shutdown(self, ShutdownReason::Requested)).unwrap()
    }
}

impl Winddown for Target {
    fn broadcast_shutdown_signal(&self, signal: ShutdownSignal) {
        assert_eq!(signal.reason, ShutdownReason::Requested);
        self.say("signalled");
    }

    fn stop_accepting_work(&self) {
        self.gate.close();
        self.say("closed");
    }

    fn drain_in_flight_operations(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.gate.idle())
    }

    fn in_flight(&self) -> u64 {
        self.gate.in_flight()
    }

    fn hub(&self) -> &CoordinationHub {
        &self.hub
    }

    fn persist_final_state(&self) -> BoxFuture<'_, Result<String, String>> {
        self.say("persisted");
        Box::pin(async { self.persist.clone() })
    }

    fn release_resources(&self) -> String {
        self.say("released");
        "a thing".to_owned()
    }

    fn cleanup(&self) -> &ResourceCleanup {
        &self.cleanup
    }
}

struct Part {
    id: &'static str,
    needs: Vec<&'static str>,
    hangs: bool,
    log: Log,
}

impl Subsystem for Part {
    fn id(&self) -> &str {
        self.id
    }

    fn dependencies(&self) -> Vec<String> {
        self.needs.iter().map(|n| (*n).to_owned()).collect()
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            self.log.lock().unwrap().push(format!("stop {}", self.id));
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

#[test]
fn a_stop_goes_through_seven_phases_in_order() {
    let target = Target::new();
    target.part("recorder", &[], false);
    target.part("components", &["recorder"], false);
    target.request(3 * SECOND);
    let report = target.shutdown(&Interrupt::default());
    let expected = [
        "signalled",
        "1 broadcast",
        "closed",
        "2 stop accepting work",
        "answered",
        "3 drain in flight",
        "stop components",
        "stop recorder",
        "4 stop subsystems",
        "persisted",
        "5 persist final state",
        "released",
        "6 release resources",
        "7 clean up",
    ];
    assert_eq!(*target.log.lock().unwrap(), expected);
    assert!(report.is_clean(), "{report:?}");
    let spans: Vec<u64> = report.phases.iter().map(|p| p.ms as u64).collect();
    assert_eq!(spans, [0, 0, 3_000, 0, 0, 0, 0]);
}

#[test]
fn one_that_hangs_delays_the_stop_by_its_limit_and_is_named() {
    let target = Target::new();
    target.part("recorder", &[], false);
    target.part("components", &["recorder"], true);
    target.part("api", &["recorder"], true);
    let report = target.shutdown(&Interrupt::default());
    assert_eq!(target.world.now(), 10 * SECOND, "both at once");
    assert_eq!(report.left_behind, ["components", "api"]);
    assert_eq!(report.phases[3].detail, "1 in reverse start order; left behind: components, api");
    assert!(!report.is_clean() && report.phases.len() == 7);
}

#[test]
fn a_request_that_never_ends_costs_its_limit_and_haste_costs_nothing() {
    let target = Target::new();
    target.request(3_600 * SECOND);
    let report = target.shutdown(&Interrupt::default());
    assert_eq!((target.world.now(), report.undrained), (10 * SECOND, 1));
    assert_eq!(report.phases[2].detail, "0 finished, 1 not waited for");

    let target = Target::new();
    target.request(3_600 * SECOND);
    let interrupt = Interrupt::default();
    let (asks, timer) = (interrupt.clone(), target.world.clone());
    target.world.spawn(Box::pin(async move {
        timer.sleep(2 * SECOND).await;
        asks.raise(Urgency::Hasty);
    }));
    let report = target.shutdown(&interrupt);
    assert_eq!((target.world.now(), report.undrained), (2 * SECOND, 1));
}

#[test]
fn a_state_that_cannot_be_written_is_said_and_the_rest_goes_on() {
    let target = Target { persist: Err("no space".to_owned()), ..Target::new() };
    let report = target.shutdown(&Interrupt::default());
    assert_eq!(report.persist_failure.as_deref(), Some("no space"));
    assert_eq!(report.phases.last().unwrap().name, "clean up");
    assert!(!report.is_clean());
}

/// A handler that does what its name says.
struct Handler {
    name: &'static str,
    priority: u32,
    log: Log,
}

impl CleanupHandler for Handler {
    fn name(&self) -> &str {
        self.name
    }

    fn priority(&self) -> u32 {
        self.priority
    }

    fn cleanup(&self) -> BoxFuture<'_, Result<(), CleanupError>> {
        self.log.lock().unwrap().push(self.name.to_owned());
        match self.name {
            "fails" => Box::pin(async { Err(CleanupError::Failed("no".to_owned())) }),
            "hangs" => Box::pin(std::future::pending()),
            "panics" => Box::pin(async { panic!("oh") }),
            _ => Box::pin(async { Ok(()) }),
        }
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), String>> {
        let stays = self.name == "stays";
        Box::pin(async move { if stays { Err("still there".to_owned()) } else { Ok(()) } })
    }
}

fn clean(handlers: &[(&'static str, u32)]) -> (SimExecutor, Vec<String>, CleanupReport) {
    let (world, cleanup, log) = (SimExecutor::new(1), ResourceCleanup::default(), Log::default());
    for &(name, priority) in handlers {
        cleanup.register(Arc::new(Handler { name, priority, log: log.clone() }));
    }
    let report = world.block_on(cleanup.cleanup_all(&world)).unwrap();
    let again = world.block_on(cleanup.cleanup_all(&world)).unwrap();
    assert!(again.handlers.is_empty(), "a second call finds nothing to do");
    let log = log.lock().unwrap().clone();
    (world, log, report)
}

#[test]
fn handlers_run_by_priority_and_none_stops_the_others() {
    let (world, ran, report) =
        clean(&[("last", 900), ("fails", 10), ("panics", 20), ("hangs", 30), ("stays", 40), ("first", 1)]);
    assert_eq!(ran, ["first", "fails", "panics", "hangs", "stays", "last"]);
    let failed = |reason: &str| CleanupResult::Failed(reason.to_owned());
    let expected = [
        CleanupResult::Success,
        failed("no"),
        failed("it panicked: oh"),
        failed("it took longer than 5 s"),
        CleanupResult::VerificationFailed("still there".to_owned()),
        CleanupResult::Success,
    ];
    assert_eq!(report.handlers.iter().map(|h| h.result.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(report.handlers[3].ms, 5_000.0);
    assert_eq!((report.failures().count(), world.now()), (4, 5 * SECOND));
}

#[test]
fn files_and_directories_of_the_node_are_removed_and_what_is_gone_is_no_failure() {
    let folder = std::env::temp_dir().join(format!("csf-cleanup-{}", std::process::id()));
    std::fs::create_dir_all(folder.join("scratch/deep")).unwrap();
    std::fs::write(folder.join("token"), "secret").unwrap();
    let world = SimExecutor::new(1);
    let cleanup = ResourceCleanup::default();
    let paths = ["token", "scratch", "never-was"].map(|name| folder.join(name)).to_vec();
    cleanup.register(Arc::new(PathCleanup::new("files", 1, paths)));
    let report = world.block_on(cleanup.cleanup_all(&world)).unwrap();
    assert_eq!(report.failures().count(), 0, "{report:?}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir_all(&folder).unwrap();
}
