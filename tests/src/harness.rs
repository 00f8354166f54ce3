//! Everything an integration test stands on, made for it and gone with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_runtime::supervise::Env;
use csf_runtime::{OsRng, TokioWorld};

use crate::{
    MockServer, Servers, TestCache, TestDatabase, TestError, TestEventBus, TestSupervisionTree, TestSupervisor,
};

/// What a harness stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// SQLite, a map and the bus, in the process.
    Embedded,
    /// PostgreSQL, Redis and NATS, as processes.
    Servers,
}

impl Backing {
    /// What can be had here: always the embedded one, the servers where they are installed. What is left out is told to `tell`.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`] when the variable `CSF_TEST_SERVERS` says `required`.
    pub fn available(tell: impl FnOnce(&str)) -> Result<Vec<Self>, TestError> {
        match Servers::installed() {
            Ok(()) => Ok(vec![Self::Embedded, Self::Servers]),
            Err(missing) if std::env::var("CSF_TEST_SERVERS").is_ok_and(|v| v == "required") => Err(missing),
            Err(missing) => {
                tell(&format!("skipped on servers: {missing}"));
                Ok(vec![Self::Embedded])
            }
        }
    }
}

/// A folder that goes with its owner.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self, TestError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("csf-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).map_err(TestError::io(folder.display().to_string()))?;
        Ok(Self(folder))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is found by the test that looks for what is left behind.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a test stands on. Dropping it ends the servers, then removes the folder; [`IntegrationTestHarness::close`] also waits for tasks.
pub struct IntegrationTestHarness {
    /// A database of the test's own.
    pub test_db: TestDatabase,
    /// A cache of the test's own.
    pub test_cache: TestCache,
    /// The outside service `external_service`.
    pub external_service: MockServer,
    /// Where events go.
    pub test_event_bus: TestEventBus,
    // The order of the fields is the order of their ends: connections, servers, folder.
    servers: Option<Servers>,
    folder: Folder,
}

impl IntegrationTestHarness {
    /// Makes everything anew. Called in a tokio runtime.
    ///
    /// # Errors
    /// [`TestError`].
    pub async fn start(backing: Backing) -> Result<Self, TestError> {
        let folder = Folder::new()?;
        let external_service = MockServer::start().await?;
        if backing == Backing::Embedded {
            return Ok(Self {
                test_db: TestDatabase::embedded()?,
                test_cache: TestCache::embedded(),
                external_service,
                test_event_bus: TestEventBus::embedded(),
                servers: None,
                folder,
            });
        }
        let servers = Servers::start(&folder.0)?;
        Ok(Self {
            test_db: TestDatabase::postgresql(servers.postgresql(), "csf_test")?,
            test_cache: TestCache::redis(servers.redis()).await?,
            external_service,
            test_event_bus: TestEventBus::Nats(servers.nats()),
            servers: Some(servers),
            folder,
        })
    }

    /// Starts a tree of agents on this machine's runtime.
    ///
    /// # Errors
    /// [`TestError::Supervisor`].
    pub async fn test_supervision(&self, supervisor: TestSupervisor) -> Result<TestSupervisionTree, TestError> {
        let world = Arc::new(TokioWorld::current());
        let env = Env::new(world.clone(), world, OsRng);
        let started = TestSupervisionTree::start(env, supervisor).await;
        started.map_err(|error| TestError::Supervisor(error.into()))
    }

    /// Ends everything; once this returns, nothing is left.
    pub async fn close(self) {
        let Self { external_service, test_db, test_cache, test_event_bus, servers, folder } = self;
        external_service.stop().await;
        drop((test_db, test_cache, test_event_bus, servers, folder));
    }

    /// The servers, where it stands on them.
    #[must_use]
    pub const fn servers(&self) -> Option<&Servers> {
        self.servers.as_ref()
    }

    /// The folder that goes with it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// What it stands on, for people.
    #[must_use]
    pub fn describe(&self) -> String {
        let embedded = || "embedded: SQLite, a map, the bus".to_owned();
        self.servers.as_ref().map_or_else(embedded, |s| format!("servers: {}", s.describe()))
    }
}
