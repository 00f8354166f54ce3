//! Where a watched handler's event lies: a copy, because a handler that never returns would keep the slot from its producer for ever.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use csf_core::port::LaneInfo;
use csf_core::{AnyPayload, Event, Header, LaneId, MessageType};

/// The copies of one component, one place per lane it reads.
#[derive(Default)]
pub struct Desk {
    messages: Arc<BTreeMap<String, MessageType>>,
    /// At most as many as lanes were ever read.
    places: Vec<Place>,
    last: usize,
}

struct Place {
    lane: LaneId,
    topic: String,
    copy: fn(&dyn Any, &mut Option<AnyPayload>) -> bool,
    header: Option<Header>,
    payload: Option<AnyPayload>,
}

impl Desk {
    /// A desk for messages of these types.
    #[must_use]
    pub fn new(messages: Arc<BTreeMap<String, MessageType>>) -> Self {
        Self { messages, places: Vec::new(), last: 0 }
    }

    /// Lays a packet down; false when its type cannot be copied.
    #[inline]
    pub(super) fn lay(&mut self, lane: &LaneInfo, header: &Header, payload: &dyn Any) -> bool {
        if self.places.get(self.last).is_none_or(|place| place.lane != lane.id) && !self.find(lane) {
            return false;
        }
        let place = &mut self.places[self.last];
        place.header = Some(*header);
        (place.copy)(payload, &mut place.payload)
    }

    #[cold]
    fn find(&mut self, lane: &LaneInfo) -> bool {
        let known = self.places.iter().position(|place| place.lane == lane.id);
        if let Some(at) = known {
            self.last = at;
            return true;
        }
        let Some(message) = self.messages.get(&lane.message) else { return false };
        let (lane, topic) = (lane.id, lane.topic.clone());
        self.places.push(Place { lane, topic, copy: message.copy, header: None, payload: None });
        self.last = self.places.len() - 1;
        true
    }

    /// What was laid down last.
    #[inline]
    pub(super) fn event(&self) -> Option<Event<'_>> {
        let place = self.places.get(self.last)?;
        Some(Event::new(&place.topic, place.header.as_ref()?, place.payload.as_deref()?))
    }
}
