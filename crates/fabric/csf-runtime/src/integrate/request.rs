//! Services that answer requests on the bus (FAB-110). A request's id is its packet's.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_bus::PhaseCoherenceBus;
use csf_core::port::{EventBusRx, EventBusTx, Timer, within};
use csf_core::{BusError, ComponentId, MessageId, PhasePacket};

use crate::BoxFuture;
use crate::supervise::{ChildSpec, ExitReason};

/// What a service is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRequest {
    /// Who is to answer.
    pub service_id: String,
    /// What is to be done.
    pub operation: String,
    /// With what.
    pub payload: Vec<u8>,
    /// How long the requester waits, ms.
    pub timeout_ms: u32,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceStatus {
    /// Done.
    Success,
    /// The service failed.
    Failed,
    /// No answer came in time.
    TimedOut,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceResponse {
    /// The request's packet.
    pub request_id: MessageId,
    /// How it ended.
    pub status: ServiceStatus,
    /// What it gave.
    pub result: Option<Vec<u8>>,
    /// Why it gave nothing.
    pub error: Option<String>,
}

type Operation = dyn Fn(&ServiceRequest) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync;

/// A service to register.
#[derive(Clone)]
pub struct ServiceInfo {
    /// Its name.
    pub service_id: String,
    operation: Arc<Operation>,
}

impl ServiceInfo {
    /// A service that answers with `operation`.
    pub fn new(
        service_id: impl Into<String>,
        operation: impl Fn(&ServiceRequest) -> BoxFuture<'static, Result<Vec<u8>, String>> + Send + Sync + 'static,
    ) -> Self {
        Self { service_id: service_id.into(), operation: Arc::new(operation) }
    }
}

/// Lets a service answer one request.
pub async fn process_service_request(
    service: &ServiceInfo,
    request_id: MessageId,
    request: &ServiceRequest,
) -> ServiceResponse {
    match (service.operation)(request).await {
        Ok(result) => ServiceResponse { request_id, status: ServiceStatus::Success, result: Some(result), error: None },
        Err(error) => ServiceResponse { request_id, status: ServiceStatus::Failed, result: None, error: Some(error) },
    }
}

/// The services on one bus.
pub struct ServiceRegistry {
    bus: PhaseCoherenceBus,
    timer: Arc<dyn Timer>,
    services: Mutex<Vec<String>>,
}

impl ServiceRegistry {
    /// Without services.
    #[must_use]
    pub fn new(bus: PhaseCoherenceBus, timer: Arc<dyn Timer>) -> Self {
        Self { bus, timer, services: Mutex::default() }
    }

    fn names(&self) -> MutexGuard<'_, Vec<String>> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the services.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.names().clone()
    }

    /// Adds a service: what a supervisor runs. It answers the requests that name it, one after the other, and sees no others.
    ///
    /// # Errors
    /// [`BusError::Internal`] when the name is taken.
    pub fn register_service(&self, service: ServiceInfo) -> Result<ChildSpec, BusError> {
        let mut names = self.names();
        if names.contains(&service.service_id) {
            return Err(BusError::Internal {
                details: format!("service `{}` is registered already", service.service_id),
            });
        }
        names.push(service.service_id.clone());
        let bus = self.bus.clone();
        let id = service.service_id.clone();
        Ok(ChildSpec::task(id, move |_| serve(bus.clone(), service.clone())))
    }

    /// Asks a service and waits for its response; a time-out is a response too.
    ///
    /// # Errors
    /// [`BusError`]: the request could not be published.
    pub async fn request(&self, request: ServiceRequest) -> Result<ServiceResponse, BusError> {
        let timeout_ms = request.timeout_ms;
        let mut responses = self.bus.subscribe::<ServiceResponse>().await?;
        let request_id = self.bus.publish(PhasePacket::new(request, ComponentId::custom(0))).await?;
        let answer = async {
            loop {
                match responses.recv().await {
                    Some(response) if response.payload.request_id == request_id => {
                        return Some(response.payload.clone());
                    }
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        let answered = within(&*self.timer, Duration::from_millis(timeout_ms.into()), answer).await.flatten();
        Ok(answered.unwrap_or_else(|| ServiceResponse {
            request_id,
            status: ServiceStatus::TimedOut,
            result: None,
            error: Some(format!("no response within {timeout_ms} ms")),
        }))
    }
}

async fn serve(bus: PhaseCoherenceBus, service: ServiceInfo) -> ExitReason {
    let name = service.service_id.clone();
    let mut requests = match bus.subscribe_filtered::<ServiceRequest>(move |p| p.payload.service_id == name).await {
        Ok(requests) => requests,
        Err(error) => return ExitReason::failed(error),
    };
    while let Some(request) = requests.recv().await {
        let response = process_service_request(&service, request.id, &request.payload).await;
        let mut packet = PhasePacket::new(response, ComponentId::custom(0));
        packet.add_temporal_correlation(vec![request.id]);
        if let Err(error) = bus.publish(packet).await {
            return ExitReason::failed(error);
        }
    }
    ExitReason::Normal
}
