//! Commands and queries apart (CQRS): commands lead to events, queries look at what the events have made.
//!
//! Invariant: a query asks neither the log nor the bus; a model is projected once, whoever asks (decision D34).
//! Reference: FAB-112; Young, "CQRS Documents" (2010).

use std::sync::Arc;

use csf_core::port::{EventLog, ExpectedVersion};

use crate::aggregate::{Aggregate, CommandError, Executed, Repository, Request};
use crate::model::{ModelError, Projection, Rows};

/// Lets aggregates of one kind decide commands.
#[derive(Debug)]
pub struct CommandHandler<A> {
    aggregates: Repository<A>,
}

impl<A: Aggregate> CommandHandler<A> {
    /// On the log of an event store, which tells of what follows.
    #[must_use]
    pub fn new(storage: Arc<dyn EventLog>) -> Self {
        Self { aggregates: Repository::new(storage) }
    }

    /// The aggregates.
    #[must_use]
    pub const fn aggregates(&self) -> &Repository<A> {
        &self.aggregates
    }

    /// Has an aggregate of this version decide a command, and stores what follows. With [`ExpectedVersion::Any`] it decides anew when others
    /// were faster.
    ///
    /// Cancel safety: a dropped call may still be carried out; under the same [`Request::id`] it can be repeated.
    ///
    /// # Errors
    /// [`CommandError`]; [`csf_core::port::Refused::WrongVersion`] within it when the aggregate is of another version.
    pub async fn handle_command(
        &self,
        command: A::Command,
        aggregate_id: &str,
        expected_version: ExpectedVersion,
        request: &Request,
    ) -> Result<Executed<A>, CommandError<A::Refusal>> {
        self.aggregates.execute_expecting(aggregate_id, command, expected_version, request).await
    }
}

/// What is asked of a read model.
pub trait Query {
    /// The answer.
    type Result;

    /// Looks at the rows.
    ///
    /// # Errors
    /// [`ModelError`].
    fn run(&self, rows: &mut dyn Rows) -> Result<Self::Result, ModelError>;
}

/// The rows of a read model, kept up to date by its projection.
#[derive(Debug)]
pub struct ReadModelStore {
    projection: Projection,
}

impl ReadModelStore {
    /// Of a projection that runs.
    #[must_use]
    pub const fn new(projection: Projection) -> Self {
        Self { projection }
    }

    /// Waits until the rows show the event at this position: who waits for their own command's reads their own write. False when the
    /// projection ended before. Cancel safe.
    pub async fn update_from_event(&self, position: u64) -> bool {
        self.projection.reaches(position).await
    }

    /// The answer, and the position it is true for.
    ///
    /// # Errors
    /// [`ModelError`] of the query or of the store.
    pub fn query<Q: Query>(&self, query: &Q) -> Result<(Q::Result, u64), ModelError> {
        self.projection.query(|rows| query.run(rows))
    }
}

/// Answers queries.
#[derive(Debug)]
pub struct QueryHandler {
    read_models: Arc<ReadModelStore>,
}

impl QueryHandler {
    /// From these rows.
    #[must_use]
    pub const fn new(read_models: Arc<ReadModelStore>) -> Self {
        Self { read_models }
    }

    /// The answer as of now.
    ///
    /// # Errors
    /// As [`ReadModelStore::query`].
    pub fn handle_query<Q: Query>(&self, query: &Q) -> Result<Q::Result, ModelError> {
        self.read_models.query(query).map(|(answer, _)| answer)
    }
}
