//! Subsystems and their common life.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_runtime::BoxFuture;
use csf_runtime::node::{CoordinationError, CoordinationHub, HealthStatus, Subsystem, SubsystemError};

type Log = Arc<Mutex<Vec<String>>>;

struct Part {
    id: &'static str,
    needs: Vec<&'static str>,
    fails: bool,
    hangs: bool,
    log: Log,
    asked_hub: AtomicBool,
}

fn part(id: &'static str, needs: &[&'static str], log: &Log) -> Part {
    Part { id, needs: needs.to_vec(), fails: false, hangs: false, log: log.clone(), asked_hub: AtomicBool::new(false) }
}

impl Part {
    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.id));
    }
}

impl Subsystem for Part {
    fn id(&self) -> &str {
        self.id
    }

    fn dependencies(&self) -> Vec<String> {
        self.needs.iter().map(|n| (*n).to_owned()).collect()
    }

    fn initialize<'a>(&'a self, hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async move {
            // Would deadlock if the hub held its lock across this call.
            self.asked_hub.store(hub.get(self.id).is_some(), Ordering::SeqCst);
            Ok(())
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            if self.hangs {
                std::future::pending::<()>().await;
            }
            if self.fails {
                return Err(SubsystemError { code: "CSF-0209", message: "no".to_owned() });
            }
            self.say("start");
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            self.say("stop");
            Ok(())
        })
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

fn hub(parts: Vec<Part>) -> CoordinationHub {
    let hub = CoordinationHub::default();
    for part in parts {
        hub.register(Arc::new(part)).unwrap();
    }
    hub
}

#[tokio::test]
async fn things_start_after_what_they_need_and_stop_in_reverse() {
    let log = Log::default();
    let hub =
        hub(vec![part("d", &["b", "c"], &log), part("b", &["a"], &log), part("c", &["a"], &log), part("a", &[], &log)]);
    hub.start_all(Duration::from_secs(1), |_| ()).await.unwrap();
    hub.stop_all(Duration::from_secs(1)).await;
    let said = log.lock().unwrap().clone();
    assert_eq!(said, ["start a", "start b", "start c", "start d", "stop d", "stop c", "stop b", "stop a"]);
}

#[tokio::test]
async fn a_failing_subsystem_leaves_none_running() {
    let log = Log::default();
    let hub = hub(vec![part("a", &[], &log), part("b", &["a"], &log), Part { fails: true, ..part("c", &["b"], &log) }]);
    let error = hub.start_all(Duration::from_secs(1), |_| ()).await.unwrap_err();
    assert!(matches!(&error, CoordinationError::InitializationFailed { component, .. } if component == "c"), "{error}");
    let said = log.lock().unwrap().clone();
    assert_eq!(said, ["start a", "start b", "stop c", "stop b", "stop a"]);
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_costs_its_limit() {
    let log = Log::default();
    let hub = hub(vec![Part { hangs: true, ..part("a", &[], &log) }]);
    let error = hub.start_all(Duration::from_secs(5), |_| ()).await.unwrap_err();
    assert_eq!(error.to_string(), "subsystem `a` did not start within 5000 ms");
}

#[test]
fn a_cycle_is_refused_and_leaves_no_trace() {
    let log = Log::default();
    let hub = hub(vec![part("a", &["b"], &log)]);
    let error = hub.register(Arc::new(part("b", &["a"], &log))).unwrap_err();
    assert!(error.to_string().contains("a → b → a"), "{error}");
    assert!(hub.get("b").is_none());
    assert!(matches!(hub.levels(), Err(CoordinationError::UnknownDependency { .. })));
    assert!(matches!(hub.register(Arc::new(part("a", &[], &log))), Err(CoordinationError::Duplicate { .. })));
}
