//! Many topics read as one stream.

use csf_bus::{Interest, Order, Subscription, TopicSpec};
use csf_core::port::LaneKind;

use super::bus::{Producer, new_bus};
use crate::payload::{CAPACITY, Frame, InTurn, Rx, SMALL};

/// A subscription that does not know what it carries.
pub struct Reader(Subscription);

/// A publisher on each of `count` topics, one reader of them all, in the order of urgency.
pub fn merged(count: usize) -> (InTurn<Producer<SMALL>>, Vec<Reader>) {
    let bus = new_bus(super::time::source());
    let names: Vec<String> = (0..count).map(|number| format!("bench.t{number}")).collect();
    for name in &names {
        let mut spec = TopicSpec::new::<Frame<SMALL>>(name.as_str()).capacity(CAPACITY);
        spec.history = 0;
        bus.declare(spec).expect("the topic is new");
    }
    let publisher =
        |name: &String| bus.publisher::<Frame<SMALL>>(name, "bench", LaneKind::Source).expect("the topic is declared");
    let producers = names.iter().map(|name| publisher(name).into()).collect();
    let topics: Vec<&str> = names.iter().map(String::as_str).collect();
    let reader = bus.subscribe_any(&topics, Interest::new().order(Order::Urgency), Default::default());
    (InTurn(producers), vec![Reader(reader.expect("the topics are declared"))])
}

impl Rx for Reader {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Some((_, _, payload)) = self.0.peek() else { return 0 };
        *sum = sum.wrapping_add(payload.downcast_ref::<Frame<SMALL>>().map_or(0, Frame::sum));
        self.0.advance();
        1
    }
}
