//! A Redis of a test's own that can be killed and started again where it was.

use std::net::SocketAddr;

use crate::TestError;
use crate::harness::Folder;
use crate::restartable::Restartable;
use crate::servers::{on_path, start_redis_at};

/// A Redis in a folder that goes with it. Dropping it kills it.
pub struct RedisServer {
    // The order of the fields is the order of their ends.
    server: Restartable,
    _folder: Folder,
}

impl RedisServer {
    /// Starts one. `save` says when it saves its keys, such as `3600 1`; nothing means never.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`], [`TestError::Server`], [`TestError::Io`].
    pub fn start(save: &str) -> Result<Self, TestError> {
        let missing = TestError::NotInstalled { program: "redis-server", package: "redis-server" };
        let program = on_path("redis-server").ok_or(missing)?;
        let folder = Folder::new()?;
        let (place, save) = (folder.path().to_owned(), save.to_owned());
        let server = Restartable::start(move |at, watchdog| start_redis_at(at, &program, &place, &save, watchdog))?;
        Ok(Self { server, _folder: folder })
    }

    /// Where it listens, before and after it was killed.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Kills it, at once.
    ///
    /// # Errors
    /// [`TestError::Io`].
    pub fn kill(&mut self) -> Result<(), TestError> {
        self.server.kill()
    }

    /// Starts it again at its old address, on what it has saved.
    ///
    /// # Errors
    /// [`TestError::Server`], [`TestError::Io`].
    pub fn start_again(&mut self) -> Result<(), TestError> {
        self.server.start_again()
    }
}
