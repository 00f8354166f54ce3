//! The server as a subsystem of the node.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use csf_runtime::BoxFuture;
use csf_runtime::node::{CoordinationHub, HealthStatus, Node, Subsystem, SubsystemError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::Access;
use crate::front::Front;
use crate::routes::{Api, router};
use crate::workflows::Workflows;

/// How long answers on their way may take once the API stops. New work is refused long before, and what was under way is answered.
const LINGER: Duration = Duration::from_secs(2);

/// An API that cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The address is taken or not allowed.
    #[error("the API cannot listen on {address}: {reason}; choose another with --listen 127.0.0.1:0")]
    Address {
        /// The address asked for.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
}

/// The HTTP API and the console of one node.
pub struct Gateway {
    node: Weak<Node>,
    bound: BoundGateway,
}

impl Gateway {
    /// Takes the address and answers there at once: until the node is up, that it starts. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`GatewayError::Address`].
    pub fn bind(address: SocketAddr, access: Access) -> Result<BoundGateway, GatewayError> {
        let refused = |e: std::io::Error| GatewayError::Address { address, reason: e.to_string() };
        let listener = std::net::TcpListener::bind(address).map_err(refused)?;
        listener.set_nonblocking(true).map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        access.set_port(address.port());
        let listener = TcpListener::from_std(listener).map_err(refused)?;
        let (front, stop) = (Front::default(), watch::Sender::new(false));
        let mut stopped = stop.subscribe();
        let told = async move {
            // An error means that nobody is left to ask for the stop.
            let _ = stopped.wait_for(|s| *s).await;
        };
        let server = axum::serve(listener, front.router(access.clone())).with_graceful_shutdown(told);
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the API ended");
            }
        });
        Ok(BoundGateway { address, access, front, workflows: None, stop, task: Mutex::new(Some(task)) })
    }
}

/// An address taken for a node that is about to start. Dropped, it gives the address back.
pub struct BoundGateway {
    address: SocketAddr,
    access: Access,
    front: Front,
    workflows: Option<Workflows>,
    stop: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl BoundGateway {
    /// The address with its real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tell it the phases of the start.
    #[must_use]
    pub fn front(&self) -> Front {
        self.front.clone()
    }

    /// With the workflows of a node that has the subsystem [`Workflows::SUBSYSTEM`].
    #[must_use]
    pub fn with_workflows(mut self, workflows: Workflows) -> Self {
        self.workflows = Some(workflows);
        self
    }

    /// The subsystem that serves `node`.
    #[must_use]
    pub fn attach(self, node: &Arc<Node>) -> Arc<dyn Subsystem> {
        Arc::new(Gateway { node: Arc::downgrade(node), bound: self })
    }

    fn task(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for BoundGateway {
    fn drop(&mut self) {
        if let Some(task) = self.task().take() {
            task.abort();
        }
    }
}

fn failed(error: &dyn std::fmt::Display) -> SubsystemError {
    SubsystemError { code: "CSF-0201", message: error.to_string() }
}

impl Subsystem for Gateway {
    fn id(&self) -> &str {
        "api"
    }

    fn dependencies(&self) -> Vec<String> {
        let workflows = self.bound.workflows.as_ref().map(|_| Workflows::SUBSYSTEM.to_owned());
        ["recorder".to_owned()].into_iter().chain(workflows).collect()
    }

    fn initialize<'a>(&'a self, _hub: &'a CoordinationHub) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(async { Ok(()) })
    }

    fn start(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            let node = self.node.upgrade().ok_or_else(|| failed(&"the node is gone"))?;
            let BoundGateway { access, front, workflows, stop, .. } = &self.bound;
            let (access, workflows, stop) = (access.clone(), workflows.clone(), stop.subscribe());
            front.open(router(Api { node, access, workflows, stop }));
            tracing::info!(address = %self.bound.address, "API");
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, Result<(), SubsystemError>> {
        Box::pin(async {
            self.bound.stop.send_replace(true);
            let task = self.bound.task().take();
            let Some(mut task) = task else { return Ok(()) };
            let ended = match tokio::time::timeout(LINGER, &mut task).await {
                Ok(ended) => ended.map_err(|e| failed(&e)),
                Err(_) => {
                    tracing::warn!(
                        after_ms = LINGER.as_millis(),
                        "a client does not read its answer; its connection is dropped"
                    );
                    task.abort();
                    Ok(())
                }
            };
            self.bound.front.close();
            ended
        })
    }

    fn health_check(&self) -> HealthStatus {
        let task = self.bound.task();
        match task.as_ref() {
            Some(task) if task.is_finished() => HealthStatus::Unhealthy("the API server ended".to_owned()),
            _ => HealthStatus::Healthy,
        }
    }
}
