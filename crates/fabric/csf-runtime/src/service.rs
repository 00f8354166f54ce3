//! The async I/O shell around the outside world: a socket, a device, a file.
//!
//! A service is supervised like a component but not replayed: what it brought in was recorded.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use csf_bus::{PhaseCoherenceBus, Publisher, TopicError};
use csf_core::port::{LaneKind, ServiceRegistry, TimeSource, within};
use csf_core::{Message, Stamp};
use futures_util::future::{Either, select};

use crate::integrate::ServiceInfo;
use crate::supervise::ChildContext;

/// A boxed future, so that the trait stays object-safe without a macro.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a service ended before its work was done.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// The outside world refused; a restart may help.
    #[error("[{code}] {message}")]
    Failed {
        /// `CSF-nnnn`.
        code: &'static str,
        /// What happened, where, and what to do.
        message: String,
    },
    /// An output that the type does not declare, or of another type.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// The bus refused a packet.
    #[error(transparent)]
    Bus(#[from] csf_core::BusError),
}

/// The async shell.
pub trait Service: Send {
    /// Runs until the work is done, the node stops, or something fails. `Ok` means finished for good.
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>>;
}

/// What a service gets from its node.
pub struct ServiceContext {
    pub(crate) name: String,
    pub(crate) bus: PhaseCoherenceBus,
    pub(crate) writes: BTreeMap<String, String>,
    pub(crate) recorded: Arc<BTreeMap<String, u64>>,
    pub(crate) progress: Arc<crate::exec::ServiceStats>,
    pub(crate) child: Arc<ChildContext>,
    pub(crate) guards: Arc<crate::resilience::NodeGuards>,
    pub(crate) registry: Arc<dyn ServiceRegistry>,
}

impl ServiceContext {
    /// The service's name in the node.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens the output `port` as configured in `writes`; `None` when the configuration leaves it out.
    ///
    /// # Errors
    /// [`TopicError`] when the topic carries another type.
    pub fn publisher<T: Message>(&self, port: &str) -> Result<Option<Publisher<T>>, TopicError> {
        let Some(topic) = self.writes.get(port) else {
            return Ok(None);
        };
        self.bus.publisher::<T>(topic, &self.name, LaneKind::Source).map(Some)
    }

    /// Answers the requests on topic `requests` that name `service` ([`crate::integrate::ServiceRequest`]), each on the output `port`, until the
    /// service is asked to stop.
    ///
    /// # Errors
    /// [`ServiceError::Topic`] when there is no such topic, when it carries something else, or when `port` is connected to nothing;
    /// [`ServiceError::Bus`].
    pub async fn answer(&mut self, requests: &str, port: &str, service: ServiceInfo) -> Result<(), ServiceError> {
        let unconnected = || TopicError::Unknown { name: format!("writes.{port}") };
        let responses = self.publisher(port)?.ok_or_else(unconnected)?;
        let bus = self.bus.clone();
        let answering = pin!(crate::integrate::answer(&bus, requests, responses, &service));
        let stopping = pin!(self.stopping());
        match select(stopping, answering).await {
            Either::Left(_) => Ok(()),
            Either::Right((ended, _)) => ended.map_err(ServiceError::Bus),
        }
    }

    /// Packets this service published on `port` before this instance, in earlier starts on the same journal too: where to go on.
    #[must_use]
    pub fn recorded(&self, port: &str) -> u64 {
        self.writes.get(port).and_then(|topic| self.recorded.get(topic)).copied().unwrap_or(0)
    }

    /// The guard around the outgoing call `call`, as `resilience` of this service names it; one that does nothing where none is named.
    /// Ask for it at every call: a changed configuration may name another one. The type declares its calls with
    /// [`crate::ServiceBuilder::calls`].
    #[must_use]
    pub fn guard(&self, call: &str) -> crate::resilience::Guard {
        self.guards.of_call(&self.name, call)
    }

    /// Who can do what on this node: where to find a service for a step, by operation, timing, health and load.
    #[must_use]
    pub fn registry(&self) -> Arc<dyn ServiceRegistry> {
        self.registry.clone()
    }

    /// Tells the registry how many requests this service works on or has queued, for what it offers; at the next renewal.
    pub fn in_flight(&self, requests: u32) {
        self.progress.in_flight.store(requests, std::sync::atomic::Ordering::Relaxed);
    }

    /// Physical time, for pacing and for naming measured times.
    #[must_use]
    pub fn clock(&self) -> Arc<dyn TimeSource> {
        self.bus.config().time_source.clone()
    }

    /// Physical nanoseconds now.
    #[must_use]
    pub fn now(&self) -> Stamp {
        Stamp(self.bus.config().time_source.now_ns().map_or(0, |t| t.as_nanos()))
    }

    /// Runs work that blocks, such as reading a file: beside the async threads on a machine, at once in a simulated world. `None` when it
    /// panicked.
    pub async fn blocking<R: Send + 'static>(&self, work: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        match tokio::runtime::Handle::try_current() {
            Ok(tokio) => tokio.spawn_blocking(work).await.ok(),
            Err(_) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok(),
        }
    }

    /// Tells people how far the work is, 0..1.
    pub fn progress(&self, share: f64) {
        self.progress.set_progress(share);
    }

    /// Whether the service is asked to stop. Who asks is given the time of its `stop_within`; a service that never looks, by this, by
    /// [`ServiceContext::stopping`] or by [`ServiceContext::pause`], is ended at its next await.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.child.trap_shutdown();
        self.child.is_stopping()
    }

    /// Waits until the service is asked to stop. Cancel safe.
    pub async fn stopping(&mut self) {
        self.child.stopping().await;
    }

    /// Waits `nanos` of real time, or less when the service is asked to stop. Returns false when it is.
    pub async fn pause(&mut self, nanos: u64) -> bool {
        let span = std::time::Duration::from_nanos(nanos);
        within(&*self.child.env().timer, span, self.child.stopping()).await.is_none()
    }
}
