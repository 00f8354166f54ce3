//! The receiving end of a route.

use std::fmt;
use std::ops::Deref;

use csf_core::port::{Payload, SubscriptionId};
use csf_core::{AnyPacket, PhasePacket};

use super::route::Parcel;
use crate::Subscription;

/// Yields the packets of one type. Leaves the bus when dropped.
pub struct Receiver<T: Payload> {
    id: SubscriptionId,
    subscription: Subscription,
    /// How often the next packet was rejected.
    rejections: u8,
    _payload: std::marker::PhantomData<fn() -> T>,
}

impl<T: Payload> Receiver<T> {
    /// `subscription` reads the route of `T` only.
    pub(super) fn new(id: SubscriptionId, subscription: Subscription) -> Self {
        Self { id, subscription, rejections: 0, _payload: std::marker::PhantomData }
    }

    /// Its number, for [`csf_core::port::EventBusRx::unsubscribe`].
    #[must_use]
    pub fn id(&self) -> SubscriptionId {
        self.id
    }

    /// The next packet, if it is there.
    pub fn try_recv(&mut self) -> Option<Delivery<'_, T>> {
        let lane = self.subscription.select()?;
        Some(Delivery { receiver: self, lane, is_rejected: false })
    }

    /// Waits for the next packet; `None` when the subscription or the bus has ended and everything was read. Cancel safe.
    pub async fn recv(&mut self) -> Option<Delivery<'_, T>> {
        let lane = self.subscription.next().await?;
        Some(Delivery { receiver: self, lane, is_rejected: false })
    }

    /// Packets waiting.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.subscription.lag()
    }

    /// Packets lost to the policy.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.subscription.lost()
    }
}

impl<T: Payload> Drop for Receiver<T> {
    /// Publishers of guaranteed packets do not wait for it any longer.
    fn drop(&mut self) {
        let mut receipts = Vec::new();
        while let Some(delivery) = self.try_recv() {
            receipts.extend(delivery.parcel().receipt.clone());
        }
        self.subscription.detach();
        for receipt in receipts {
            receipt.passed();
        }
    }
}

/// A packet in its slot. Dropping it accepts it.
pub struct Delivery<'a, T: Payload> {
    receiver: &'a mut Receiver<T>,
    lane: usize,
    is_rejected: bool,
}

impl<T: Payload> Delivery<'_, T> {
    fn parcel(&self) -> &Parcel<T> {
        // SAFETY: the subscription selected this lane, which is the route's, and the packet is held until `advance`.
        unsafe { self.receiver.subscription.held::<Parcel<T>>(self.lane) }
    }

    /// The packet with its type erased, in the same slot.
    #[must_use]
    pub fn erased(&self) -> &AnyPacket {
        &self.parcel().packet
    }

    /// Gives the packet back undone. A guaranteed packet comes again, as often as its `max_retries` says; then its publisher gets
    /// `reason`. One that is not guaranteed is gone.
    pub fn reject(mut self, reason: &str) {
        let retries = self.routing_metadata.delivery_options.max_retries;
        let Some(receipt) = self.parcel().receipt.clone() else { return };
        if self.receiver.rejections < retries {
            self.receiver.rejections += 1;
            self.is_rejected = true;
        } else {
            receipt.refuse(format!(
                "subscription {} rejected it {} times: {reason}",
                self.receiver.id.0,
                u32::from(retries) + 1
            ));
        }
    }
}

impl<T: Payload> Deref for Delivery<'_, T> {
    type Target = PhasePacket<T>;

    fn deref(&self) -> &PhasePacket<T> {
        &self.parcel().packet
    }
}

impl<T: Payload + fmt::Debug> fmt::Debug for Delivery<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parcel().packet.fmt(f)
    }
}

impl<T: Payload> Drop for Delivery<'_, T> {
    fn drop(&mut self) {
        if self.is_rejected {
            return;
        }
        let receipt = self.parcel().receipt.clone();
        self.receiver.rejections = 0;
        self.receiver.subscription.advance();
        if let Some(receipt) = receipt {
            receipt.passed();
        }
    }
}
