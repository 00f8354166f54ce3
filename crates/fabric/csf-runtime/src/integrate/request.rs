//! Services that answer requests on the bus (FAB-110). A request's id is its packet's.
//!
//! Requests and responses are packets of two topics, so that they are recorded where those are. Invariant: a request names what led to it and
//! until when its answer is of use, its response names the request, and each is stamped later than its cause (INT-003).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_bus::{Interest, PhaseCoherenceBus, Publisher, Subscriber, TopicError, TopicSpec};
use csf_core::port::{LaneKind, Timer, within};
use csf_core::{Attributes, BusError, Header, Message, MessageId, Stamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::BoxFuture;
use crate::supervise::{ChildSpec, ExitReason};

/// Topic of requests where none is named.
pub const REQUESTS_TOPIC: &str = "csf.service.requests";
/// Topic of responses where none is named.
pub const RESPONSES_TOPIC: &str = "csf.service.responses";

/// What a service is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Message for ServiceRequest {
    const NAME: &'static str = "csf.service-request";
    const VERSION: u16 = 1;
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServiceStatus {
    /// Done.
    Success,
    /// The service failed.
    Failed,
    /// No answer came in time.
    TimedOut,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

impl Message for ServiceResponse {
    const NAME: &'static str = "csf.service-response";
    const VERSION: u16 = 1;
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
    topics: Topics,
    requests: Mutex<Option<Publisher<ServiceRequest>>>,
    services: Mutex<Vec<String>>,
}

#[derive(Clone)]
struct Topics {
    requests: String,
    responses: String,
}

impl ServiceRegistry {
    /// Without services, on [`REQUESTS_TOPIC`] and [`RESPONSES_TOPIC`].
    #[must_use]
    pub fn new(bus: PhaseCoherenceBus, timer: Arc<dyn Timer>) -> Self {
        Self::on_topics(bus, timer, REQUESTS_TOPIC, RESPONSES_TOPIC)
    }

    /// On topics of one's own: those that a node records, for example.
    pub fn on_topics(
        bus: PhaseCoherenceBus,
        timer: Arc<dyn Timer>,
        requests: impl Into<String>,
        responses: impl Into<String>,
    ) -> Self {
        let topics = Topics { requests: requests.into(), responses: responses.into() };
        Self { bus, timer, topics, requests: Mutex::default(), services: Mutex::default() }
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
        let (bus, topics) = (self.bus.clone(), self.topics.clone());
        let id = service.service_id.clone();
        Ok(ChildSpec::task(id, move |_| serve(bus.clone(), topics.clone(), service.clone())))
    }

    /// Asks a service and waits for its response; a time-out is a response too.
    ///
    /// # Errors
    /// [`BusError`]: the request could not be published.
    pub async fn request(&self, request: ServiceRequest) -> Result<ServiceResponse, BusError> {
        self.request_caused(request, None).await
    }

    /// [`ServiceRegistry::request`] because of a packet, which the request names and comes after.
    ///
    /// # Errors
    /// As [`ServiceRegistry::request`].
    pub async fn request_caused(
        &self,
        request: ServiceRequest,
        cause: Option<&Header>,
    ) -> Result<ServiceResponse, BusError> {
        let timeout_ms = request.timeout_ms;
        declare(&self.bus, &self.topics).map_err(|e| internal(&e))?;
        let mut responses: Subscriber<ServiceResponse> =
            self.bus.subscriber(&self.topics.responses, Interest::new().label("request")).map_err(|e| internal(&e))?;
        let request_id = self.publish(request, cause)?;
        let answer = async {
            loop {
                let (_, response) = responses.recv().await;
                if response.request_id == request_id {
                    return response;
                }
            }
        };
        let answered = within(&*self.timer, Duration::from_millis(timeout_ms.into()), answer).await;
        Ok(answered.unwrap_or_else(|| timed_out(request_id, format!("no response within {timeout_ms} ms"))))
    }

    fn publish(&self, request: ServiceRequest, cause: Option<&Header>) -> Result<MessageId, BusError> {
        let mut lane = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let publisher = match &mut *lane {
            Some(open) => open,
            closed => {
                let opened = self.bus.publisher(&self.topics.requests, "requests", LaneKind::Source);
                closed.insert(opened.map_err(|e| internal(&e))?)
            }
        };
        let timeout_ns = u64::from(request.timeout_ms) * 1_000_000;
        let deadline = Stamp(now(&self.bus).0.saturating_add(timeout_ns));
        let causes: Vec<MessageId> = cause.iter().map(|header| header.id).collect();
        if let Some(header) = cause {
            publisher.observe(header.stamp);
        }
        publisher.try_publish_caused(request, Attributes::default().with_deadline(deadline), &causes)
    }
}

fn declare(bus: &PhaseCoherenceBus, topics: &Topics) -> Result<(), TopicError> {
    bus.declare(TopicSpec::new::<ServiceRequest>(&topics.requests))?;
    bus.declare(TopicSpec::new::<ServiceResponse>(&topics.responses)).map(|_| ())
}

fn now(bus: &PhaseCoherenceBus) -> Stamp {
    Stamp(bus.config().time_source.now_ns().map_or(0, |now| now.as_nanos()))
}

fn internal(error: &TopicError) -> BusError {
    BusError::Internal { details: error.to_string() }
}

fn timed_out(request_id: MessageId, error: String) -> ServiceResponse {
    ServiceResponse { request_id, status: ServiceStatus::TimedOut, result: None, error: Some(error) }
}

async fn serve(bus: PhaseCoherenceBus, topics: Topics, service: ServiceInfo) -> ExitReason {
    let responses =
        declare(&bus, &topics).and_then(|()| bus.publisher(&topics.responses, &service.service_id, LaneKind::Source));
    let served = match responses {
        Ok(responses) => answer(&bus, &topics.requests, responses, &service).await,
        Err(error) => Err(internal(&error)),
    };
    served.map_or_else(ExitReason::failed, |()| ExitReason::Normal)
}

/// Answers the requests on a topic that name the service, one after the other. A request whose requester has given up is not begun.
/// Cancel safe between requests.
pub(crate) async fn answer(
    bus: &PhaseCoherenceBus,
    requests: &str,
    mut responses: Publisher<ServiceResponse>,
    service: &ServiceInfo,
) -> Result<(), BusError> {
    let name = service.service_id.clone();
    let interest = Interest::new().filter(move |_, request: &ServiceRequest| request.service_id == name);
    let mut requests: Subscriber<ServiceRequest> =
        bus.subscriber(requests, interest.label(&service.service_id)).map_err(|e| internal(&e))?;
    loop {
        let (header, request) = requests.recv().await;
        let response = match header.deadline {
            Some(deadline) if deadline < now(bus) => timed_out(header.id, "it came after its deadline".to_owned()),
            _ => process_service_request(service, header.id, &request).await,
        };
        responses.observe(header.stamp);
        responses.publish_caused(response, Attributes::default(), &[header.id]).await?;
    }
}
