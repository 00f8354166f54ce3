//! A Redis of a test's own that can be killed and started again where it was.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::TestError;
use crate::harness::Folder;
use crate::servers::{Listening, free_address, on_path, start_redis_at};
use crate::watchdog::Watchdog;

/// A Redis in a folder that goes with it. Dropping it kills it.
pub struct RedisServer {
    program: PathBuf,
    save: String,
    address: SocketAddr,
    // The order of the fields is the order of their ends.
    process: Option<Listening>,
    watchdog: Watchdog,
    folder: Folder,
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
        let mut watchdog = Watchdog::start()?;
        let process = start_redis_at(free_address, &program, folder.path(), save, &mut watchdog)?;
        let address = process.address;
        Ok(Self { program, save: save.to_owned(), address, process: Some(process), watchdog, folder })
    }

    /// Where it listens, before and after it was killed.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, at once.
    ///
    /// # Errors
    /// [`TestError::Io`].
    pub fn kill(&mut self) -> Result<(), TestError> {
        let Some(process) = self.process.take() else { return Ok(()) };
        self.watchdog.spares(process.child.id())
    }

    /// Starts it again at its old address, on what it has saved.
    ///
    /// # Errors
    /// [`TestError::Server`], [`TestError::Io`].
    pub fn start_again(&mut self) -> Result<(), TestError> {
        let address = self.address;
        let folder = self.folder.path();
        let again = start_redis_at(|| Ok(address), &self.program, folder, &self.save, &mut self.watchdog)?;
        self.process = Some(again);
        Ok(())
    }
}
