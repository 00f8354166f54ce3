//! One call through the stages: total time-out > retry > breaker > bulkhead > rate limit > time-out of a try > try.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::within;

use super::Guard;
use super::stages::Stages;
use crate::breaker::{BreakerPermit, Outcome};
use crate::bulkhead::Slot;
use crate::call::{Call, Guarded, Origin};
use crate::classify::{Classify, Verdict};
use crate::error::{GuardError, Refused};
use crate::retry::{Again, FailedAttempt, GaveUp, Jitter};

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When a call must be over.
#[derive(Clone, Copy)]
struct Deadline {
    at: Duration,
    limit: Duration,
}

/// How an attempt ended without an answer.
enum Missed<E> {
    Refused(Refused),
    Error(E, Verdict),
    TryTimedOut(Duration),
    TimedOut(Duration),
}

impl Guard {
    pub(super) async fn run<T, E, C, F>(
        &self,
        stages: &Stages,
        call: &Call<C>,
        mut op: impl FnMut() -> F,
    ) -> Result<Guarded<T>, GuardError<E>>
    where
        C: Classify<E>,
        F: Future<Output = Result<T, E>>,
    {
        let meters = &self.0.meters;
        meters.calls.count();
        let _running = meters.running.hold();
        let result = self.tries(stages, call, &mut op).await;
        match &result {
            Ok(_) => meters.answered.count(),
            Err(_) => meters.failed.count(),
        }
        result
    }

    async fn tries<T, E, C, F>(
        &self,
        stages: &Stages,
        call: &Call<C>,
        op: &mut impl FnMut() -> F,
    ) -> Result<Guarded<T>, GuardError<E>>
    where
        C: Classify<E>,
        F: Future<Output = Result<T, E>>,
    {
        let timer = self.0.ports.timer();
        let limit = [stages.policy.timeout, call.timeout].into_iter().flatten().min();
        let deadline = limit.map(|limit| Deadline { at: timer.now().saturating_add(limit), limit });
        if let Some(budget) = &stages.budget {
            lock(budget).deposit(timer.now());
        }
        let mut attempts = 0;
        let mut last: Option<Missed<E>> = None;
        loop {
            let missed = match self.attempt(stages, deadline, &call.classify, op, &mut attempts).await {
                Ok(value) => return Ok(Guarded { value, origin: Origin::Service, attempts }),
                Err(missed) => missed,
            };
            let again = match &missed {
                Missed::Refused(refused) => {
                    let gave_up = GaveUp::Refused { code: refused.code() };
                    return Err(self.error(last.unwrap_or(missed), None, attempts, gave_up));
                }
                Missed::TimedOut(_) => return Err(self.error(missed, last, attempts, GaveUp::Off)),
                Missed::Error(_, verdict) => verdict.again,
                Missed::TryTimedOut(_) => Again::Yes,
            };
            match self.next_try(stages, again, call.is_idempotent, attempts, deadline) {
                Ok(wait) => timer.sleep(wait).await,
                Err(gave_up) => return Err(self.error(missed, None, attempts, gave_up)),
            }
            last = Some(missed);
        }
    }

    fn next_try(
        &self,
        stages: &Stages,
        again: Again,
        is_idempotent: bool,
        number: u32,
        deadline: Option<Deadline>,
    ) -> Result<Duration, GaveUp> {
        let (Some(retry), Some(budget)) = (&stages.policy.retry, &stages.budget) else { return Err(GaveUp::Off) };
        let now = self.0.ports.timer().now();
        let left = deadline.map(|deadline| deadline.at.saturating_sub(now));
        let draw = if retry.jitter == Jitter::None { 0.0 } else { self.0.ports.draw() };
        retry.next(FailedAttempt { number, again, is_idempotent, left }, &mut lock(budget), now, draw)
    }

    /// One try, if the stages let it through. `attempts` counts those that reach the service.
    async fn attempt<T, E, C, F>(
        &self,
        stages: &Stages,
        deadline: Option<Deadline>,
        classify: &C,
        op: &mut impl FnMut() -> F,
        attempts: &mut u32,
    ) -> Result<T, Missed<E>>
    where
        C: Classify<E>,
        F: Future<Output = Result<T, E>>,
    {
        let (timer, meters) = (self.0.ports.timer(), &self.0.meters);
        let (permit, _slot) = self.enter(stages, deadline).await?;
        *attempts += 1;
        meters.attempts.count();
        let started_at = match &permit {
            // Nothing was waited for since.
            Some(permit) if stages.bulkhead.is_none() && stages.rate_limit.is_none() => permit.asked_at(),
            _ => timer.now(),
        };
        let settle = |outcome| {
            if let Some(permit) = permit {
                permit.settle_from(started_at, outcome);
            }
        };
        let left = deadline.map(|deadline| deadline.at.saturating_sub(started_at));
        let limit = [left, stages.policy.try_timeout].into_iter().flatten().min();
        let result = match limit {
            Some(limit) => within(&**timer, limit, op()).await,
            None => Some(op().await),
        };
        match (result, deadline, stages.policy.try_timeout) {
            (Some(Ok(value)), ..) => {
                settle(Outcome::Success);
                Ok(value)
            }
            (Some(Err(error)), ..) => {
                let verdict = classify.classify(&error);
                settle(verdict.outcome);
                Err(Missed::Error(error, verdict))
            }
            // The service had its time and did not answer: whichever limit ended it, that is its failure.
            (None, _, Some(try_limit)) if left.is_none_or(|left| try_limit < left) => {
                settle(Outcome::Failure);
                meters.try_timeouts.count();
                Err(Missed::TryTimedOut(try_limit))
            }
            (None, deadline, _) => {
                settle(Outcome::Failure);
                Err(self.over(deadline))
            }
        }
    }

    /// Breaker, bulkhead, rate limit. What is refused behind the breaker gives its permit back and counts as nothing there.
    async fn enter<E>(
        &self,
        stages: &Stages,
        deadline: Option<Deadline>,
    ) -> Result<(Option<BreakerPermit>, Option<Slot>), Missed<E>> {
        let refused = |refused| Missed::Refused(refused);
        let permit = match &stages.breaker {
            Some(breaker) => Some(breaker.ask().map_err(|refusal| refused(Refused::Breaker(refusal)))?),
            None => None,
        };
        if stages.bulkhead.is_none() && stages.rate_limit.is_none() {
            return Ok((permit, None));
        }
        let waiting = async {
            let slot = match &stages.bulkhead {
                Some(bulkhead) => Some(bulkhead.acquire().await.map_err(|full| refused(Refused::Bulkhead(full)))?),
                None => None,
            };
            if let Some(limiter) = &stages.rate_limit {
                limiter.acquire().await.map_err(|limited| refused(Refused::RateLimit(limited)))?;
            }
            Ok(slot)
        };
        let entered = match deadline {
            Some(Deadline { at, .. }) => {
                let timer = self.0.ports.timer();
                within(&**timer, at.saturating_sub(timer.now()), waiting).await
            }
            None => Some(waiting.await),
        };
        match entered {
            Some(slot) => Ok((permit, slot?)),
            None => Err(self.over(deadline)),
        }
    }

    fn over<E>(&self, deadline: Option<Deadline>) -> Missed<E> {
        self.0.meters.timeouts.count();
        Missed::TimedOut(deadline.map_or(Duration::ZERO, |deadline| deadline.limit))
    }

    fn error<E>(&self, missed: Missed<E>, last: Option<Missed<E>>, attempts: u32, gave_up: GaveUp) -> GuardError<E> {
        let guard = self.0.name.clone();
        match missed {
            Missed::Refused(refused) => refused.into_error(guard),
            Missed::Error(source, Verdict { outcome, .. }) => {
                GuardError::Failed { guard, attempts, gave_up, outcome, source }
            }
            Missed::TryTimedOut(limit) => GuardError::TryTimedOut { guard, limit, attempts, gave_up },
            Missed::TimedOut(limit) => {
                let source = match last {
                    Some(Missed::Error(source, _)) => Some(source),
                    _ => None,
                };
                GuardError::TimedOut { guard, limit, attempts, source }
            }
        }
    }
}
