//! Events that a group has set aside: a stream of notes, and how they come back.

use csf_core::Stamp;
use csf_core::port::{Append, EventLog, Filter, Json, LogError, NewEvent, Origin, Read, StoredEvent};
use serde::{Deserialize, Serialize};

use super::{because_of, note_id};

/// Category of the streams of notes.
pub const PARKED_CATEGORY: &str = "csf.parked";
const PARKED: &str = "parked";
const REDRIVEN: &str = "redriven";

pub(super) fn stream(group: &str) -> String {
    format!("{PARKED_CATEGORY}-{group}")
}

/// What is noted of an event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParkedReason {
    /// Position of the event.
    pub position: u64,
    /// Its stream.
    pub stream: String,
    /// Its type.
    pub kind: String,
    /// Why.
    pub reason: String,
    /// Tries it had.
    pub tries: u32,
}

#[derive(Serialize, Deserialize)]
struct Redriven {
    position: u64,
}

/// An event that a group has set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    /// The group.
    pub group: String,
    /// When it was set aside.
    pub stamp: Stamp,
    /// The note.
    pub reason: ParkedReason,
}

pub(super) fn note(group: &str, event: &StoredEvent, tries: u32, reason: &str, stamp: Stamp) -> NewEvent {
    let (stream, kind) = (event.stream.clone(), event.kind.clone());
    let note = ParkedReason { position: event.position, stream, kind, reason: reason.to_owned(), tries };
    let data = Json::of(&note).expect("texts have a JSON form");
    NewEvent::new(self::stream(group), PARKED, stamp, data).with_origin(because_of(event, group))
}

/// The event that a redrive brings back.
pub(super) fn redriven(event: &StoredEvent) -> Option<u64> {
    (event.kind == REDRIVEN).then(|| event.parse::<Redriven>().ok()).flatten().map(|redriven| redriven.position)
}

/// What is set aside now, oldest first: of one group, or of all.
///
/// # Errors
/// [`LogError`].
pub async fn parked(log: &dyn EventLog, group: Option<&str>) -> Result<Vec<Parked>, LogError> {
    let read = match group {
        Some(group) => Read::stream(stream(group)),
        None => Read::log(Filter::category(PARKED_CATEGORY)),
    };
    let mut parked: Vec<Parked> = Vec::new();
    for event in log.read(read).await?.events {
        let group = event.stream[PARKED_CATEGORY.len()..].trim_start_matches('-').to_owned();
        match redriven(&event) {
            Some(position) => parked.retain(|known| known.group != group || known.reason.position != position),
            None => {
                let Ok(reason) = event.parse() else { continue };
                parked.push(Parked { group, stamp: event.stamp, reason });
            }
        }
    }
    Ok(parked)
}

/// Brings an event back to its group; whether it was set aside.
///
/// # Errors
/// [`LogError`].
pub async fn redrive(
    log: &dyn EventLog,
    group: &str,
    position: u64,
    stamp: Stamp,
    author: &str,
) -> Result<bool, LogError> {
    let parked = parked(log, Some(group)).await?;
    let Some(known) = parked.iter().rev().find(|known| known.reason.position == position) else { return Ok(false) };
    // One redrive per time it was parked.
    let id = note_id(group, position, &format!("redrive/{}", known.stamp));
    let data = Json::of(&Redriven { position }).expect("numbers have a JSON form");
    let origin = Origin { author: Some(author.to_owned()), ..Origin::default() };
    log.append(Append::from(NewEvent::new(stream(group), REDRIVEN, stamp, data).with_id(id).with_origin(origin)))
        .await?;
    Ok(true)
}
