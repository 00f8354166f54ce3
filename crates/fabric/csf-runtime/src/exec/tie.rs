//! A component below a supervisor: it is held when it fails or its supervisor wants it stopped, and goes on when that starts it again.
//!
//! A restart loses no state. The one that failed gets back the state it had before the event, as one without a supervisor does; one that is
//! restarted with it gets a fresh instance that takes its state over. The delivery log tells that, so a replay does the same.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::handler::{panic_text, renew};
use super::runner::Runner;
use super::stats::{RunState, bump};
use crate::Input;
use crate::supervise::ExitReason;

/// How a component is, for its supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    /// It works, or could.
    Whole,
    /// It panicked and has no state yet.
    Broken(Arc<str>),
    /// It panicked, and has the state of before again.
    Mended(Arc<str>),
    /// It does not come back until its configuration changes or the node starts again.
    Lost(Arc<str>),
}

/// Between a component and the child of its supervisor that stands for it. As long-lived as the component's place.
pub struct Tie {
    condition: watch::Sender<Condition>,
    is_given_up: AtomicBool,
    /// Whether its supervisor knows of its failure.
    is_told: AtomicBool,
    /// Whether its next start is asked for by a change of the configuration.
    is_replaced: AtomicBool,
}

impl Default for Tie {
    fn default() -> Self {
        Self {
            condition: watch::Sender::new(Condition::Whole),
            is_given_up: AtomicBool::default(),
            is_told: AtomicBool::default(),
            is_replaced: AtomicBool::default(),
        }
    }
}

impl Tie {
    /// Waits until it has failed, and says how. Cancel safe.
    pub(crate) async fn failed(&self) -> ExitReason {
        let mut condition = self.condition.subscribe();
        // The sender lives in this tie.
        let found = condition.wait_for(|condition| *condition != Condition::Whole).await;
        match found.map(|condition| condition.clone()) {
            Ok(Condition::Broken(reason) | Condition::Mended(reason)) => ExitReason::Panicked(reason),
            Ok(Condition::Lost(reason)) => ExitReason::Failed(reason),
            Ok(Condition::Whole) | Err(_) => ExitReason::Killed,
        }
    }

    /// Waits until it has a state, or never gets one. Cancel safe.
    pub(crate) async fn settled(&self) {
        let mut condition = self.condition.subscribe();
        // As above.
        let _ = condition.wait_for(|condition| !matches!(condition, Condition::Broken(_))).await;
    }

    /// Its supervisor deals with whatever became of it.
    pub(crate) fn tell(&self) {
        self.is_told.store(true, Ordering::Release);
    }

    /// Whether it has failed and its supervisor does not know.
    pub(crate) fn is_untold(&self) -> bool {
        !self.is_told.load(Ordering::Acquire) && *self.condition.borrow() != Condition::Whole
    }

    /// Its next start is no restart.
    pub(crate) fn replace(&self) {
        self.is_replaced.store(true, Ordering::Release);
    }

    /// Its supervisor has given it up. Its dispatcher has to be told by [`Runner::give_up_with_group`].
    pub(crate) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire)
    }

    fn set(&self, condition: Condition) {
        if condition != Condition::Whole {
            self.is_told.store(false, Ordering::Release);
        }
        self.condition.send_replace(condition);
    }

    /// Begins again with a changed configuration.
    pub(crate) fn renew(&self) {
        self.is_given_up.store(false, Ordering::Release);
        self.set(Condition::Whole);
    }

    pub(super) fn break_off(&self, reason: &str) {
        self.set(Condition::Broken(reason.into()));
    }

    pub(super) fn lose(&self, reason: &str) {
        self.set(Condition::Lost(reason.into()));
    }

    /// Its state is there again.
    pub(super) fn mend(&self) {
        self.condition.send_if_modified(|condition| {
            let Condition::Broken(reason) = condition else { return false };
            *condition = Condition::Mended(reason.clone());
            true
        });
    }
}

/// What the start of a component came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    Runs,
    /// It has failed and waits for its state.
    NotYet,
    /// It was given up.
    StaysDown,
}

impl Runner {
    fn is_down(&self) -> bool {
        matches!(self.stats.state(), RunState::Failed | RunState::Stuck)
    }

    /// Gives it nothing more until its supervisor starts it again.
    pub(crate) fn hold(&mut self) {
        if !self.is_down() {
            self.is_held = true;
            self.stats.set_state(RunState::Restarting);
        }
    }

    /// Its supervisor starts it.
    pub(crate) fn start_again(&mut self) -> Again {
        let Some(tie) = self.tie.clone().filter(|tie| !tie.is_given_up() && !self.is_down()) else {
            return Again::StaysDown;
        };
        if self.is_broken {
            return Again::NotYet;
        }
        if self.is_held {
            let is_sound = *tie.condition.borrow() == Condition::Whole;
            if is_sound {
                self.renew();
            }
            self.go(!tie.is_replaced.load(Ordering::Acquire));
        }
        tie.is_replaced.store(false, Ordering::Release);
        tie.set(Condition::Whole);
        Again::Runs
    }

    /// Its supervisor has ended for good.
    pub(crate) fn give_up_with_group(&mut self) {
        if self.tie.as_ref().is_some_and(|tie| tie.is_given_up()) && !self.is_down() {
            self.is_held = false;
            self.give_up(RunState::Failed);
        }
    }

    /// The node stops and its supervisor is no more: it handles what it was given, by itself.
    pub(crate) fn untie(&mut self) {
        let Some(tie) = self.tie.take() else { return };
        if self.is_held && !tie.is_given_up() && !self.is_down() {
            if self.is_broken {
                // It goes on when it has its state.
                self.is_held = false;
            } else {
                self.go(true);
            }
        }
    }

    fn go(&mut self, is_restart: bool) {
        self.is_held = false;
        bump(&self.stats.restarts, u64::from(is_restart));
        self.stats.add_instance();
        self.stats.set_state(RunState::Running);
    }

    /// A fresh instance takes its state over.
    fn renew(&mut self) {
        let Some(machine) = &mut self.machine else { return };
        let Some(fresh) = renew(machine.component.as_ref(), &self.factory) else {
            tracing::warn!(
                component = self.name,
                "its snapshot does not restore to the same state: the instance stays"
            );
            (self.observer)(
                &self.name,
                "restored",
                "the instance stays: its snapshot does not restore to the same state",
            );
            return;
        };
        let before = std::mem::replace(&mut machine.component, fresh);
        // Also its drop is a stranger's code.
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(before))) {
            let fault = panic_text(panic.as_ref());
            tracing::warn!(component = self.name, fault, "an instance panicked as it went");
        }
        // One that was made anew is told as that: as good as this.
        self.untold.get_or_insert(Input::Renewal);
        self.checkpoint = None;
        (self.observer)(&self.name, "restored", "a fresh instance with the state it had");
    }
}
