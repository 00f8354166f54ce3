//! FRM-082: a node that goes closes its databases, and leaves alone what others have in the same Redis.

use std::sync::Arc;
use std::time::Duration;

use csf::DatabaseCleanupHandler;
use csf_data::cache::{QueryCache, RedisCache, RedisOptions};
use csf_data::integration::{DataConfig, DataError, DataIntegrationLayer, PostgresDatabase};
use csf_data::{PostgresOptions, SharedLog};
use csf_runtime::TokioWorld;
use csf_runtime::node::{CleanupHandler, ResourceCleanup};
use csf_sim::MemoryJournal;
use csf_tests::{PostgresServer, RedisServer, TestCache, TestDatabase};

use crate::stores::available;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_keys_in_the_same_redis_survive_a_shutdown() {
    let (Some(redis), Some(postgres)) = (available(RedisServer::start("")), available(PostgresServer::start("")))
    else {
        return;
    };
    let stranger = TestCache::redis(redis.address()).await.unwrap();
    for key in ["foreign", "shop:kept", "shopping:volatile:1:entry:k"] {
        stranger.set(key, "stays").await.unwrap();
    }
    let timer = Arc::new(TokioWorld::current());
    let options = RedisOptions::new(format!("redis://{}", redis.address()), "shop");
    let cache = QueryCache::new(
        Arc::new(RedisCache::new(options, timer.clone()).unwrap()),
        timer.clone(),
        Duration::from_secs(60),
    );
    let url = format!("postgresql://csf@{}/postgres?application_name=shop", postgres.address());
    let database = PostgresDatabase::open(&PostgresOptions::new(&url).unwrap()).unwrap();
    let log = Arc::new(SharedLog::start(Box::new(MemoryJournal::new())).unwrap());
    let config = DataConfig::default();
    let layer = DataIntegrationLayer::initialize(Box::new(database), log, cache, timer.clone(), timer.clone(), &config)
        .unwrap();
    let layer = Arc::new(layer);
    let kept = layer.query_cache().get_or_load("k", &["w"], async { Ok::<_, ()>(1) }).await.unwrap();
    assert_eq!(kept, 1);
    let witness = TestDatabase::postgresql(postgres.address(), "witness").unwrap();
    let connections = || {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'shop'";
        witness.query(sql).unwrap().len()
    };
    assert_eq!(connections(), 5, "four, and the relay's");

    let handler = Arc::new(DatabaseCleanupHandler::new(layer.clone()));
    assert_eq!((handler.name(), handler.priority()), ("database_connections", 100));
    assert!(handler.verify().await.is_err(), "nothing is closed yet");
    let cleanup = ResourceCleanup::default();
    cleanup.register(handler);
    let report = cleanup.cleanup_all(&*timer).await;
    assert_eq!(report.failures().count(), 0, "{report:?}");
    // A server's process ends a moment after its connection.
    while connections() > 0 {}
    for key in ["foreign", "shop:kept", "shopping:volatile:1:entry:k"] {
        assert_eq!(stranger.get(key).await.unwrap().as_deref(), Some("stays"), "{key}");
    }
    let closed: Result<(), DataError> = layer.execute_transaction(|_| Ok(((), Vec::new()))).await;
    assert!(matches!(closed, Err(DataError::Closed)));
}
