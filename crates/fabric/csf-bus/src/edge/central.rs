//! Handlers by topic name over the edge: the form in which the avionics specification knows a bus (AVI-060).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use csf_core::port::EventBusTx;
use csf_core::{BusResult, ComponentId, MessageId, PhasePacket};

use super::Receiver;
use crate::{Interest, PhaseCoherenceBus, WeakBus};

type Handler = Arc<dyn Fn(&(dyn Any + Send + Sync)) + Send + Sync>;

/// A message under its topic's name.
#[derive(Clone)]
struct Named {
    topic: Arc<str>,
    message: Arc<dyn Any + Send + Sync>,
}

/// Handlers by topic. Any thread may subscribe, publish and process; no lock is held while a handler runs, so handlers may do all
/// three. What a handler publishes is handled by the same or a later call of [`CentralMessageBus::process_messages`].
pub struct CentralMessageBus {
    bus: WeakBus,
    handlers: RwLock<BTreeMap<Arc<str>, Vec<Handler>>>,
    queue: Mutex<Receiver<Named>>,
}

impl CentralMessageBus {
    /// A layer over this bus, which it holds weakly.
    ///
    /// # Errors
    /// [`csf_core::BusError::InitializationFailed`] when the bus has no lane left.
    pub fn new(bus: &PhaseCoherenceBus) -> BusResult<Self> {
        let queue = bus.receiver::<Named>(Interest::new().label("central message bus"))?;
        Ok(Self { bus: bus.downgrade(), handlers: RwLock::default(), queue: Mutex::new(queue) })
    }

    /// Calls `handler` with every message of type `T` published under this name from now on.
    pub fn subscribe<T: Any + Send + Sync>(&self, topic: &str, handler: impl Fn(&T) + Send + Sync + 'static) {
        let handler: Handler = Arc::new(move |message| {
            if let Some(message) = message.downcast_ref::<T>() {
                handler(message);
            }
        });
        self.handlers.write().unwrap_or_else(PoisonError::into_inner).entry(topic.into()).or_default().push(handler);
    }

    /// Queues a message for the topic's handlers, without waiting.
    ///
    /// # Errors
    /// [`csf_core::BusError::ResourceExhausted`] when the queue is full, [`csf_core::BusError::DeliveryFailed`] when the bus is gone.
    pub fn publish<T: Any + Send + Sync>(&self, topic: &str, message: T) -> BusResult<MessageId> {
        let bus = self.bus.upgrade().ok_or_else(|| csf_core::BusError::DeliveryFailed {
            details: format!("the bus behind `{topic}` is gone"),
        })?;
        bus.try_publish(PhasePacket::new(
            Named { topic: topic.into(), message: Arc::new(message) },
            ComponentId::custom(0),
        ))
    }

    /// Hands queued messages to their handlers, in the order they were published, until none is left; returns how many.
    pub fn process_messages(&self) -> usize {
        let mut count = 0;
        while let Some(named) = self.next() {
            count += 1;
            let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
            let handlers = handlers.get(&named.topic).cloned().unwrap_or_default();
            for handler in handlers {
                handler(&*named.message);
            }
        }
        count
    }

    fn next(&self) -> Option<Named> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let delivery = queue.try_recv()?;
        // The name and the message are counted; neither is copied.
        Some(delivery.payload.clone())
    }
}
