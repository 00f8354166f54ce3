//! A server of a test's own that is killed and started again where it was.

use std::net::SocketAddr;

use crate::TestError;
use crate::servers::Listening;
use crate::watchdog::Watchdog;

/// Starts the server at the address that it is given, or at a free one.
type Start = dyn Fn(Option<SocketAddr>, &mut Watchdog) -> Result<Listening, TestError> + Send + Sync;

/// The server and how it is started. Dropping it kills it.
pub(crate) struct Restartable {
    start: Box<Start>,
    address: SocketAddr,
    process: Option<Listening>,
    /// Dropped last: the server has ended by then.
    watchdog: Watchdog,
}

impl Restartable {
    /// Starts it at a free address.
    pub(crate) fn start(
        start: impl Fn(Option<SocketAddr>, &mut Watchdog) -> Result<Listening, TestError> + Send + Sync + 'static,
    ) -> Result<Self, TestError> {
        let mut watchdog = Watchdog::start()?;
        let process = start(None, &mut watchdog)?;
        Ok(Self { start: Box::new(start), address: process.address, process: Some(process), watchdog })
    }

    /// Where it listens, before and after it was killed.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Kills it, at once.
    pub(crate) fn kill(&mut self) -> Result<(), TestError> {
        let Some(process) = self.process.take() else { return Ok(()) };
        self.watchdog.spares(process.child.id())
    }

    /// Starts it again at its old address.
    pub(crate) fn start_again(&mut self) -> Result<(), TestError> {
        self.process = Some((self.start)(Some(self.address), &mut self.watchdog)?);
        Ok(())
    }
}
