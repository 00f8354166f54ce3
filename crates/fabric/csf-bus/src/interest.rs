//! What a subscriber asks for.

use std::any::Any;
use std::sync::Arc;

use csf_core::Header;

use crate::{Order, Policy, Start};

/// A predicate over a packet of any type.
pub(crate) type AnyFilter = Arc<dyn Fn(&Header, &dyn Any) -> bool + Send + Sync>;

/// What becomes of a packet whose deadline has passed when its turn comes. Both are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expired {
    /// It is handed out late. For the count the clock is read for every 16th packet of those published about the same time.
    #[default]
    Deliver,
    /// It is passed over. The clock is read for each packet with a deadline.
    Drop,
}

/// What a subscriber asks for: everything from now on, blocking, most urgent first, unless said otherwise.
#[derive(Clone)]
pub struct Interest {
    pub(crate) policy: Policy,
    pub(crate) start: Start,
    pub(crate) order: Order,
    pub(crate) mask: u64,
    pub(crate) filter: Option<AnyFilter>,
    pub(crate) expired: Expired,
    pub(crate) label: Arc<str>,
}

impl Default for Interest {
    fn default() -> Self {
        Self {
            policy: Policy::Block,
            start: Start::Now,
            order: Order::Urgency,
            mask: u64::MAX,
            filter: None,
            expired: Expired::Deliver,
            label: "unnamed".into(),
        }
    }
}

impl Interest {
    /// The default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What happens when the subscriber is too slow.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Where it begins.
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// How lanes are merged.
    #[must_use]
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Only packets addressed to one of these component bits. The others hold no slot for this subscriber.
    #[must_use]
    pub fn mask(mut self, mask: u64) -> Self {
        self.mask = mask;
        self
    }

    /// Only packets of type `T` for which `keep` is true, and packets of other types. The others hold no slot for this subscriber: a
    /// producer that needs room asks `keep` too, on its own thread. Where `keep` panics, the packet is rejected and the panic counted.
    #[must_use]
    pub fn filter<T: 'static>(mut self, keep: impl Fn(&Header, &T) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(move |header, payload: &dyn Any| {
            payload.downcast_ref::<T>().is_none_or(|payload| keep(header, payload))
        }));
        self
    }

    /// What the subscriber is called in reports.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = label.into();
        self
    }

    /// What becomes of packets whose deadline has passed.
    #[must_use]
    pub fn expired(mut self, expired: Expired) -> Self {
        self.expired = expired;
        self
    }
}
