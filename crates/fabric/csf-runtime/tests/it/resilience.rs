//! Guards in the configuration: what is said about them, and what they do to packets from outside and to outgoing calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use csf_core::port::Timer;
use csf_runtime::config::{Item, Settings, Source};
use csf_runtime::node::{BootOptions, Node, SubmitError, Until, boot};
use csf_runtime::resilience::{AttachedGuard, BreakerState, Call, GuardError};
use csf_runtime::topology::Topology;
use csf_runtime::{
    BoxFuture, Catalogue, Manifest, Options, Pack, Registrar, Service, ServiceContext, ServiceError, World,
};
use csf_sim::{MemoryStore, SeededRng, SimClock, SimExecutor};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use tokio::io::AsyncReadExt;

use crate::world::{SMALL, check, options, options_in};

/// Code, line and column, message, did-you-mean.
fn findings(text: &str) -> Vec<(String, (usize, usize), String, String)> {
    let problems = check(text).err().unwrap_or_default();
    let row = |p: csf_runtime::config::Problem| {
        (p.code.to_owned(), p.location.unwrap().line_column(), p.message, p.label + &p.help)
    };
    problems.into_iter().map(row).collect()
}

#[test]
fn every_problem_of_a_section_is_told_at_once_at_its_place() {
    let text = format!(
        r#"{SMALL}
[topic.n]
resilience = "gate"

[resilience.gate]
timeuot = "1s"
try_timeout = 5

[resilience.gate.circuit_breaker]
failure_threshold = -1
timeout_seconds = 0

[resilience.gate.retry_policy]
jitter = "ful"
budget = {{ shar = 0.1 }}

[resilience.gate.rate_limit]
calls = 0
per = "1 parsec"
"#
    );
    let found = findings(&text);
    let at = |line: usize| found.iter().filter(|f| f.1.0 == line).map(|f| f.0.as_str()).collect::<Vec<_>>();
    let line = |needle: &str| text.lines().position(|l| l.starts_with(needle)).unwrap() + 1;
    for (needle, code) in [
        ("timeuot", "CSF-0103"),
        ("try_timeout", "CSF-0104"),
        ("failure_threshold", "CSF-0104"),
        ("timeout_seconds", "CSF-0104"),
        ("jitter", "CSF-0104"),
        ("budget", "CSF-0103"),
        ("calls", "CSF-0104"),
        ("per ", "CSF-0104"),
    ] {
        assert_eq!(at(line(needle)), [code], "{needle}: {found:#?}");
    }
    assert_eq!(found.len(), 8, "{found:#?}");
    let labels: Vec<&str> = found.iter().map(|f| f.3.as_str()).collect();
    for expected in ["did you mean `timeout`?", "did you mean `full`?", "did you mean `share`?"] {
        assert!(labels.contains(&expected), "{expected} is not in {labels:?}");
    }
}

#[test]
fn a_guard_that_is_not_there_or_guards_nothing_is_a_problem() {
    let found = findings(&format!("{SMALL}\n[topic.n]\nresilience = \"gaet\"\n[resilience.gate]\n"));
    let messages: Vec<(&str, &str, &str)> = found.iter().map(|f| (f.0.as_str(), f.2.as_str(), f.3.as_str())).collect();
    assert_eq!(
        messages,
        [
            ("CSF-0121", "no guard is called `gaet`", "did you mean `gate`?add a section [resilience.gaet]"),
            (
                "CSF-0121",
                "guard `gate` guards nothing",
                "give a topic, source or service `resilience = \"gate\"`, or remove the section"
            ),
        ]
    );
    let found = findings(&SMALL.replace("type = \"test.counter\"", "type = \"test.counter\"\nresilience = \"gate\""));
    assert_eq!(found.iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["CSF-0121", "CSF-0122"]);
    assert_eq!(found[1].2, "`numbers` makes no outgoing calls that `gate` could guard");
    let fallback = "fallback = [{ default = { value = 1 } }]";
    let found = findings(&format!("{SMALL}\n[topic.n]\nresilience = \"gate\"\n[resilience.gate]\n{fallback}\n"));
    assert_eq!((found.len(), found[0].0.as_str()), (1, "CSF-0122"), "{found:?}");
}

/// Calls a port of this machine so many times, and notes how each call ended.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CallerOptions {
    port: u16,
    calls: u32,
}

impl Options for CallerOptions {}

struct Caller(CallerOptions);

/// Reads one byte.
async fn fetch(port: u16) -> std::io::Result<u8> {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    stream.read_u8().await
}

impl Service for Caller {
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let mut ends = Vec::new();
            for _ in 0..self.0.calls {
                let answer = cx.guard("fetch").call(Call::idempotent(), || fetch(self.0.port)).await;
                ends.push(match answer {
                    Ok(answer) => format!("answered {}", answer.value),
                    Err(GuardError::Failed { attempts, .. }) => format!("failed after {attempts}"),
                    Err(error) => format!("refused {}", error.code()),
                });
            }
            Err(ServiceError::Failed { code: "CSF-0401", message: ends.join(", ") })
        })
    }
}

struct Outgoing;

impl Pack for Outgoing {
    fn manifest(&self) -> Manifest {
        Manifest { name: "outgoing", doc: "for tests" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let caller = registrar.service::<CallerOptions, _>("caller", "calls out", |o| Caller(o.clone()));
        caller.calls("fetch", "asks a port").calls("push", "tells a port").done();
    }
}

fn checked(text: &str) -> (Arc<Catalogue>, Result<Topology, Vec<csf_runtime::config::Problem>>) {
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(Outgoing)];
    let catalogue = Arc::new(Catalogue::of(&packs));
    let item = Item::parse(&Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() })).unwrap();
    let (settings, problems) = Settings::read(&item);
    assert_eq!(problems, []);
    (catalogue.clone(), Topology::check(settings, &catalogue))
}

fn calling(text: &str) -> BootOptions {
    let (catalogue, topology) = checked(text);
    BootOptions { catalogue, topology: topology.unwrap(), ..options(SMALL, &MemoryStore::default()) }
}

/// Waits until the service `name` has given up, and returns its last words.
async fn last_words(node: &Arc<Node>, name: &str) -> String {
    loop {
        let stats = node.service(name).unwrap();
        if stats.state() == csf_runtime::exec::RunState::Failed {
            return stats.last_error();
        }
        tokio::task::yield_now().await;
    }
}

fn guard(node: &Node, name: &str) -> AttachedGuard {
    node.resilience().into_iter().find(|guard| guard.report.name == name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_fails_is_left_alone_once_its_breaker_is_open() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::new(AtomicU32::new(0));
    let counted = connections.clone();
    // Accepts, and hangs up without an answer.
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let text = format!(
        r#"
[service.poller]
type = "outgoing.caller"
port = {port}
calls = 5
resilience = {{ fetch = "backend" }}

[resilience.backend.circuit_breaker]
failure_threshold = 4

[resilience.backend.retry_policy]
max_attempts = 2
initial_delay = "1us"
"#
    );
    let node = boot(calling(&text)).await.unwrap();
    let words = last_words(&node, "poller").await;
    let refused = ["refused CSF-0701"; 3].join(", ");
    assert!(words.contains(&format!("failed after 2, failed after 2, {refused}")), "{words}");
    assert_eq!(connections.load(Ordering::SeqCst), 4);
    let seen = guard(&node, "backend");
    assert_eq!(seen.attached.calls, ["poller.fetch"]);
    let breaker = seen.report.breaker.unwrap();
    assert_eq!((breaker.state, breaker.refused_total), (BreakerState::Open, 3));
    assert_eq!((seen.report.calls, seen.report.failed, seen.report.attempts), (5, 5, 4));
    assert_eq!(seen.report.retry.unwrap().spent, 2);
    node.shutdown().await;
}

#[test]
fn a_call_that_the_type_does_not_make_is_a_problem() {
    let text = "[service.poller]\ntype = \"outgoing.caller\"\nport = 1\ncalls = 1\nresilience = { fetsh = \"b\" }\n[resilience.b]\n";
    let problems = checked(text).1.err().unwrap();
    assert_eq!((problems[0].code, problems[0].label.as_str()), ("CSF-0122", "did you mean `fetch`?"));
    assert!(checked(&text.replace("fetsh", "push")).1.is_ok());
    assert!(checked(&text.replace("{ fetsh = \"b\" }", "\"b\"")).1.is_ok(), "one guard for all calls");
}

/// A simulated node of this configuration, and what runs in it.
fn simulated<F: Future<Output = ()>>(text: &str, run: impl FnOnce(Arc<Node>, SimExecutor, MemoryStore) -> F) {
    let sim = SimExecutor::new(7);
    let store = MemoryStore::default();
    let world = World::simulated(sim.clone(), || Box::new(SeededRng::new(7)));
    let mut options = options_in(world, text, &store);
    options.clock = SimClock::new(&sim, 1_700_000_000_000_000_000, 0);
    sim.block_on(async {
        let node = boot(options).await.unwrap();
        run(node.clone(), sim.clone(), store).await;
        node.shutdown().await;
    })
    .unwrap();
}

async fn submit(node: &Node, value: i64, until: Until) -> Result<csf_core::MessageId, SubmitError> {
    node.submit("n", json!({ "value": value }), until).await.map(|(id, _)| id)
}

#[test]
fn a_topic_takes_as_much_from_outside_as_its_guard_lets_through() {
    let text = format!(
        "{SMALL}\n[topic.n]\nresilience = \"gate\"\n[resilience.gate.rate_limit]\ncalls = 2\nper = \"1s\"\nmax_wait = \"400ms\"\n"
    );
    simulated(&text, |node, sim, _| async move {
        for value in 0..2 {
            submit(&node, value, Until::OnTheBus).await.unwrap();
        }
        let refused = submit(&node, 2, Until::OnTheBus).await.unwrap_err();
        let SubmitError::Guarded { code, retry_in, placed, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*code, *retry_in, *placed), ("CSF-0703", Some(Duration::from_millis(500)), None));
        assert!(refused.to_string().starts_with("topic `n`: guard `gate`: `rate_limit.calls` = 2 in 1s"), "{refused}");
        // From inside and past the guard nothing is counted.
        node.publish_json("n", json!({ "value": 3 })).unwrap();
        let asked_at = sim.now();
        sim.sleep(Duration::from_millis(100)).await;
        submit(&node, 4, Until::OnTheBus).await.unwrap();
        assert_eq!(sim.now() - asked_at, Duration::from_millis(500), "it waited for its turn");
        // What does not fit is the sender's mistake, not the topic's.
        let misfit = node.submit("n", json!({ "price": 1 }), Until::OnTheBus);
        sim.sleep(Duration::from_secs(5)).await;
        assert!(matches!(misfit.await, Err(SubmitError::Publish(_))));
        let seen = guard(&node, "gate");
        assert_eq!(seen.attached.topics, ["n"]);
        assert_eq!((seen.report.calls, seen.report.answered, seen.report.rate_limit.unwrap().limited), (5, 3, 1));
    });
}

#[test]
fn a_journal_that_fails_opens_the_breaker_and_nothing_is_published_twice() {
    let text = format!(
        r#"{SMALL}
[topic.n]
resilience = "gate"

[resilience.gate]
try_timeout = "1s"
circuit_breaker = {{ failure_threshold = 3, timeout = "30s", half_open_max_calls = 1 }}
retry_policy = {{ max_attempts = 2 }}
"#
    );
    simulated(&text, |node, sim, store| async move {
        store.set_capacity_bytes(Some(1));
        // A commit that failed says so: the try ends there. Until it is known the try waits, and the next one goes on with its packet.
        let first = submit(&node, 1, Until::Durable).await.unwrap_err();
        let placed = match &first {
            SubmitError::NotDurable { id, .. } => Some(*id),
            SubmitError::Guarded { placed, .. } => *placed,
            other => panic!("{other}"),
        };
        assert!(placed.is_some(), "{first}");
        while submit(&node, 2, Until::Durable).await.is_err_and(|e| !e.to_string().contains("circuit breaker is open"))
        {
        }
        let published = node.topics().iter().find(|t| t.name == "n").unwrap().packets;
        let seen = guard(&node, "gate").report;
        let tried = seen.calls - seen.breaker.as_ref().unwrap().refused_total;
        assert_eq!(published, tried, "one packet for each call that was let through, however often it was tried");
        store.set_capacity_bytes(None);
        let SubmitError::Guarded { code, retry_in: Some(wait), .. } =
            submit(&node, 3, Until::Durable).await.unwrap_err()
        else {
            panic!("an open breaker refuses")
        };
        assert_eq!(code, "CSF-0701");
        sim.sleep(wait).await;
        submit(&node, 4, Until::Durable).await.unwrap();
        assert_eq!(guard(&node, "gate").report.breaker.unwrap().state, BreakerState::Closed);
    });
}

#[test]
fn changed_sections_change_limits_and_keep_what_a_guard_has_seen() {
    let gate = |calls: u32| {
        format!(
            "{SMALL}\n[topic.n]\nresilience = \"gate\"\n[resilience.gate.rate_limit]\ncalls = {calls}\nper = \"10s\"\n"
        )
    };
    simulated(&gate(1), |node, _, _| async move {
        submit(&node, 1, Until::OnTheBus).await.unwrap();
        let settings = |text: &str| check(text).unwrap().settings;
        node.guards().apply(&settings(&gate(1000).replace("n]\nresilience", "s]\nresilience")));
        submit(&node, 2, Until::OnTheBus).await.unwrap();
        let seen = guard(&node, "gate");
        assert_eq!((seen.report.calls, seen.attached.topics), (1, vec!["s".to_owned()]), "attached elsewhere now");
        assert_eq!(seen.report.rate_limit.unwrap().interval_ns, 10_000_000);
        node.guards().apply(&settings(SMALL));
        assert_eq!(node.resilience(), []);
    });
}
