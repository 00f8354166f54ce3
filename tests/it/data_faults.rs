//! FRM-020, FRM-021, FRM-082: servers of the data layer that are cut off, killed, or shared with strangers.

use std::sync::Arc;
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{EventLog, Filter, NewEvent, Read, Timer};
use csf_data::cache::{QueryCache, RedisCache, RedisOptions};
use csf_data::integration::{DataConfig, DataError, DataIntegrationLayer, Database, PostgresDatabase, SqliteDatabase};
use csf_data::{PostgresOptions, SharedLog};
use csf_runtime::TokioWorld;
use csf_sim::MemoryJournal;
use csf_tests::{Answers, Backing, PostgresServer, Proxy, RedisServer, TestCache};
use serde_json::json;

use crate::backings;

/// A Redis where it can be had.
fn redis(save: &str) -> Option<RedisServer> {
    backings().contains(&Backing::Servers).then(|| RedisServer::start(save).unwrap())
}

fn cache(address: impl std::fmt::Display, timer: &Arc<TokioWorld>, ttl: Duration) -> QueryCache {
    let options = RedisOptions::new(format!("redis://{address}"), "shop");
    QueryCache::new(Arc::new(RedisCache::new(options, timer.clone()).unwrap()), timer.clone(), ttl)
}

async fn get(cache: &QueryCache, truth: i64) -> i64 {
    cache.get_or_load("k", &["w"], async { Ok::<_, ()>(truth) }).await.unwrap()
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clearing_leaves_strangers_alone() {
    let Some(server) = redis("") else { return };
    let timer = Arc::new(TokioWorld::current());
    let stranger = TestCache::redis(server.address()).await.unwrap();
    for key in ["foreign", "shop", "shop:kept", "shopping:volatile:1:entry:k", "x:shop:volatile:y"] {
        stranger.set(key, "stays").await.unwrap();
    }
    let own = cache(server.address(), &timer, LONG);
    assert_eq!(get(&own, 1).await, 1);
    assert_eq!(get(&own, 2).await, 1, "it is kept");
    assert_eq!(own.clear().await.unwrap(), 2, "an entry and a word");
    assert_eq!(get(&own, 3).await, 3, "and gone");
    own.clear().await.unwrap();
    for key in ["foreign", "shop", "shop:kept", "shopping:volatile:1:entry:k", "x:shop:volatile:y"] {
        assert_eq!(stranger.get(key).await.unwrap().as_deref(), Some("stays"), "{key}");
    }
    let bad = RedisOptions::new("redis://127.0.0.1", "sh*p");
    assert!(RedisCache::new(bad, timer).unwrap_err().to_string().contains("`sh*p` is no name"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_is_killed_costs_misses_and_comes_back() {
    let Some(mut server) = redis("") else { return };
    let timer = Arc::new(TokioWorld::current());
    let own = cache(server.address(), &timer, Duration::from_secs(1));
    assert_eq!((get(&own, 1).await, get(&own, 2).await), (1, 1));
    server.kill().unwrap();
    assert_eq!((get(&own, 2).await, get(&own, 3).await), (2, 3), "every answer is loaded");
    own.invalidate(["w"]).await;
    server.start_again().unwrap();
    // It is asked again after a pause.
    let mut truth = 10;
    while get(&own, truth).await == truth {
        truth += 1;
        timer.sleep(Duration::from_millis(20)).await;
    }
    assert!(own.counts().unanswered > 0);
}

/// The invalidation does not reach the server, and another process goes on asking it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_that_cannot_be_delivered_returns_when_what_it_was_about_has_expired() {
    let Some(server) = redis("") else { return };
    let timer = Arc::new(TokioWorld::current());
    let ttl = Duration::from_secs(1);
    let (writer, reader) = (cache("127.0.0.1:1", &timer, ttl), cache(server.address(), &timer, ttl));
    for round in 0..3 {
        assert_eq!(get(&reader, round).await, round);
        assert_eq!(get(&reader, -1).await, round, "the old answer is kept");
        let began = timer.now();
        writer.invalidate(["w"]).await;
        assert!(timer.now() - began >= ttl);
        assert_eq!(get(&reader, round + 1).await, round + 1, "it is not taken after the call");
        reader.invalidate(["w"]).await;
    }
}

/// A server that starts again from its file has forgotten which words were touched since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_back_to_its_file_brings_no_old_answer_back() {
    let Some(mut server) = redis("3600 1000000") else { return };
    let timer = Arc::new(TokioWorld::current());
    let own = cache(server.address(), &timer, LONG);
    assert_eq!((get(&own, 1).await, get(&own, 2).await), (1, 1));
    let client = redis_words(&server, &["SAVE"]).await;
    assert_eq!(client, "OK");
    own.invalidate(["w"]).await;
    server.kill().unwrap();
    server.start_again().unwrap();
    let words = redis_words(&server, &["DBSIZE"]).await;
    assert_eq!(words, "2", "the entry and the word are back as they were");
    timer.sleep(Duration::from_millis(300)).await;
    assert_eq!(get(&own, 3).await, 3);
}

/// What `redis-cli` says.
async fn redis_words(server: &RedisServer, words: &[&str]) -> String {
    let port = server.address().port().to_string();
    let output = std::process::Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loader_that_was_overtaken_keeps_nothing() {
    let Some(server) = redis("") else { return };
    let timer = Arc::new(TokioWorld::current());
    let own = cache(server.address(), &timer, LONG);
    let other = own.clone();
    let overtaken = own.get_or_load("k", &["w"], async {
        // What is loaded here is old before it can be kept.
        other.invalidate(["w"]).await;
        Ok::<_, ()>(1)
    });
    assert_eq!(overtaken.await, Ok(1));
    assert_eq!(get(&own, 2).await, 2);
    redis_words(&server, &["FLUSHALL"]).await;
    assert_eq!(get(&own, 3).await, 3, "what others have removed is loaded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_whose_answer_is_lost_is_known_and_its_events_are_there_once() {
    if !backings().contains(&Backing::Servers) {
        return;
    }
    let server = PostgresServer::start("-c fsync=off").unwrap();
    let proxy = Proxy::start(server.address()).unwrap();
    let options = PostgresOptions::new(&format!("postgresql://csf@{}/postgres", proxy.address())).unwrap();
    let timer = Arc::new(TokioWorld::current());
    let mut database = PostgresDatabase::open(&options).unwrap();
    let table = "CREATE TABLE tally (n bigint PRIMARY KEY)";
    database.transact(&mut |sql| sql.execute(table, &[]).map(drop)).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(MemoryJournal::new())).unwrap());
    let memory = Arc::new(csf_data::cache::MemoryCache::new(timer.clone()));
    let cache = QueryCache::new(memory, timer.clone(), LONG);
    let config = DataConfig { connections: 1, ..DataConfig::default() };
    let spawn = timer.clone();
    let layer =
        DataIntegrationLayer::initialize(Box::new(database), log.clone(), cache, timer, spawn, &config).unwrap();
    let proxy = Arc::new(proxy);
    let (mut done, mut undone) = (Vec::new(), 0);
    for n in 0..60i64 {
        let at_work = proxy.clone();
        let outcome: Result<(), DataError> = layer
            .execute_transaction(move |sql| {
                // The answer to the last statement, to the outbox or to the commit; the relay may draw it too.
                if n % 3 == 1 {
                    at_work.answers(Answers::CutAtNext);
                }
                sql.execute("INSERT INTO tally VALUES ($1)", &[n.into()])?;
                if n % 3 == 2 {
                    at_work.answers(Answers::CutAtNext);
                }
                let event = NewEvent::new("tally", "counted", Stamp(1), json!({ "n": n }));
                Ok(((), if n % 2 == 0 { vec![event] } else { Vec::new() }))
            })
            .await;
        proxy.answers(Answers::Pass);
        match outcome {
            Ok(()) => done.push(n),
            Err(DataError::Store { .. }) => undone += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(undone > 3 && done.len() > 20, "{undone} undone, {} done", done.len());
    let mut rows = Vec::new();
    let direct = PostgresOptions::new(&format!("postgresql://csf@{}/postgres", server.address())).unwrap();
    let mut database = PostgresDatabase::open(&direct).unwrap();
    let read = "SELECT n FROM tally ORDER BY n";
    database
        .transact(&mut |sql| {
            rows = sql.query(read, &[])?.iter().map(|row| row[0].as_integer().unwrap()).collect();
            Ok(())
        })
        .unwrap();
    assert_eq!(rows, done, "what was answered is there, and nothing else");
    let wanted: Vec<i64> = done.into_iter().filter(|n| n % 2 == 0).collect();
    loop {
        let position = log.position();
        let events = log.read(Read::log(Filter::all())).await.unwrap().events;
        if events.len() >= wanted.len() {
            let found: Vec<i64> = events.iter().map(|event| event.data.to_value()["n"].as_i64().unwrap()).collect();
            assert_eq!(found, wanted);
            break;
        }
        log.beyond(position).await.unwrap();
    }
}

#[test]
fn two_processes_may_open_one_database_at_once() {
    let folder = std::env::temp_dir().join(format!("csf-data-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let open: Vec<_> = (0..8)
        .map(|_| {
            let path = folder.join("users.db");
            std::thread::spawn(move || SqliteDatabase::open(&path).map(drop))
        })
        .collect();
    for thread in open {
        thread.join().unwrap().unwrap();
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
