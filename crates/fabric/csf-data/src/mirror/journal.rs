//! The writing side: planned against the repeat, stored on the server or spooled, then repeated.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use csf_core::Incarnation;
use csf_core::port::{Batch, Durability, Journal, JournalError, JournalReader, OutageWatch, Receipt};

use super::outlet::{Failed, Kept, Outlet};
use super::source::{NotStored, Opened, Source, Stopped};
use super::spool::Spool;
use crate::commit::Commit;
use crate::plan::Planner;
use crate::sqlite::{Entry, Mark, SqliteIndex, damaged};

/// A journal on a server, with its repeat in a directory of this machine.
pub struct MirroredJournal {
    /// Without credentials: the errors name it.
    place: PathBuf,
    index: SqliteIndex,
    planner: Planner,
    durability: Durability,
    incarnation: Incarnation,
    outlet: Outlet,
}

impl MirroredJournal {
    /// From a source that has fenced every other writer. What the spool has is sent first; a call waits `patience` for the server, where
    /// nothing is spooled.
    pub(crate) fn begin(
        opened: Opened,
        spool: Option<Spool>,
        is_spooling: bool,
        patience: Duration,
    ) -> Result<Self, JournalError> {
        let Opened { mut source, mut index, mut mark } = opened;
        let place = source.place();
        let mut spool = spool;
        if let Some(spool) = &mut spool {
            send(&mut *source, &mut index, spool, patience, &mut mark)?;
        }
        if index.position()? != mark.position {
            let reason = format!("it ends at {}, the server at {}", index.position()?, mark.position);
            return Err(damaged(&place, "the repeat on this machine", reason));
        }
        let (durability, incarnation) = (source.durability(), source.incarnation());
        let planner = Planner::new(mark.position, index.lanes()?, durability);
        let outlet = Outlet::start(source, spool.filter(|_| is_spooling), patience);
        let outlet = outlet.map_err(|e| failed(&place, format!("no thread for it: {e}")))?;
        Ok(Self { place, index, planner, durability, incarnation, outlet })
    }
}

/// Sends what an earlier start left.
fn send(
    source: &mut dyn Source,
    index: &mut SqliteIndex,
    spool: &mut Spool,
    patience: Duration,
    mark: &mut Mark,
) -> Result<(), JournalError> {
    let place = source.place();
    if !spool.is_empty() {
        tracing::info!(commits = spool.count(), bytes = spool.bytes(), "sending what an earlier start could not");
    }
    while let Some(commit) = spool.first()? {
        if commit.after != mark.position {
            return Err(astray(spool, commit.after, mark.position));
        }
        *mark = source.store(&commit, patience, true).map_err(|error| match error {
            NotStored::Away { reason, .. } => failed(&place, reason),
            NotStored::Refused(error) => error,
            NotStored::Over(stopped) => stopped.error(&place),
        })?;
        let is_new = commit.position() > index.position()?;
        let entry = Entry { blocks: &commit.blocks, steps: &commit.steps, packets_end: commit.packets_end };
        index.repeat(if is_new { std::slice::from_ref(&entry) } else { &[] }, Some(mark))?;
        spool.pop(commit.after)?;
    }
    Ok(())
}

/// Whether what the repeat has beyond `position` is what waits to be sent, and nothing else.
pub(crate) fn is_explained(index: &SqliteIndex, position: u64, spool: Option<&Spool>) -> Result<bool, JournalError> {
    let (mut explained, end) = (position, index.position()?);
    while explained < end {
        let Some(commit) = spool.map_or(Ok(None), |spool| spool.next(explained))? else { return Ok(false) };
        if commit.after != explained {
            return Ok(false);
        }
        explained = commit.position();
    }
    Ok(true)
}

/// The server's log has this commit; if it waited here, it waits no more.
pub(crate) fn arrived(spool: &mut Spool, commit: &Commit<'_>) -> Result<(), JournalError> {
    if spool.is_empty() {
        return Ok(());
    }
    match spool.first()? {
        Some(first) if first.after >= commit.position() => Ok(()),
        Some(first) if first.after == commit.after && first.encode() == commit.encode() => spool.pop(first.after),
        Some(first) => Err(astray(spool, first.after, commit.position())),
        None => Ok(()),
    }
}

/// What waits here does not continue the server's log.
fn astray(spool: &Spool, after: u64, position: u64) -> JournalError {
    let reason = format!(
        "{} commits acknowledged on this machine were not sent before the log went on without them: they follow position {after}, it ends at \
         {position}; to start without them, move this file away and keep it",
        spool.count()
    );
    damaged(&spool.place(), format!("the commit after {after}"), reason)
}

fn failed(place: &Path, reason: String) -> JournalError {
    JournalError::Storage { directory: place.to_owned(), action: "written", reason, full: false }
}

impl Journal for MirroredJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        let Self { place, index, planner, outlet, .. } = self;
        let plan = planner.plan(&mut index.lookup(), batch)?;
        let mut durability = self.durability;
        if !plan.is_empty() {
            let commit = Commit {
                after: planner.position(),
                packets_end: plan.packets_end,
                blocks: Cow::Borrowed(&plan.blocks),
                steps: Cow::Borrowed(&plan.steps),
            };
            let kept = outlet.keep(&commit).map_err(|failed| match failed {
                Failed::Refused(error) => error,
                Failed::Stopped(stopped) => stopped.error(place),
            })?;
            let mark = match kept {
                Kept::There(mark) => Some(mark),
                Kept::Here(mark) => {
                    durability = durability.min(Durability::Disk);
                    mark
                }
            };
            let entry = Entry { blocks: &plan.blocks, steps: &plan.steps, packets_end: plan.packets_end };
            if let Err(error) = index.repeat(&[entry], mark.as_ref()) {
                let reason = format!("the commit is stored, but the repeat on this machine failed: {error}");
                let stopped = Stopped::Unknown { reason };
                outlet.stop(stopped.clone());
                return Err(stopped.error(place));
            }
        }
        let mut appends = planner.done(plan);
        for appended in appends.iter_mut().flatten() {
            appended.durability = durability;
        }
        Ok(Receipt { position: planner.position(), durability, appends })
    }

    fn position(&self) -> u64 {
        self.planner.position()
    }

    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(self.index.reader()?))
    }

    fn outage(&self) -> OutageWatch {
        self.outlet.watch()
    }
}

impl Drop for MirroredJournal {
    fn drop(&mut self) {
        if let Some(mark) = self.outlet.reached()
            && let Err(error) = self.index.repeat(&[], Some(&mark))
        {
            tracing::debug!(%error, "the next start reads a part of the log again");
        }
    }
}

impl fmt::Debug for MirroredJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, durability, incarnation, .. } = self;
        f.debug_struct("MirroredJournal")
            .field("place", place)
            .field("durability", durability)
            .field("incarnation", incarnation)
            .finish_non_exhaustive()
    }
}
