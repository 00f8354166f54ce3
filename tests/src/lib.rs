//! The harness of the integration tests: servers as private processes, or what is embedded in their place.
//!
//! A test asks for a [`Backing`]. With [`Backing::Servers`] it gets a PostgreSQL, a Redis and a NATS of its own, started from the installed
//! programs in a temporary folder on free ports; with [`Backing::Embedded`] SQLite, a map and the bus. Tests run with both and say which.
//! Invariant: when a harness is dropped, however the test ended, its processes have ended and its folder is gone; when the test's process
//! is killed, its servers end too.
//! Reference: FRM-090, FRM-091.

mod builder;
mod cache;
mod database;
mod error;
mod event_bus;
mod harness;
pub mod load;
mod mock_server;
mod nats;
mod nats_server;
mod postgresql;
mod proxy;
mod redis_server;
mod restartable;
mod servers;
mod supervision;
mod watchdog;

pub use builder::{IntegrationTestBuilder, IntegrationTestContext, TestBody, TestDataBuilder};
pub use cache::TestCache;
pub use database::{Migration, TestDatabase};
pub use error::TestError;
pub use event_bus::{TestEvent, TestEventBus, TestEventConsumer, TestEventProducer};
pub use harness::{Backing, IntegrationTestHarness};
pub use mock_server::{MockRequest, MockServer};
pub use nats_server::NatsServer;
pub use postgresql::PostgresServer;
pub use proxy::{Answers, Proxy};
pub use redis_server::RedisServer;
pub use servers::Servers;
pub use supervision::{AgentConfig, AgentHealth, FailureType, TestSupervisionTree, TestSupervisor, TestWorkerAgent};
