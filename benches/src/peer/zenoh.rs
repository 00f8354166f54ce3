//! zenoh: publish/subscribe of bytes; here one session, whose subscribers are called in the publisher's thread and fill a FIFO.

use zenoh::handlers::{FifoChannel, FifoChannelHandler};
use zenoh::pubsub::{Publisher, Subscriber};
use zenoh::qos::CongestionControl;
use zenoh::sample::Sample;
use zenoh::{Config, Session, Wait};

use crate::load::{Missing, unique};
use crate::payload::{CAPACITY, Rx, SMALL, Tx};

/// A publisher of small frames.
pub struct Producer(Publisher<'static>);
/// A subscriber behind a FIFO.
pub struct Consumer(Subscriber<FifoChannelHandler<Sample>>);

/// A session that talks to nobody outside this process.
pub fn session() -> Result<Session, Missing> {
    let mut config = Config::default();
    let settings = [
        ("mode", "\"peer\""),
        ("scouting/multicast/enabled", "false"),
        ("scouting/gossip/enabled", "false"),
        ("listen/endpoints", "[]"),
        ("connect/endpoints", "[]"),
    ];
    for (key, value) in settings {
        config.insert_json5(key, value).map_err(|e| Missing(format!("zenoh refuses {key}: {e}")))?;
    }
    zenoh::open(config).wait().map_err(|e| Missing(format!("no zenoh session: {e}")))
}

/// A publisher and a subscriber of a key of their own.
pub fn pair(session: &Session) -> Result<(Producer, Consumer), Missing> {
    let key = format!("csf/bench/{}", unique());
    let fail = |e: zenoh::Error| Missing(format!("zenoh: {e}"));
    let consumer = session.declare_subscriber(key.clone()).with(FifoChannel::new(CAPACITY)).wait().map_err(fail)?;
    let publisher = session.declare_publisher(key).congestion_control(CongestionControl::Block).express(true);
    Ok((Producer(publisher.wait().map_err(fail)?), Consumer(consumer)))
}

fn sum_of(sample: &Sample) -> u64 {
    let bytes = sample.payload().to_bytes();
    let word = |chunk: &[u8]| chunk.try_into().map_or(0, u64::from_le_bytes);
    bytes.chunks_exact(8).fold(0, |sum, chunk| sum.wrapping_add(word(chunk)))
}

impl Tx for Producer {
    fn try_send(&mut self, number: u64) -> bool {
        self.0.put(number.to_le_bytes().repeat(SMALL)).wait().is_ok()
    }
}

impl Rx for Consumer {
    fn poll(&mut self, sum: &mut u64) -> usize {
        let Ok(Some(sample)) = self.0.try_recv() else { return 0 };
        *sum = sum.wrapping_add(sum_of(&sample));
        1
    }
}
