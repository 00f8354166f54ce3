//! kameo: actors on tokio with bounded mailboxes and supervision.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kameo::actor::{ActorRef, Spawn};
use kameo::mailbox;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;
use kameo::{Actor, error::Infallible};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::ticks;
use crate::load::{Missing, Samples, on_workers, rate};
use crate::stats::Figures;

fn missing(error: impl std::fmt::Debug) -> Missing {
    Missing(format!("{error:?}"))
}

#[derive(Clone)]
struct Counter {
    sum: u64,
    left: u64,
    end: UnboundedSender<u64>,
}

impl Actor for Counter {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(state: Self, _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(state)
    }
}

impl Message<u64> for Counter {
    type Reply = u64;

    async fn handle(&mut self, number: u64, _cx: &mut Context<Self, u64>) -> u64 {
        self.sum = self.sum.wrapping_add(number);
        self.left = self.left.wrapping_sub(1);
        if self.left == 0 {
            let _ = self.end.send(self.sum);
        }
        self.sum
    }
}

/// Messages per second into one actor, mailbox of 1,024.
pub fn tell(senders: u64, count: u64) -> Result<Figures, Missing> {
    on_workers(2, async move {
        let (end, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let each = count / senders;
        let actor = Counter::spawn_with_mailbox(Counter { sum: 0, left: each * senders, end }, mailbox::bounded(1024));
        let from = ticks();
        for _ in 0..senders {
            let actor = actor.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    actor.tell(number).await.expect("the actor lives");
                }
            });
        }
        let sum = ended.recv().await.ok_or_else(|| Missing("the actor is gone".to_owned()))?;
        assert_eq!(sum, senders * (each * (each - 1) / 2), "a message was lost, doubled or torn");
        Ok(rate(each * senders, from))
    })
}

/// Asks, one after the other, on one worker; with a time-out, or for ever.
pub fn ask(count: u64, limit: Option<Duration>) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let actor = Counter::spawn_with_mailbox(Counter { sum: 0, left: 0, end }, mailbox::bounded(1024));
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            let from = ticks();
            match limit {
                Some(limit) => actor.ask(number).reply_timeout(limit).await.map_err(missing)?,
                None => actor.ask(number).await.map_err(missing)?,
            };
            samples.add(number, ticks() - from);
        }
        Ok(samples.latency())
    })
}

struct Parent;

impl Actor for Parent {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(state: Self, _me: ActorRef<Self>) -> Result<Self, Infallible> {
        Ok(state)
    }
}

/// Supervised children, each there before the next is asked for.
pub fn start(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let parent = Parent::spawn(Parent);
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let (mut actors, from) = (Vec::with_capacity(count as usize), ticks());
        for _ in 0..count {
            let state = Counter { sum: 0, left: 0, end: end.clone() };
            actors.push(Counter::supervise(&parent, state).restart_policy(RestartPolicy::Never).spawn().await);
        }
        Ok(rate(count, from))
    })
}

#[derive(Clone)]
struct Fragile {
    crashed_at: Arc<AtomicU64>,
    handled: UnboundedSender<u64>,
}

struct Crash;
struct First;

impl Actor for Fragile {
    type Args = Self;
    type Error = Infallible;

    async fn on_start(state: Self, me: ActorRef<Self>) -> Result<Self, Infallible> {
        me.tell(First).try_send().expect("a new mailbox has room");
        Ok(state)
    }
}

impl Message<Crash> for Fragile {
    type Reply = Result<(), String>;

    async fn handle(&mut self, _: Crash, _cx: &mut Context<Self, Self::Reply>) -> Result<(), String> {
        self.crashed_at.store(ticks(), Ordering::Relaxed);
        Err("told to".to_owned())
    }
}

impl Message<First> for Fragile {
    type Reply = ();

    async fn handle(&mut self, _: First, _cx: &mut Context<Self, ()>) {
        let _ = self.handled.send(ticks());
    }
}

/// From the crash to the new instance handling its first message.
pub fn restart(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (handled, mut first) = tokio::sync::mpsc::unbounded_channel();
        let crashed_at = Arc::<AtomicU64>::default();
        let parent = Parent::spawn(Parent);
        let state = Fragile { crashed_at: crashed_at.clone(), handled };
        let actor = Fragile::supervise(&parent, state)
            .restart_policy(RestartPolicy::Permanent)
            .restart_limit(u32::MAX, Duration::from_secs(1))
            .spawn()
            .await;
        first.recv().await;
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            actor.tell(Crash).await.map_err(missing)?;
            let handled_at = first.recv().await.ok_or_else(|| Missing("the actor is gone".to_owned()))?;
            samples.add(number, handled_at - crashed_at.load(Ordering::Relaxed));
        }
        Ok(samples.latency())
    })
}
