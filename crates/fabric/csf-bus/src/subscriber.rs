//! A typed subscription to one topic: polled, awaited or waited for, on the same stream.

use std::marker::PhantomData;
use std::time::Duration;

use csf_core::Header;

use crate::Subscription;
use crate::lane::Content;

/// Rounds of polling before a thread offers its core: some 10 µs.
const SPINS: u32 = 500;
/// Rounds in which it does, before it parks; together about as long as a futex wake takes, so that waiting costs at most twice the
/// optimum (Karlin et al., "Empirical Studies of Competitive Spinning", 1991). Where threads share a core, it is the producer that runs.
const YIELDS: u32 = 50;
/// Longest sleep; only a safety net, every producer rings the bell.
const NAP: Duration = Duration::from_millis(250);

/// A typed subscription to one topic.
pub struct Subscriber<T> {
    inner: Subscription,
    _payload: PhantomData<fn() -> T>,
}

impl<T: Content> Subscriber<T> {
    /// `inner` reads one topic, which carries `T`.
    pub(crate) fn new(inner: Subscription) -> Self {
        Self { inner, _payload: PhantomData }
    }

    /// Calls `f` with the next packet, by reference into its slot, if there is one now. If `f` panics, the packet comes again.
    #[inline]
    pub fn poll<R>(&mut self, f: impl FnOnce(&Header, &T) -> R) -> Option<R> {
        let index = self.inner.select()?;
        // SAFETY: `select` took hold of a packet on this lane, and the topic carries `T` (checked when it was subscribed).
        let (header, payload) = unsafe { self.inner.lane(index).held::<T>() };
        let result = f(&header, payload);
        self.inner.advance();
        Some(result)
    }

    /// Calls `f` with up to `max` packets that are there now; returns how many. Slots go back to their producers in batches, so that
    /// this costs less per packet than [`Subscriber::poll`]. If `f` panics, the packet it was looking at comes again.
    #[inline]
    pub fn poll_batch(&mut self, max: usize, mut f: impl FnMut(&Header, &T)) -> usize {
        let mut count = 0;
        while count < max {
            match self.poll_some(max - count, &mut f) {
                0 => break,
                some => count += some,
            }
        }
        count
    }

    /// One stretch of one lane.
    #[inline(always)]
    fn poll_some(&mut self, max: usize, f: &mut impl FnMut(&Header, &T)) -> usize {
        let Some(index) = self.inner.select() else { return 0 };
        if self.inner.lane(index).reader().is_movable() {
            return usize::from(self.poll(f).is_some());
        }
        self.inner.drain::<T>(index, max, f)
    }

    /// Waits for the next packet and calls `f` with it. Cancel safe: an undelivered packet stays.
    pub async fn recv_with<R>(&mut self, mut f: impl FnMut(&Header, &T) -> R) -> R {
        loop {
            if self.inner.next().await.is_none() {
                // Nobody closes a subscriber's subscription.
                std::future::pending::<()>().await;
            }
            if let Some(result) = self.poll(&mut f) {
                return result;
            }
        }
    }

    /// Waits for the next packet and hands out a copy. Cancel safe: an undelivered packet stays.
    pub async fn recv(&mut self) -> (Header, T)
    where
        T: Clone,
    {
        self.recv_with(|header, payload| (*header, payload.clone())).await
    }

    /// Waits until the next packet is here, then calls `f` with it. The thread polls for some microseconds, then parks.
    pub fn wait<R>(&mut self, mut f: impl FnMut(&Header, &T) -> R) -> R {
        self.wait_for(|subscriber| subscriber.poll(&mut f))
    }

    /// Waits until packets are here, then calls `f` with up to `max` of them, as [`Subscriber::poll_batch`]; returns how many. Between
    /// two looks it lets a fast producer get ahead, one or two microseconds at most: the way to the highest throughput.
    ///
    /// Returns 0 only when `max` is 0.
    pub fn wait_batch(&mut self, max: usize, mut f: impl FnMut(&Header, &T)) -> usize {
        if max == 0 {
            return 0;
        }
        self.wait_for(|subscriber| {
            subscriber.inner.pause();
            Some(subscriber.poll_some(max, &mut f)).filter(|count| *count > 0)
        })
    }

    #[inline(always)]
    fn wait_for<R>(&mut self, mut poll: impl FnMut(&mut Self) -> Option<R>) -> R {
        for turn in 0..SPINS + YIELDS {
            if let Some(result) = poll(self) {
                self.inner.stayed_awake();
                return result;
            }
            if turn < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
        self.wait_asleep(poll)
    }

    #[cold]
    fn wait_asleep<R>(&mut self, mut poll: impl FnMut(&mut Self) -> Option<R>) -> R {
        self.inner.allow_sleep();
        let doorbell = self.inner.doorbell().clone();
        loop {
            let inner = &mut self.inner;
            let nap = inner.hold_left_ns().map_or(NAP, |left_ns| Duration::from_nanos(left_ns).min(NAP));
            doorbell.wait(nap, || inner.select().is_some());
            if let Some(result) = poll(self) {
                return result;
            }
        }
    }

    /// Packets waiting.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.inner.lag()
    }

    /// Age of the oldest packet waiting, nanoseconds; zero when none waits.
    pub fn lag_ns(&mut self) -> u64 {
        self.inner.lag_ns()
    }

    /// Packets lost to the policy.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.inner.lost()
    }
}
