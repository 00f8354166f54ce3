//! FRM-090 and FRM-091: the harness itself, on everything it can stand on.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use csf_tests::{Backing, IntegrationTestBuilder, IntegrationTestContext, TestDataBuilder, TestError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{backings, say};

fn data() -> TestDataBuilder {
    TestDataBuilder::default()
        .migration("1 vehicles", "CREATE TABLE vehicle (id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        .migration("2 height", "ALTER TABLE vehicle ADD COLUMN height_m INTEGER NOT NULL DEFAULT 0")
        .rows("INSERT INTO vehicle (id, name, height_m) VALUES (1, 'Kite', 120), (2, 'Gull', 80)")
        .cached("vehicle/1", "Kite")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_runs_on_every_backing_and_says_on_which() {
    let mut said = Vec::new();
    for backing in backings() {
        let context = IntegrationTestBuilder::new(backing).build_context().await.unwrap();
        let describe = context.harness.describe();
        say(&format!("the harness stands on {describe}"));
        assert_eq!(context.harness.servers().is_some(), backing == Backing::Servers);
        if let Some(servers) = context.harness.servers() {
            let addresses = [servers.postgresql(), servers.redis(), servers.nats()];
            assert!(addresses.iter().all(|a| describe.contains(&a.to_string())), "{describe}");
        }
        said.push(describe);
    }
    said.dedup();
    assert_eq!(said.len(), backings().len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_is_laid_out_and_migrations_are_applied_once_on_every_backing() {
    for backing in backings() {
        let test = IntegrationTestBuilder::new(backing).with_test_data(data());
        let outcome = test.test(|cx| {
            Box::pin(async move {
                let rows = cx.harness.test_db.query("SELECT name, height_m FROM vehicle ORDER BY id")?;
                assert_eq!(rows, [["Kite", "120"], ["Gull", "80"]]);
                assert_eq!(cx.harness.test_cache.get("vehicle/1").await?.as_deref(), Some("Kite"));
                assert_eq!(cx.harness.test_cache.get("vehicle/9").await?, None);
                let again = csf_tests::Migration { name: "1 vehicles", sql: "this is not applied again" };
                assert_eq!(cx.harness.test_db.run_migrations(&[again])?, 0);
                half_a_migration_leaves_nothing(cx)
            })
        });
        outcome.await.unwrap();
    }
}

fn half_a_migration_leaves_nothing(cx: &IntegrationTestContext) -> Result<(), TestError> {
    let broken = csf_tests::Migration { name: "3", sql: "CREATE TABLE half (id INTEGER); SELECT * FROM nowhere" };
    assert!(matches!(cx.harness.test_db.run_migrations(&[broken]), Err(TestError::Statement { .. })));
    assert!(cx.harness.test_db.query("SELECT * FROM half").is_err());
    assert_eq!(cx.harness.test_db.query("SELECT count(*) FROM schema_migrations")?, [["2"]]);
    Ok(())
}

/// A process of its own for the test below: starts the servers, says their process ids, and waits to be killed.
#[test]
#[ignore = "run by `servers_end_with_a_test_process_that_is_killed`"]
fn starts_servers_and_waits() {
    let folder = std::env::var_os("CSF_KILLED_FOLDER").map(PathBuf::from).unwrap();
    let servers = csf_tests::Servers::start(&folder).unwrap();
    writeln!(std::io::stdout(), "servers {:?}", servers.process_ids()).unwrap();
    // The pipe ends when the other process has failed.
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn servers_end_with_a_test_process_that_is_killed() {
    if !backings().contains(&Backing::Servers) {
        return;
    }
    let folder = std::env::temp_dir().join(format!("csf-killed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    // PostgreSQL runs as a user of its own, who has to come to its folder.
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut killed = Command::new(std::env::current_exe().unwrap());
    killed.args(["--exact", "harness::starts_servers_and_waits", "--ignored", "--nocapture"]);
    killed.env("CSF_KILLED_FOLDER", &folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut killed = killed.spawn().unwrap();
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines().map(Result::unwrap);
    let said = lines.find_map(|line| Some(line.split_once("servers [")?.1.trim_end_matches(']').to_owned())).unwrap();
    let servers: Vec<u32> = said.split(", ").map(|id| id.parse().unwrap()).collect();
    let is_there =
        |id: &u32| std::fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| !stat.contains(") Z"));
    assert!(servers.iter().all(is_there), "{servers:?}");
    killed.kill().unwrap();
    killed.wait().unwrap();
    while servers.iter().any(is_there) {
        std::thread::yield_now();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_are_found_by_name_and_type() {
    let test = IntegrationTestBuilder::new(Backing::Embedded).with_component("limit", 7_u32);
    let outcome = test.test(|cx| {
        Box::pin(async move {
            assert_eq!(*cx.get_component::<u32>("limit")?, 7);
            assert!(cx.get_component::<u64>("limit").is_err(), "of another type");
            cx.get_component::<u32>("speed").map(drop)
        })
    });
    assert!(matches!(outcome.await, Err(TestError::NoComponent { name }) if name == "speed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outside_service_answers_as_told_and_remembers() {
    let test = IntegrationTestBuilder::new(Backing::Embedded);
    let outcome = test.test(|cx| {
        Box::pin(async move {
            let service = &cx.harness.external_service;
            service.answers("POST", "/orders", 201, "{\"id\":7}");
            let answer = ask(service.address(), "POST /orders HTTP/1.1\r\ncontent-length: 4\r\n\r\nKite").await;
            assert!(answer.starts_with("HTTP/1.1 201 ") && answer.ends_with("{\"id\":7}"), "{answer}");
            assert!(ask(service.address(), "GET /nothing HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
            let asked: Vec<_> = service.requests().into_iter().map(|r| (r.method, r.path, r.body)).collect();
            let expected = [("POST", "/orders", "Kite"), ("GET", "/nothing", "")];
            assert_eq!(asked, expected.map(|(m, p, b)| (m.to_owned(), p.to_owned(), b.to_owned())));
            Ok(())
        })
    });
    outcome.await.unwrap();
}

async fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// What a harness had, noted while it stood.
#[derive(Default)]
struct Left {
    folder: PathBuf,
    addresses: Vec<SocketAddr>,
    processes: Vec<u32>,
}

fn note(cx: &IntegrationTestContext) -> Left {
    let harness = &cx.harness;
    let mut left = Left {
        folder: harness.folder().to_path_buf(),
        addresses: vec![harness.external_service.address()],
        processes: Vec::new(),
    };
    if let Some(servers) = harness.servers() {
        left.addresses.extend([servers.postgresql(), servers.redis(), servers.nats()]);
        left.processes.extend(servers.process_ids());
    }
    assert!(left.folder.is_dir() && left.processes.iter().all(|&pid| lives(pid)));
    assert!(left.addresses.iter().all(|&address| TcpStream::connect(address).is_ok()), "everybody listens");
    left
}

/// Whether a process is there and has not ended; one that has stays a zombie where nobody asks how it ended.
fn lives(process_id: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains("zombie"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_test_leaves_no_process_no_port_and_no_file_behind() {
    for backing in backings() {
        for panics in [false, true] {
            let left = Arc::<Mutex<Left>>::default();
            let noted = left.clone();
            let test = IntegrationTestBuilder::new(backing).with_test_data(data());
            let outcome = test.test(|cx| {
                Box::pin(async move {
                    *noted.lock().unwrap() = note(cx);
                    assert!(!panics, "on purpose");
                    Err(TestError::Failed("on purpose".to_owned()))
                })
            });
            let error = outcome.await.unwrap_err();
            assert_eq!(error.to_string(), "on purpose");
            let left = std::mem::take(&mut *left.lock().unwrap());
            assert!(!left.folder.exists(), "{}", left.folder.display());
            assert_eq!(left.processes.iter().filter(|&&pid| lives(pid)).count(), 0);
            for address in left.addresses {
                assert!(TcpListener::bind(address).is_ok(), "{address} is still taken");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_cannot_be_built_leaves_nothing_behind_either() {
    let broken = TestDataBuilder::default().rows("INSERT INTO nowhere VALUES (1)");
    for backing in backings() {
        let test = IntegrationTestBuilder::new(backing).with_test_data(broken.clone());
        assert!(matches!(test.build_context().await, Err(TestError::Statement { .. })));
    }
}
