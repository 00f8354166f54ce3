//! What is sent: a frame that the producer writes whole and the consumer reads whole, and the traits that each side fills in.

use csf_core::Message;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Words of the 64-byte frame.
pub const SMALL: usize = 8;
/// Words of the 1 KiB frame.
pub const LARGE: usize = 128;
/// Slots of every queue.
pub const CAPACITY: usize = 1024;
/// Messages that a batch producer publishes at once.
pub const BATCH: u64 = 16;

/// `WORDS` times its own number.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Frame<const WORDS: usize>(pub [u64; WORDS]);

impl<const WORDS: usize> Default for Frame<WORDS> {
    fn default() -> Self {
        Self([0; WORDS])
    }
}

impl<const WORDS: usize> Frame<WORDS> {
    /// A whole new frame.
    #[inline(always)]
    pub fn new(number: u64) -> Self {
        Self([number; WORDS])
    }

    /// Writes the whole frame in place.
    #[inline(always)]
    pub fn fill(&mut self, number: u64) {
        self.0 = [number; WORDS];
    }

    /// Reads the whole frame.
    #[inline(always)]
    pub fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum: u64, word| sum.wrapping_add(*word))
    }
}

/// Sum over the frames `0..count` of `words` each: what a consumer must arrive at.
pub fn sum_of(count: u64, words: usize) -> u64 {
    (0..count).fold(0u64, |sum, number| sum.wrapping_add(number.wrapping_mul(words as u64)))
}

impl<const WORDS: usize> Serialize for Frame<WORDS> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_slice().serialize(serializer)
    }
}

impl<'de, const WORDS: usize> Deserialize<'de> for Frame<WORDS> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<u64>::deserialize(deserializer)?;
        let length = words.len();
        let words = words.try_into().map_err(|_| serde::de::Error::invalid_length(length, &"the frame's words"))?;
        Ok(Self(words))
    }
}

impl<const WORDS: usize> JsonSchema for Frame<WORDS> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Frame{WORDS}").into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Vec::<u64>::json_schema(generator)
    }
}

impl<const WORDS: usize> Message for Frame<WORDS> {
    const NAME: &'static str = if WORDS == SMALL { "bench.frame-small" } else { "bench.frame-large" };
    const VERSION: u16 = 1;
}

/// A producer. It writes every frame itself, from its number.
pub trait Tx {
    /// Frames per call.
    const GROUP: u64 = 1;

    /// Publishes the frames `number .. number + GROUP`, all or none; false when there is no room.
    fn try_send(&mut self, number: u64) -> bool;

    /// The same, by the crate's own way of waiting. Only for sides that are measured waiting.
    fn send(&mut self, number: u64) {
        while !self.try_send(number) {
            std::hint::spin_loop();
        }
    }
}

/// A consumer. It reads every frame whole and adds it to `sum`.
pub trait Rx {
    /// Takes what is there, one frame or a batch; returns how many.
    fn poll(&mut self, sum: &mut u64) -> usize;

    /// Waits for at least one frame by the crate's own way of waiting. Only for sides that are measured waiting.
    fn recv(&mut self, sum: &mut u64) -> usize {
        loop {
            let count = self.poll(sum);
            if count > 0 {
                return count;
            }
            std::hint::spin_loop();
        }
    }
}

/// One end of a round trip: a producer towards the other end and a consumer of what comes back.
pub trait End {
    /// As [`Tx::try_send`].
    fn try_send(&mut self, number: u64) -> bool;
    /// As [`Rx::poll`].
    fn poll(&mut self, sum: &mut u64) -> usize;
    /// As [`Tx::send`].
    fn send(&mut self, number: u64);
    /// As [`Rx::recv`].
    fn recv(&mut self, sum: &mut u64) -> usize;
}

impl<T: Tx, R: Rx> End for (T, R) {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.try_send(number)
    }

    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        self.1.poll(sum)
    }

    #[inline(always)]
    fn send(&mut self, number: u64) {
        self.0.send(number);
    }

    #[inline(always)]
    fn recv(&mut self, sum: &mut u64) -> usize {
        self.1.recv(sum)
    }
}

impl<E: End> End for &mut E {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        (**self).try_send(number)
    }

    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        (**self).poll(sum)
    }

    #[inline(always)]
    fn send(&mut self, number: u64) {
        (**self).send(number);
    }

    #[inline(always)]
    fn recv(&mut self, sum: &mut u64) -> usize {
        (**self).recv(sum)
    }
}

/// One end of a round trip between tasks. The frame is handed over whole, as these crates do it.
pub trait AsyncEnd: Send + 'static {
    /// Sends one frame of [`SMALL`] words.
    fn send(&mut self, number: u64) -> impl Future<Output = ()> + Send;
    /// The sum of the next frame.
    fn recv(&mut self) -> impl Future<Output = u64> + Send;
}

/// Several single-producer queues read as one.
pub struct Merged<R>(pub Vec<R>);

impl<R: Rx> Rx for Merged<R> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        self.0.iter_mut().map(|queue| queue.poll(sum)).sum()
    }
}

/// Several producers written to in turn.
pub struct InTurn<T>(pub Vec<T>);

impl<T: Tx> Tx for InTurn<T> {
    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        let count = self.0.len() as u64;
        self.0[(number % count) as usize].try_send(number)
    }
}

/// A side of a stream that waits by itself instead of being asked again.
pub struct Patient<T>(pub T);

impl<T: Tx> Tx for Patient<T> {
    const GROUP: u64 = T::GROUP;

    #[inline(always)]
    fn try_send(&mut self, number: u64) -> bool {
        self.0.send(number);
        true
    }
}

impl<R: Rx> Rx for Patient<R> {
    #[inline(always)]
    fn poll(&mut self, sum: &mut u64) -> usize {
        self.0.recv(sum)
    }
}
