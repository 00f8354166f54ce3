//! Replay: the recorded deliveries through the same components on virtual time, every output compared with the recorded one.
//!
//! The journal is read once in position order. A source packet waits in a window until it was delivered; a delivery runs its component
//! at the recorded stamp; an effect must equal the oldest output the component made for that lane, header and payload, bit for bit.
//! Where the journal tells that the node changed its configuration, the replay does ([`crate::runs`]). No clock is read. Reference for the idea: Schneider, "Implementing Fault-Tolerant Services Using the State Machine Approach" (1990).

mod engine;
mod lanes;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use csf_core::port::{JournalError, JournalReader, LaneInfo, Scan, StoredPacket};
use csf_core::{AnyPayload, Component, Header, Stamp};
use serde::{Deserialize, Serialize};

use crate::Catalogue;
use crate::exec::{Failing, Timers};
use crate::runs::{Chapter, chapters};
use crate::topology::Topology;
use engine::Engine;
use lanes::PlayedLanes;

/// Packets read from the journal at once.
const CHUNK: usize = 4096;

/// A replay that could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal speaks of something the topology lacks.
    #[error("the journal does not fit the topology: {reason}")]
    Mismatch {
        /// What is missing.
        reason: String,
    },
}

/// The first place where a replayed output differs from the recorded one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Journal position of the recorded packet.
    pub position: u64,
    /// Its id.
    pub id: String,
    /// Its topic.
    pub topic: String,
    /// The component that wrote it.
    pub author: String,
    /// What differs: `header`, `payload`, `outcome`, `missing` or `unexpected`.
    pub what: String,
    /// As recorded (JSON where it can be decoded).
    pub recorded: serde_json::Value,
    /// As replayed.
    pub replayed: serde_json::Value,
}

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayReport {
    /// Packets read from the journal.
    pub packets: u64,
    /// Source packets among them.
    pub inputs: u64,
    /// Deliveries repeated.
    pub deliveries: u64,
    /// Outputs compared.
    pub compared: u64,
    /// Outputs equal bit for bit.
    pub equal: u64,
    /// Outputs made again that the journal no longer got before it ended.
    pub unrecorded: u64,
    /// The first difference.
    pub first_difference: Option<Difference>,
}

/// A component as it stands after its recorded deliveries.
pub struct Replayed {
    /// The state machine.
    pub component: Box<dyn Component>,
    /// Its timers.
    pub timers: Timers,
    /// Events that failed and are to be tried again.
    pub failing: Failing,
    /// Recorded packets it reads that were not delivered, in stamp order.
    pub undelivered: Vec<(LaneInfo, Header, AnyPayload)>,
}

/// The end of a replay: the report and what a node needs to go on from there.
pub struct Resumption {
    /// What was found.
    pub report: ReplayReport,
    /// Components by index.
    pub components: Vec<Replayed>,
    /// Outputs that were made before the crash but not recorded: to be appended to their old lanes.
    pub missing: Vec<StoredPacket>,
    /// Lanes of such outputs that the journal does not describe: nothing of them was recorded.
    pub missing_lanes: Vec<LaneInfo>,
    /// Newest stamp seen.
    pub newest: Stamp,
    /// Source packets by (author, topic): where each source goes on.
    pub recorded: BTreeMap<(String, String), u64>,
}

/// Replays a journal under the configurations it tells of, up to and including `until`. `progress` gets the position from time to time.
///
/// # Errors
/// [`ReplayError`]. A difference is not an error; it is in the report.
pub fn replay(
    reader: &mut dyn JournalReader,
    catalogue: &Catalogue,
    until: Option<Stamp>,
    progress: &mut dyn FnMut(u64),
) -> Result<Resumption, ReplayError> {
    let mut goes_on = |position| {
        progress(position);
        true
    };
    replay_while(reader, catalogue, until, None, &mut goes_on).map(|whole| whole.expect("nothing ended it"))
}

/// [`replay`] that ends early, with `None`, when `goes_on` says no at some position. With `then`, its components go on under that
/// configuration.
pub(crate) fn replay_while(
    reader: &mut dyn JournalReader,
    catalogue: &Catalogue,
    until: Option<Stamp>,
    then: Option<&Topology>,
    goes_on: &mut dyn FnMut(u64) -> bool,
) -> Result<Option<Resumption>, ReplayError> {
    let lanes = PlayedLanes::new(reader.lanes()?, catalogue);
    let is_wanted = |stamp: Stamp| until.is_none_or(|until| stamp <= until);
    let mut chapters = chapters(reader)?.into_iter().filter(|chapter| is_wanted(chapter.stamp)).peekable();
    let mut engine = Engine::new(lanes, catalogue);
    let mut from_position = 1;
    loop {
        let next_chapter = chapters.peek().map_or(u64::MAX, |chapter| chapter.position);
        let scan = Scan { from_position, limit: CHUNK, lanes: Vec::new() };
        let (mut is_due, mut seen, mut taken) = (false, 0_usize, Ok(()));
        let mut look = |packet: &StoredPacket| {
            is_due = packet.position > next_chapter;
            if is_due {
                return ControlFlow::Break(());
            }
            seen += 1;
            from_position = packet.position + 1;
            if is_wanted(packet.header.stamp) {
                taken = engine.take(packet);
            }
            if taken.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        };
        reader.visit(&scan, &mut look)?;
        taken?;
        match chapters.next_if(|_| is_due) {
            Some(chapter) => engine.begin(&chapter, reader)?,
            None if seen == 0 => break,
            None if !goes_on(from_position - 1) => return Ok(None),
            None => {}
        }
    }
    for chapter in chapters {
        engine.begin(&chapter, reader)?;
    }
    if let Some(topology) = then {
        engine.count_made();
        let chapter = Chapter::start(topology, u32::MAX, "", engine.newest);
        engine.reconfigure(topology.clone(), &chapter);
    }
    engine.finish().map(Some)
}
