//! The components of a dispatcher, where they are also found while a handler runs.
//!
//! The dispatcher holds the lock from its start to its end, except while a watched handler runs: it then holds the component and its
//! outputs, and nothing else. So when the handler does not return, everything else can be taken on by another thread, and whoever has the
//! lock decides whether the handler came back in time.
//! Invariant: a turn that was revoked commits nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use csf_core::Stamp;

use super::runner::Runner;
use super::stats::{RunState, bump};
use crate::{Delivery, Input, Outcome};

/// Shared by a dispatcher and who watches it.
pub(super) struct Deck {
    crew: Mutex<Crew>,
    /// Changes, under the lock, when the dispatcher is abandoned: who comes back late needs no lock to see it, which its successor has.
    epoch: AtomicU64,
}

/// A dispatcher's components.
pub(super) struct Crew {
    pub(super) runners: Vec<Runner>,
    /// The handler that runs.
    lent: Option<Lent>,
    /// Handlers that ran under watch.
    lends: u64,
}

#[derive(Clone, Copy)]
struct Lent {
    at: usize,
    input: Input,
    delivered_at: Stamp,
}

/// Who holds the lock.
pub(super) type Held<'a> = MutexGuard<'a, Crew>;

/// What a look at a dispatcher showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// No watched handler runs.
    AtRest,
    /// The handler of this number runs, and may take so long.
    Handling(u64, Duration),
}

/// A handler that was given up.
pub(crate) struct Abandoned {
    /// Whose it is.
    pub(crate) component: String,
    /// What the delivery log is to say.
    pub(crate) delivery: Delivery,
    /// The newest stamp of the dispatcher.
    pub(crate) newest: Stamp,
}

impl Deck {
    pub(super) fn new(runners: Vec<Runner>) -> Self {
        Self { crew: Mutex::new(Crew { runners, lent: None, lends: 0 }), epoch: AtomicU64::new(0) }
    }

    pub(super) fn hold(&self) -> Held<'_> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_hold(&self) -> Option<Held<'_>> {
        match self.crew.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(held)) => Some(held.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Without waiting: who cannot have the lock knows that no handler runs under watch.
    pub(super) fn look(&self) -> Look {
        let Some(held) = self.try_hold() else { return Look::AtRest };
        let handling = held.lent.and_then(|lent| Some((held.lends, held.runners.get(lent.at)?.stuck_after?)));
        handling.map_or(Look::AtRest, |(number, limit)| Look::Handling(number, limit))
    }

    /// Gives the `number`th watched handler up, and its component; `None` when it has ended.
    pub(super) fn abandon(&self, number: u64, limit: Duration) -> Option<Abandoned> {
        let mut held = self.try_hold()?;
        let crew = &mut *held;
        let Lent { at, input, delivered_at } = crew.lent.filter(|_| crew.lends == number)?;
        crew.lent = None;
        self.epoch.fetch_add(1, Ordering::SeqCst);
        for runner in &mut crew.runners {
            // The fresh dispatcher has another delivery log.
            runner.checkpoint = None;
        }
        let runner = &mut crew.runners[at];
        let reason = format!("a handler did not return within {limit:?}");
        tracing::error!(component = runner.name, reason, "the component is stuck and given up; the others go on");
        bump(&runner.stats.faults, 1);
        runner.stats.set_last_fault(reason.clone());
        runner.give_up(RunState::Stuck);
        (runner.observer)(&runner.name, "stuck", &reason);
        runner.bury(input, delivered_at, "stuck", 1, &reason);
        let delivery = Delivery { component: runner.index, input, outcome: Outcome::Skipped };
        Some(Abandoned { component: runner.name.clone(), delivery, newest: delivered_at })
    }
}

/// A runner in its turn.
pub(super) struct Seat<'a> {
    deck: &'a Deck,
    held: Option<Held<'a>>,
    at: usize,
    epoch: u64,
}

impl<'a> Seat<'a> {
    pub(super) fn new(deck: &'a Deck, held: Held<'a>, at: usize) -> Self {
        Self { deck, held: Some(held), at, epoch: deck.epoch.load(Ordering::Relaxed) }
    }

    #[inline]
    pub(super) fn runner(&mut self) -> &mut Runner {
        let held = self.held.as_mut().expect("a seat is held but while it is lent");
        &mut held.runners[self.at]
    }

    /// Runs a watched handler; true when it was given up meanwhile: then nothing may be touched any more.
    pub(super) fn lend<R>(&mut self, input: Input, delivered_at: Stamp, handler: impl FnOnce() -> R) -> (R, bool) {
        if let Some(mut held) = self.held.take() {
            held.lent = Some(Lent { at: self.at, input, delivered_at });
            held.lends += 1;
        }
        let result = handler();
        loop {
            let held = self.deck.try_hold();
            if self.deck.epoch.load(Ordering::SeqCst) != self.epoch {
                return (result, true);
            }
            if let Some(mut held) = held {
                held.lent = None;
                self.held = Some(held);
                return (result, false);
            }
            // Somebody looks, for a moment.
            std::hint::spin_loop();
        }
    }

    /// `None` when it was given up.
    pub(super) fn leave(self) -> Option<Held<'a>> {
        self.held
    }
}
