//! A NATS of a test's own that can be killed and started again where it was.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::TestError;
use crate::restartable::Restartable;
use crate::servers::{on_path, start_nats_at};

/// A NATS with JetStream, below a folder. Dropping it kills it.
pub struct NatsServer {
    server: Restartable,
}

impl NatsServer {
    /// Whether it can be had here; that it cannot is told to `tell`.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`] when the variable `CSF_TEST_SERVERS` says `required`.
    pub fn is_available(tell: impl FnOnce(&str)) -> Result<bool, TestError> {
        match program() {
            Ok(_) => Ok(true),
            Err(missing) if std::env::var("CSF_TEST_SERVERS").is_ok_and(|v| v == "required") => Err(missing),
            Err(missing) => {
                tell(&format!("skipped: {missing}"));
                Ok(false)
            }
        }
    }

    /// Starts one below `folder` with this configuration beside its own address and folder.
    ///
    /// # Errors
    /// [`TestError::NotInstalled`], [`TestError::Server`], [`TestError::Io`].
    pub fn start(folder: &Path, configuration: &str) -> Result<Self, TestError> {
        Self::start_program(program()?, folder, configuration)
    }

    /// Starts this program instead of the one that is installed.
    ///
    /// # Errors
    /// As [`NatsServer::start`].
    pub fn start_program(program: PathBuf, folder: &Path, configuration: &str) -> Result<Self, TestError> {
        fs::create_dir_all(folder).map_err(TestError::io(folder.display().to_string()))?;
        let file = folder.join("nats.conf");
        fs::write(&file, configuration).map_err(TestError::io(file.display().to_string()))?;
        let (folder, arguments): (_, [OsString; 2]) = (folder.to_owned(), ["--config".into(), file.into()]);
        let start = move |at, watchdog: &mut _| start_nats_at(at, &program, &folder, &arguments, watchdog);
        Ok(Self { server: Restartable::start(start)? })
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

    /// Starts it again at its old address, on what it has stored.
    ///
    /// # Errors
    /// [`TestError::Server`], [`TestError::Io`].
    pub fn start_again(&mut self) -> Result<(), TestError> {
        self.server.start_again()
    }
}

fn program() -> Result<PathBuf, TestError> {
    on_path("nats-server").ok_or(TestError::NotInstalled { program: "nats-server", package: "nats-server" })
}
