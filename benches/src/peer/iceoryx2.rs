//! iceoryx2: publish/subscribe in shared memory, here within one process; over its `ipc` and its `local` service.
//!
//! Its ports stay in the thread that made them, so the loads make them there. Samples are loaned, written in place and sent.

use iceoryx2::node::{Node, NodeBuilder};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::{BackpressureStrategy, LogLevel, ServiceName, ZeroCopySend, set_log_level};
use iceoryx2::service::Service;
use iceoryx2::service::port_factory::publish_subscribe::PortFactory;

use crate::load::unique;
use crate::payload::{CAPACITY, Frame, Rx, Tx};

/// Ports and nodes of one service; three of each are the most that a load needs.
const PORTS_MAX: usize = 4;

// SAFETY: a frame is an array of integers: no pointers, no padding, the same in every process.
unsafe impl<const WORDS: usize> ZeroCopySend for Frame<WORDS> {}

/// A publisher and the node that keeps it alive.
pub struct Producer<S: Service, const WORDS: usize>(
    Publisher<S, Frame<WORDS>, ()>,
    #[expect(dead_code, reason = "kept alive")] Node<S>,
);
/// A subscriber and the node that keeps it alive.
pub struct Consumer<S: Service, const WORDS: usize>(
    Subscriber<S, Frame<WORDS>, ()>,
    #[expect(dead_code, reason = "kept alive")] Node<S>,
);

/// A name that no other service of this machine has.
pub fn name() -> String {
    format!("csf-bench-{}-{}", std::process::id(), unique())
}

fn open<S: Service, const WORDS: usize>(name: &str) -> (PortFactory<S, Frame<WORDS>, ()>, Node<S>) {
    set_log_level(LogLevel::Error);
    let node = NodeBuilder::new().create::<S>().expect("shared memory can be had");
    let name: ServiceName = name.try_into().expect("the name is short and plain");
    let service = node
        .service_builder(&name)
        .publish_subscribe::<Frame<WORDS>>()
        .enable_safe_overflow(false)
        .subscriber_max_buffer_size(CAPACITY)
        .max_publishers(PORTS_MAX)
        .max_subscribers(PORTS_MAX)
        .max_nodes(2 * PORTS_MAX)
        .open_or_create()
        .expect("both sides ask for the same service");
    (service, node)
}

/// A publisher on the service `name`.
pub fn producer<S: Service, const WORDS: usize>(name: &str) -> Producer<S, WORDS> {
    let (service, node) = open::<S, WORDS>(name);
    let strategy = BackpressureStrategy::RetryUntilDelivered;
    let port = service.publisher_builder().backpressure_strategy(strategy).create().expect("a port is free");
    Producer(port, node)
}

/// A subscriber of the service `name`.
pub fn consumer<S: Service, const WORDS: usize>(name: &str) -> Consumer<S, WORDS> {
    let (service, node) = open::<S, WORDS>(name);
    Consumer(service.subscriber_builder().create().expect("a port is free"), node)
}

impl<S: Service, const WORDS: usize> Tx for Producer<S, WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let Ok(sample) = self.0.loan_uninit() else { return false };
        sample.write_payload(Frame::new(number)).send().is_ok()
    }
}

impl<S: Service, const WORDS: usize> Rx for Consumer<S, WORDS> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Ok(Some(sample)) = self.0.receive() else { return 0 };
        *sum = sum.wrapping_add(sample.payload().sum());
        1
    }
}
