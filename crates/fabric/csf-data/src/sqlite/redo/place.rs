//! The journals that are open in this process, so that their readers wait for what was acknowledged, however they were opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::applier::Applied;

static WRITERS: Mutex<BTreeMap<Place, Arc<Applied>>> = Mutex::new(BTreeMap::new());

fn writers() -> MutexGuard<'static, BTreeMap<Place, Arc<Applied>>> {
    WRITERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A directory by the one name it has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::sqlite) struct Place(PathBuf);

impl Place {
    /// Of a directory that is there.
    pub(in crate::sqlite) fn of(directory: &Path) -> Self {
        Self(directory.canonicalize().unwrap_or_else(|_| directory.to_owned()))
    }

    /// How far the writer in this process is, if there is one.
    pub(in crate::sqlite) fn writer(&self) -> Option<Arc<Applied>> {
        writers().get(self).cloned()
    }

    pub(super) fn enter(&self, applied: Arc<Applied>) {
        writers().insert(self.clone(), applied);
    }

    pub(super) fn leave(&self) {
        writers().remove(self);
    }
}
