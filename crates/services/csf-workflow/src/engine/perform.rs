//! Activities: one task per step, over all its tries.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use csf_core::Stamp;
use csf_core::port::{Json, within};
use futures_util::FutureExt;
use tokio::sync::watch;

use super::Shared;
use super::input::Input;
use crate::activity::Beats;
use crate::history::HistoryEvent;
use crate::run::PendingActivity;
use crate::{ActivityContext, ActivityKey, Failure, FailureKind, TimeoutKind};

/// Tries until the step has ended, or nobody waits for it any more.
pub(super) async fn perform(
    engine: Arc<Shared>,
    stream: Arc<str>,
    seq: u32,
    step: PendingActivity,
    mut cancelled: watch::Receiver<bool>,
) {
    let given_up = cancelled.clone();
    let outcome = {
        let tries = tries(&engine, &stream, seq, &step, &given_up);
        tokio::select! {
            biased;
            // An engine that is closed counts as nobody: its sender is gone.
            _ = cancelled.wait_for(|is| *is) => return,
            outcome = tries => outcome,
        }
    };
    let event = match outcome {
        Ok(result) => HistoryEvent::ActivityCompleted { seq, result },
        Err(failure) => HistoryEvent::ActivityFailed { seq, failure },
    };
    // A closed engine asks again when it is opened.
    let _ = engine.deliver(&stream, Input::Happened { event, id: None, done: None });
}

async fn tries(
    engine: &Arc<Shared>,
    stream: &Arc<str>,
    seq: u32,
    step: &PendingActivity,
    cancelled: &watch::Receiver<bool>,
) -> Result<Json, Failure> {
    let now = || (engine.world.clock)();
    let timer = &*engine.world.timer;
    let nanos = |span: Duration| u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    let end = step.options.schedule_to_close.map(|span| step.scheduled_at.after(nanos(span)));
    let left = |end: Option<Stamp>| end.map(|end| Duration::from_nanos(end.since(now())));
    let too_late = || Failure::timed_out(TimeoutKind::ScheduleToClose, "all tries together took too long");
    let beats = Arc::new(Beats::default());
    let mut next_at = step.next_at;
    for attempt in step.failed + 1.. {
        let pause = Duration::from_nanos(next_at.since(now()));
        // A timer of no time still ends with its next tick, which may be a millisecond away.
        if !pause.is_zero() {
            timer.sleep(pause).await;
        }
        let slot = engine.slots.clone().acquire_owned();
        let patience = step.options.schedule_to_start.into_iter().chain(left(end)).min();
        let slot = match patience {
            Some(patience) => within(timer, patience, slot).await,
            None => Some(slot.await),
        };
        let key = ActivityKey { stream: stream.to_string(), seq };
        let context = ActivityContext { key, attempt, beats: beats.clone(), cancelled: cancelled.clone() };
        let failure = match slot {
            None if left(end).is_some_and(|left| left.is_zero()) => too_late(),
            None => Failure::timed_out(TimeoutKind::ScheduleToStart, "no worker took it in time"),
            Some(slot) => {
                let limit = left(end).map_or(step.options.start_to_close, |left| left.min(step.options.start_to_close));
                let outcome = one_try(engine, step, context, limit).await;
                drop(slot);
                match outcome {
                    Ok(result) => return Ok(result),
                    Err(failure) => failure,
                }
            }
        };
        let Some(pause) = step.options.retry.pause(attempt, &failure) else { return Err(failure) };
        next_at = now().after(nanos(pause));
        if end.is_some_and(|end| next_at >= end) {
            return Err(Failure { details: Json::of(&failure).ok(), ..too_late() });
        }
        let event = HistoryEvent::ActivityRetrying { seq, attempt, failure, next_at };
        if engine.deliver(stream, Input::Happened { event, id: None, done: None }).is_err() {
            std::future::pending::<()>().await;
        }
    }
    unreachable!("tries are not counted to the end")
}

async fn one_try(
    engine: &Shared,
    step: &PendingActivity,
    context: ActivityContext,
    limit: Duration,
) -> Result<Json, Failure> {
    let Some(code) = engine.activities.get(&step.activity) else {
        let message = format!("no activity `{}` is registered", step.activity);
        return Err(Failure::of(FailureKind::Unknown, message));
    };
    let timer = &*engine.world.timer;
    let beats = context.beats.clone();
    let work = AssertUnwindSafe(async { code(context, step.input.clone()).await }).catch_unwind();
    let work = async { work.await.unwrap_or_else(|panic| Err(Failure::panic(&*panic))) };
    let silence = async {
        let Some(span) = step.options.heartbeat else { return std::future::pending().await };
        let mut seen = beats.count();
        loop {
            timer.sleep(span).await;
            let count = beats.count();
            if count == std::mem::replace(&mut seen, count) {
                return Failure::timed_out(TimeoutKind::Heartbeat, format!("no sign of life for {span:?}"));
            }
        }
    };
    let lives = async {
        tokio::select! {
            biased;
            outcome = work => outcome,
            failure = silence => Err(failure),
        }
    };
    let outcome = within(timer, limit, lives).await;
    outcome.unwrap_or_else(|| {
        Err(Failure::timed_out(TimeoutKind::StartToClose, format!("the try took longer than {limit:?}")))
    })
}
