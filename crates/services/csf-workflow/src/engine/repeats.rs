//! What a request under a known name is answered: as the first time.

use csf_core::port::{EventId, Json, Read};

use super::input::Input;
use super::{Shared, of_stream};
use crate::history::HistoryEvent;
use crate::{Failure, WorkflowError};

/// Answers who would start a run that is there: the same request has done it.
pub(super) async fn exists(engine: &Shared, stream: &str, starts: Vec<Input>) -> Result<(), WorkflowError> {
    for input in starts {
        if let Input::Start { id, done, .. } = input {
            let is_same = known(engine, id).await?;
            let error = || WorkflowError::Exists { id: of_stream(stream).0.to_owned() };
            // Who asked may have gone away.
            let _ = done.send(if is_same { Ok(false) } else { Err(error()) });
        }
    }
    Ok(())
}

/// Whether an event of this name is in the log.
pub(super) async fn known(engine: &Shared, id: Option<EventId>) -> Result<bool, WorkflowError> {
    let Some(id) = id else { return Ok(false) };
    Ok(!engine.log.read(Read::named(id)).await?.events.is_empty())
}

/// What is known of an update: nothing, that it was accepted, or its answer.
pub(super) async fn answered(
    engine: &Shared,
    stream: &str,
    id: EventId,
) -> Result<Option<Option<Result<Json, Failure>>>, WorkflowError> {
    let named = engine.log.read(Read::named(id)).await?.events;
    let Some(accepted) = named.first() else { return Ok(None) };
    let update = id.to_string();
    let answer = engine.history(&accepted.stream).await?.into_iter().find_map(|entry| match entry.event {
        HistoryEvent::UpdateCompleted { id, outcome } if id == update => Some(outcome),
        _ => None,
    });
    if answer.is_none() && accepted.stream != stream {
        let (id, how) = (of_stream(stream).0.to_owned(), "before it answered".to_owned());
        return Err(WorkflowError::Ended { id, how });
    }
    Ok(Some(answer))
}
