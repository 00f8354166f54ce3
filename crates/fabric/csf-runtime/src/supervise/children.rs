//! A supervisor's children in start order.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::process::Process;
use super::{ChildSpec, Pid};

/// Where a child is.
pub(super) enum State {
    Stopped,
    /// It should run; its last start failed, or it waits out a pause.
    Restarting,
    Running(Process),
}

pub(super) struct Child {
    pub(super) spec: ChildSpec,
    pub(super) state: State,
    /// Failures in a row, for the back-off.
    pub(super) failures: u32,
    pub(super) started_at: Duration,
}

/// Children by place; a place is never used twice, so places are start order.
#[derive(Default)]
pub(super) struct Children {
    places: BTreeMap<u64, Child>,
    by_id: HashMap<Arc<str>, u64>,
    by_pid: HashMap<Pid, u64>,
    next: u64,
}

impl Children {
    /// Adds a child at the end; its name must be free.
    pub(super) fn add(&mut self, spec: ChildSpec) -> u64 {
        let place = self.next;
        self.next += 1;
        self.by_id.insert(spec.id.clone(), place);
        self.places.insert(place, Child { spec, state: State::Stopped, failures: 0, started_at: Duration::ZERO });
        place
    }

    pub(super) fn get(&self, place: u64) -> Option<&Child> {
        self.places.get(&place)
    }

    pub(super) fn get_mut(&mut self, place: u64) -> Option<&mut Child> {
        self.places.get_mut(&place)
    }

    pub(super) fn place_of(&self, id: &str) -> Option<u64> {
        self.by_id.get(id).copied()
    }

    pub(super) fn place_of_pid(&self, pid: Pid) -> Option<u64> {
        self.by_pid.get(&pid).copied()
    }

    /// Gives a child its state and returns the process it had.
    pub(super) fn set(&mut self, place: u64, state: State) -> Option<Process> {
        let child = self.places.get_mut(&place)?;
        if let State::Running(process) = &state {
            self.by_pid.insert(process.pid, place);
        }
        let State::Running(before) = std::mem::replace(&mut child.state, state) else { return None };
        self.by_pid.remove(&before.pid);
        Some(before)
    }

    pub(super) fn remove(&mut self, place: u64) {
        self.set(place, State::Stopped);
        if let Some(child) = self.places.remove(&place) {
            self.by_id.remove(&child.spec.id);
        }
    }

    /// Places in start order, from `first` on.
    pub(super) fn from(&self, first: u64) -> Vec<u64> {
        self.places.range(first..).map(|(&place, _)| place).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Child> {
        self.places.values()
    }
}
