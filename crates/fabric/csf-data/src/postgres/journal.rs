//! The writing side: one per schema, one transaction per append.

use std::borrow::Cow;
use std::path::PathBuf;

use csf_core::Incarnation;
use csf_core::port::{Batch, Journal, JournalError, JournalReader, Receipt};

use super::lookup::PostgresLookup;
use super::options::PostgresOptions;
use super::reader::PostgresReader;
use super::writer::{Deadline, Outcome, Writer};
use crate::commit::Commit;
use crate::plan::Planner;

/// The journal of a node in a schema of a PostgreSQL database.
///
/// Receipts say what the server promises: `Quorum` with synchronous standbys, `Disk` alone, `Os` when its `fsync` is off, `Memory` when its
/// `synchronous_commit` is. A connection that is lost is made again, within the options' patience; the append under way is stored once.
#[derive(Debug)]
pub struct PostgresJournal {
    writer: Writer,
    planner: Planner,
    /// Why it is not known what the server holds.
    unknown: Option<String>,
}

impl PostgresJournal {
    /// Opens the journal as the next incarnation, creating schema and tables when they are absent. The database exists; its encoding is UTF8.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while another writer has it, [`JournalError::NewerFormat`], [`JournalError::Damaged`], or
    /// [`JournalError::Storage`] when the server cannot be used.
    pub fn open(options: &PostgresOptions) -> Result<Self, JournalError> {
        let (writer, head) = Writer::open(options.clone())?;
        let lanes = PostgresReader::open(options)?.lanes()?;
        let planner = Planner::new(head.position, lanes, writer.durability);
        Ok(Self { writer, planner, unknown: None })
    }

    /// The URL without its password, and the schema.
    #[must_use]
    pub fn place(&self) -> PathBuf {
        self.writer.options.place()
    }

    /// A reader of this journal, also usable after it is closed.
    ///
    /// # Errors
    /// As [`PostgresReader::open`].
    pub fn postgres_reader(&self) -> Result<PostgresReader, JournalError> {
        PostgresReader::open(&self.writer.options)
    }
}

impl Journal for PostgresJournal {
    fn append(&mut self, batch: &Batch) -> Result<Receipt, JournalError> {
        if let Some(reason) = &self.unknown {
            return Err(JournalError::Unsynced { directory: self.place(), reason: reason.clone() });
        }
        let Self { writer, planner, unknown } = self;
        let options = writer.options.clone();
        let mut deadline = Deadline::after(options.patience);
        let position = planner.position();
        let plan = loop {
            let session = writer.session(position, &mut deadline)?;
            let planned = planner.plan(&mut PostgresLookup::new(session, &options), batch);
            // Nothing was written yet: a lost connection costs another look.
            if planned.is_ok() || !writer.is_lost() || !deadline.pause() {
                break planned?;
            }
        };
        if !plan.is_empty() {
            let commit = Commit {
                after: position,
                packets_end: plan.packets_end,
                blocks: Cow::Borrowed(&plan.blocks),
                steps: Cow::Borrowed(&plan.steps),
            };
            match writer.commit(&commit, &mut deadline, true) {
                Outcome::Done => {}
                Outcome::Failed(error) => return Err(error),
                Outcome::Unknown(error @ JournalError::Fenced { .. }) => return Err(error),
                Outcome::Unknown(error) => {
                    let reason = format!("the answer to a commit was lost: {error}");
                    *unknown = Some(reason.clone());
                    return Err(JournalError::Unsynced { directory: options.place(), reason });
                }
            }
        }
        let durability = writer.durability;
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
        self.writer.incarnation
    }

    fn reader(&self) -> Result<Box<dyn JournalReader>, JournalError> {
        Ok(Box::new(self.postgres_reader()?))
    }
}
