//! Events from a producer to a consumer: over the bus of a node, or over NATS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use csf_bus::{BusConfig, PhaseCoherenceBus};
use csf_core::port::{EventBusRx, EventBusTx};
use csf_core::{ComponentId, PhasePacket};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::TestError;
use crate::nats::NatsConnection;

const SUBJECT: &str = "csf.test.events";

/// What the tests send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestEvent {
    /// Its number.
    pub id: u64,
    /// Its words.
    pub payload: String,
}

/// Where events go.
#[derive(Clone)]
pub enum TestEventBus {
    /// The bus of a node.
    Embedded(PhaseCoherenceBus),
    /// A NATS.
    Nats(SocketAddr),
}

impl TestEventBus {
    /// A bus in the process.
    #[must_use]
    pub fn embedded() -> Self {
        Self::Embedded(PhaseCoherenceBus::new(BusConfig::default()))
    }
}

/// Sends events.
pub struct TestEventProducer(Sending);

enum Sending {
    Embedded(PhaseCoherenceBus),
    Nats(Box<tokio::sync::Mutex<NatsConnection>>),
}

impl TestEventProducer {
    /// A producer on this bus.
    ///
    /// # Errors
    /// [`TestError::Io`], [`TestError::Answer`].
    pub async fn new(bus: &TestEventBus) -> Result<Self, TestError> {
        Ok(Self(match bus {
            TestEventBus::Embedded(bus) => Sending::Embedded(bus.clone()),
            TestEventBus::Nats(address) => {
                Sending::Nats(Box::new(tokio::sync::Mutex::new(NatsConnection::connect(*address).await?)))
            }
        }))
    }

    /// Sends one.
    ///
    /// # Errors
    /// [`TestError::Bus`], [`TestError::Io`].
    pub async fn emit_event(&self, event: TestEvent) -> Result<(), TestError> {
        match &self.0 {
            Sending::Embedded(bus) => {
                bus.publish(PhasePacket::new(event, ComponentId::custom(0))).await?;
                Ok(())
            }
            Sending::Nats(connection) => {
                let text = serde_json::to_string(&event).map_err(|e| TestError::Failed(e.to_string()))?;
                connection.lock().await.publish(SUBJECT, &text).await
            }
        }
    }
}

#[derive(Default)]
struct Received {
    events: Vec<TestEvent>,
    failure: Option<String>,
}

/// Receives events, from its subscription on.
pub struct TestEventConsumer {
    received: Arc<Mutex<Received>>,
    changed: watch::Receiver<()>,
    task: JoinHandle<()>,
}

impl TestEventConsumer {
    /// Subscribes; once this returns, every event that is sent is received.
    ///
    /// # Errors
    /// [`TestError::Bus`], [`TestError::Io`], [`TestError::Answer`].
    pub async fn attach_subscription(bus: &TestEventBus) -> Result<Self, TestError> {
        let (tell, changed) = watch::channel(());
        let received = Arc::<Mutex<Received>>::default();
        let notes = received.clone();
        let note = move |event: Result<TestEvent, String>| {
            let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(event) => notes.events.push(event),
                Err(failure) => notes.failure = Some(failure),
            }
            tell.send_replace(());
        };
        let task = match bus {
            TestEventBus::Embedded(bus) => {
                let mut receiver = bus.subscribe::<TestEvent>().await?;
                tokio::spawn(async move {
                    while let Some(packet) = receiver.recv().await {
                        note(Ok(packet.payload.clone()));
                    }
                })
            }
            TestEventBus::Nats(address) => {
                let mut connection = NatsConnection::connect(*address).await?;
                connection.subscribe(SUBJECT).await?;
                tokio::spawn(async move {
                    loop {
                        let message = connection.next().await.map_err(|e| e.to_string());
                        let event = message.and_then(|m| serde_json::from_slice(&m).map_err(|e| e.to_string()));
                        let is_last = event.is_err();
                        note(event);
                        if is_last {
                            return;
                        }
                    }
                })
            }
        };
        Ok(Self { received, changed, task })
    }

    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events so far.
    #[must_use]
    pub fn received_count(&self) -> usize {
        self.received().events.len()
    }

    /// The events so far, in the order they came.
    #[must_use]
    pub fn get_received_events(&self) -> Vec<TestEvent> {
        self.received().events.clone()
    }

    /// Waits until so many events have come. Cancel safe.
    ///
    /// # Errors
    /// [`TestError::Failed`]: the subscription ended before that, and why.
    pub async fn until_received(&self, count: usize) -> Result<(), TestError> {
        let mut changed = self.changed.clone();
        loop {
            changed.mark_unchanged();
            if self.received_count() >= count {
                return Ok(());
            }
            if let Some(failure) = &self.received().failure {
                return Err(TestError::Failed(failure.clone()));
            }
            if changed.changed().await.is_err() {
                return Err(TestError::Failed("the subscription has ended".to_owned()));
            }
        }
    }
}

impl Drop for TestEventConsumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
