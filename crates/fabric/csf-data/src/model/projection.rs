//! A projection: one model that follows a log, and everybody who asks it.

use std::sync::{Arc, Mutex, PoisonError};

use csf_core::port::{EventLog, LogError, Spawn, StoredEvent};
use tokio::sync::watch;

use super::{Checkpoint, ModelError, ModelStore, ReadModel, Rows};
use crate::Subscription;

/// Where a projection stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectionStatus {
    /// It has taken in everything up to this position.
    At(u64),
    /// It stopped after this position, and says why. The rows stay as they are.
    Stopped {
        /// The last position that was taken in.
        at: u64,
        /// Why.
        reason: String,
    },
}

impl ProjectionStatus {
    /// The last position that was taken in.
    #[must_use]
    pub const fn position(&self) -> u64 {
        match self {
            Self::At(at) | Self::Stopped { at, .. } => *at,
        }
    }
}

/// A model that follows a log. Dropping it ends it after the transaction that is under way.
#[derive(Debug)]
pub struct Projection {
    model: String,
    status: watch::Receiver<ProjectionStatus>,
    reader: Mutex<Reader>,
}

struct Reader(Box<dyn ModelStore>);

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reader")
    }
}

impl Projection {
    /// Starts to follow `log`, from where `store` stands; from the first event when the model is new or of another version.
    ///
    /// # Errors
    /// [`ModelError::Store`].
    pub fn start(
        log: Arc<dyn EventLog>,
        mut store: Box<dyn ModelStore>,
        model: impl ReadModel,
        spawn: &dyn Spawn,
    ) -> Result<Self, ModelError> {
        let name = model.name().to_owned();
        let after = match store.checkpoint(&name)? {
            Some(checkpoint) if checkpoint.version == model.version() => checkpoint.position,
            Some(_) => {
                store.reset(&name)?;
                0
            }
            None => 0,
        };
        let reader = Mutex::new(Reader(store.again()?));
        let (told, status) = watch::channel(ProjectionStatus::At(after));
        let events = Subscription::new(log, model.filter(), after);
        let projector = Projector { name: name.clone(), model, store, events, told };
        spawn.spawn(Box::pin(projector.run()));
        Ok(Self { model: name, status, reader })
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> ProjectionStatus {
        self.status.borrow().clone()
    }

    /// Looks at the rows as of one moment; also that moment.
    ///
    /// # Errors
    /// Those of `look`, and [`ModelError::Store`].
    pub fn query<T>(&self, look: impl FnOnce(&mut dyn Rows) -> Result<T, ModelError>) -> Result<(T, u64), ModelError> {
        let mut look = Some(look);
        let mut found = None;
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let position = reader.0.look(&self.model, &mut |rows| {
            if let Some(look) = look.take() {
                found = Some(look(rows)?);
            }
            Ok(())
        })?;
        Ok((found.expect("a look that succeeded found something"), position))
    }

    /// Waits until everything up to `position` has been taken in: who waits for its own append reads its own write. False when the
    /// projection ended before.
    pub async fn reaches(&self, position: u64) -> bool {
        let mut status = self.status.clone();
        let there = |status: &ProjectionStatus| {
            status.position() >= position || matches!(status, ProjectionStatus::Stopped { .. })
        };
        match status.wait_for(there).await {
            Ok(status) => status.position() >= position,
            Err(_) => self.status.borrow().position() >= position,
        }
    }
}

/// The task that takes events in, as long as somebody has the [`Projection`].
struct Projector<M> {
    name: String,
    model: M,
    store: Box<dyn ModelStore>,
    events: Subscription,
    told: watch::Sender<ProjectionStatus>,
}

impl<M: ReadModel> Projector<M> {
    async fn run(mut self) {
        loop {
            let at = self.events.seen();
            let page = tokio::select! {
                biased;
                () = self.told.closed() => return,
                page = self.events.progress() => page,
            };
            let taken = match page {
                Ok(page) => self.take(&page).map_err(|e| e.to_string()),
                Err(LogError::Closed) => return,
                Err(error) => Err(error.to_string()),
            };
            if let Err(reason) = taken {
                tracing::error!(model = self.name, at, reason, "a read model stopped");
                self.told.send_replace(ProjectionStatus::Stopped { at, reason });
                return;
            }
            self.told.send_replace(ProjectionStatus::At(self.events.seen()));
        }
    }

    fn take(&mut self, page: &[StoredEvent]) -> Result<(), ModelError> {
        let Self { model, .. } = self;
        // Others' events change no row; after a crash they are passed over again.
        if page.is_empty() {
            return Ok(());
        }
        let checkpoint = Checkpoint { version: model.version(), position: self.events.seen() };
        self.store
            .update(&self.name, checkpoint, &mut |rows| page.iter().try_for_each(|event| model.apply(event, rows)))
    }
}
