//! Sagas: steps with what takes them back, should a later one fail.
//!
//! Reference: Garcia-Molina and Salem, "Sagas" (1987).

use csf_core::port::Json;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::WorkflowContext;
use super::context::json;
use crate::{ActivityOptions, Failure};

/// What takes back the steps taken so far. It is as durable as the run: a restart replays it.
#[derive(Debug)]
pub struct Saga {
    cx: WorkflowContext,
    taken: Vec<Compensation>,
}

#[derive(Debug)]
struct Compensation {
    activity: String,
    input: Json,
    options: ActivityOptions,
}

impl Saga {
    pub(super) fn new(cx: WorkflowContext) -> Self {
        Self { cx, taken: Vec::new() }
    }

    /// From now on this activity takes the newest step back. Said before the step is taken, so that a step that failed half done is
    /// taken back too.
    ///
    /// # Errors
    /// [`crate::FailureKind::BadPayload`].
    pub fn compensate<I: Serialize + ?Sized>(&mut self, activity: &str, input: &I) -> Result<(), Failure> {
        self.compensate_with(activity, input, ActivityOptions::default())
    }

    /// [`Saga::compensate`] with times and tries of its own.
    ///
    /// # Errors
    /// [`crate::FailureKind::BadPayload`].
    pub fn compensate_with<I: Serialize + ?Sized>(
        &mut self,
        activity: &str,
        input: &I,
        options: ActivityOptions,
    ) -> Result<(), Failure> {
        let input = json("input", input)?;
        self.taken.push(Compensation { activity: activity.to_owned(), input, options });
        Ok(())
    }

    /// Takes everything back, the newest step first, also while the run is asked to end. A compensation that fails does not keep the others
    /// from being done; the failures, in that order.
    pub async fn undo(self) -> Vec<(String, Failure)> {
        let cx = self.cx.shielded();
        let mut failed = Vec::new();
        for Compensation { activity, input, options } in self.taken.into_iter().rev() {
            if let Err(failure) = cx.activity_with::<_, IgnoredAny>(&activity, &input, options).await {
                failed.push((activity, failure));
            }
        }
        failed
    }
}
