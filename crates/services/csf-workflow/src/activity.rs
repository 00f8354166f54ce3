//! What activity code gets to know, and what it may say while it runs.

use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::{EventId, Json};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// Which step this is: the same for every try of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ActivityKey {
    /// Stream of the run.
    pub stream: String,
    /// Number of the step in it.
    pub seq: u32,
}

impl ActivityKey {
    /// The key as a name for what the activity does: systems that know names do it once.
    #[must_use]
    pub fn event_id(&self) -> EventId {
        EventId::from_u128(0).derive(&format!("{}/{}", self.stream, self.seq))
    }
}

impl std::fmt::Display for ActivityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.stream, self.seq)
    }
}

/// A try of an activity.
#[derive(Clone, Debug)]
pub struct ActivityContext {
    pub(crate) key: ActivityKey,
    pub(crate) attempt: u32,
    pub(crate) beats: Arc<Beats>,
    pub(crate) cancelled: watch::Receiver<bool>,
}

/// Signs of life, over all tries of one step.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    state: Mutex<(u64, Option<Json>)>,
}

impl Beats {
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl ActivityContext {
    /// Which step this is.
    #[must_use]
    pub fn key(&self) -> &ActivityKey {
        &self.key
    }

    /// Number of this try, from 1.
    #[must_use]
    pub const fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Says that it is alive, and how far it is; the next try in this process may ask for that. What has no JSON form is not kept.
    pub fn heartbeat<T: Serialize + ?Sized>(&self, progress: &T) {
        let mut state = self.beats.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += 1;
        if let Ok(progress) = Json::of(progress) {
            state.1 = Some(progress);
        }
    }

    /// What the newest heartbeat of any try in this process said.
    #[must_use]
    pub fn progress<T: DeserializeOwned>(&self) -> Option<T> {
        self.beats.state.lock().unwrap_or_else(PoisonError::into_inner).1.as_ref()?.parse().ok()
    }

    /// Whether nobody waits for it any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Waits until nobody waits for it any more.
    pub async fn cancelled(&self) {
        let mut cancelled = self.cancelled.clone();
        // A closed channel says so too: the run has ended.
        let _ = cancelled.wait_for(|is| *is).await;
    }
}
