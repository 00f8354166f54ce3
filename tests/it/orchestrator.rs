//! FRM-002: a start whose phase fails goes no further and undoes what it did.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use csf_core::port::JournalError;
use csf_runtime::BoxFuture;
use csf_runtime::node::{BootError, CoordinationHub, HealthStatus, Subsystem, SubsystemError, boot};
use csf_tests::{Backing, IntegrationTestHarness};

use crate::node::{Running, options};

/// Where the planted part fails.
#[derive(Clone, Copy, PartialEq)]
enum Fails {
    Initialize,
    Start,
}

struct Planted {
    id: &'static str,
    fails: Option<Fails>,
    needs: Vec<String>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Planted {
    fn step(&self, step: &str, at: Option<Fails>) -> BoxFuture<'_, Result<(), SubsystemError>> {
        self.log.lock().unwrap().push(format!("{step} {}", self.id));
        let outcome = if at.is_some() && self.fails == at {
            Err(SubsystemError { code: "CSF-0209", message: "planted".to_owned() })
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(outcome))
    }
}

impl Subsystem for Planted {
    fn id(&self) -> &str {
        self.id
    }

    fn dependencies(&self) -> Vec<String> {
        self.needs.clone()
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        self.step("initialize", Some(Fails::Initialize))
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        self.step("start", Some(Fails::Start))
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        self.step("stop", None)
    }

    fn health_check(&self) -> HealthStatus {
        HealthStatus::Healthy
    }
}

async fn harness() -> IntegrationTestHarness {
    IntegrationTestHarness::start(Backing::Embedded).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn core_infrastructure_that_fails_is_followed_by_nothing() {
    let harness = harness().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let journal = harness.folder().join("journal");
    std::fs::create_dir(&journal).unwrap();
    let (mut start, told) = options(&journal);
    start.listen = Some(taken.local_addr().unwrap());
    let error = boot(start).await.err().unwrap();
    assert!(matches!(error, BootError::PreFlightCheckFailed { .. }), "{error}");
    assert_eq!(told.lock().unwrap().len(), 0);
    assert_eq!(std::fs::read_dir(&journal).unwrap().count(), 0, "no data layer was begun");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_layer_that_fails_is_followed_by_nothing() {
    let harness = harness().await;
    let (mut start, told) = options(harness.folder());
    start.open_journal = Box::new(|| Err(JournalError::InUse { directory: "planted".into() }));
    let error = boot(start).await.err().unwrap();
    assert_eq!(error.code(), "CSF-0203", "{error}");
    assert_eq!(told.lock().unwrap().last().unwrap().0, 3, "the phase before it");
}

/// A part of the transport, which begins after the core and data layers and before the application.
#[tokio::test(flavor = "multi_thread")]
async fn a_transport_that_fails_stops_what_was_begun_in_reverse_and_the_journal_can_be_used_again() {
    for fails in [Fails::Initialize, Fails::Start] {
        let harness = harness().await;
        let log = Arc::<Mutex<Vec<String>>>::default();
        let (mut start, told) = options(harness.folder());
        for (id, fails, needs) in [("first", None, vec![]), ("second", Some(fails), vec!["first".to_owned()])] {
            let part = Planted { id, fails, needs, log: log.clone() };
            start.attachments.push(Box::new(move |_| Arc::new(part)));
        }
        let error = boot(start).await.err().unwrap();
        assert!(error.to_string().contains("`second`") && error.to_string().contains("planted"), "{error}");
        assert!(told.lock().unwrap().iter().all(|(number, _)| *number < 8), "no later phase was told");
        let log = log.lock().unwrap().clone();
        let place = |line: &str| log.iter().position(|l| l == line);
        assert!(place("start first") < place("stop first") && place("stop first").is_some(), "{log:?}");
        assert!(place("stop second") < place("stop first"), "the later one first: {log:?}");
        // Everything is free again: the same directory starts.
        let again = Running::start(harness.folder()).await.unwrap();
        again.node.shutdown().await;
    }
}
