//! disruptor: the LMAX ring in Rust, events written in place, read through event pollers; one or several producers.

use disruptor::{BusySpin, Polling, build_multi_producer, build_single_producer};

use crate::payload::{BATCH, CAPACITY, Frame, Rx, Tx};

/// A producer, one event per publish.
pub struct Producer<P, const WORDS: usize>(P);
/// A producer, [`BATCH`] events per publish.
pub struct BatchProducer<P, const WORDS: usize>(P);
/// A poller behind its `poll`, whose type says how it was built.
pub struct Consumer<F>(F);

macro_rules! consumer {
    ($poller:expr) => {{
        let mut poller = $poller;
        Consumer(move |sum: &mut u64| match poller.poll() {
            Ok(mut events) => {
                let mut count = 0;
                for event in &mut events {
                    *sum = sum.wrapping_add(event.sum());
                    count += 1;
                }
                count
            }
            Err(Polling::NoEvents | Polling::Shutdown) => 0,
        })
    }};
}

/// One producer, one reader.
pub fn pair<const WORDS: usize>() -> (impl Tx + Send, impl Rx + Send) {
    let (poller, builder) = build_single_producer(CAPACITY, Frame::<WORDS>::default, BusySpin).new_event_poller();
    (Producer::<_, WORDS>(builder.build()), consumer!(poller))
}

/// One producer that publishes in batches, one reader.
pub fn batches<const WORDS: usize>() -> (impl Tx + Send, impl Rx + Send) {
    let (poller, builder) = build_single_producer(CAPACITY, Frame::<WORDS>::default, BusySpin).new_event_poller();
    (BatchProducer::<_, WORDS>(builder.build()), consumer!(poller))
}

/// One producer, three readers who each see every event.
pub fn fan_out<const WORDS: usize>() -> (impl Tx + Send, Vec<impl Rx + Send>) {
    let builder = build_single_producer(CAPACITY, Frame::<WORDS>::default, BusySpin);
    let (first, builder) = builder.new_event_poller();
    let (second, builder) = builder.new_event_poller();
    let (third, builder) = builder.new_event_poller();
    let consumers = [first, second, third].into_iter().map(|poller| consumer!(poller)).collect();
    (Producer::<_, WORDS>(builder.build()), consumers)
}

/// `count` producers on one ring, one reader.
pub fn fan_in<const WORDS: usize>(count: usize) -> (Vec<impl Tx + Send>, impl Rx + Send) {
    let (poller, builder) = build_multi_producer(CAPACITY, Frame::<WORDS>::default, BusySpin).new_event_poller();
    let producer = builder.build();
    ((0..count).map(|_| Producer::<_, WORDS>(producer.clone())).collect(), consumer!(poller))
}

impl<P: disruptor::Producer<Frame<WORDS>>, const WORDS: usize> Tx for Producer<P, WORDS> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.try_publish(|event| event.fill(number)).is_ok()
    }
}

impl<P: disruptor::Producer<Frame<WORDS>>, const WORDS: usize> Tx for BatchProducer<P, WORDS> {
    const GROUP: u64 = BATCH;

    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let published = self.0.try_batch_publish(BATCH as usize, |events| {
            for (event, number) in events.zip(number..) {
                event.fill(number);
            }
        });
        published.is_ok()
    }
}

impl<F: FnMut(&mut u64) -> usize> Rx for Consumer<F> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        (self.0)(sum)
    }
}
