//! ractor: actors after Erlang's on tokio, mailboxes unbounded. Supervision is the parent's own: it is told of a child's failure.
//! (ractor-supervisor turns on a feature that boxes every handler's future, so it would slow down all other rows.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort, SupervisionEvent, call, call_t};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::ticks;
use crate::load::{Missing, Samples, on_workers, rate};
use crate::stats::Figures;

fn missing(error: impl std::fmt::Debug) -> Missing {
    Missing(format!("{error:?}"))
}

struct Counter;

enum Order {
    Add(u64),
    Ask(u64, RpcReplyPort<u64>),
}

struct State {
    sum: u64,
    left: u64,
    end: UnboundedSender<u64>,
}

impl Actor for Counter {
    type Msg = Order;
    type State = State;
    type Arguments = State;

    async fn pre_start(&self, _me: ActorRef<Order>, state: State) -> Result<State, ActorProcessingErr> {
        Ok(state)
    }

    async fn handle(&self, _me: ActorRef<Order>, order: Order, state: &mut State) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Add(number) => {
                state.sum = state.sum.wrapping_add(number);
                state.left = state.left.wrapping_sub(1);
                if state.left == 0 {
                    let _ = state.end.send(state.sum);
                }
            }
            Order::Ask(number, reply) => {
                let _ = reply.send(number);
            }
        }
        Ok(())
    }
}

/// Messages per second into one actor, unbounded mailbox.
pub fn tell(senders: u64, count: u64) -> Result<Figures, Missing> {
    on_workers(2, async move {
        let (end, mut ended) = tokio::sync::mpsc::unbounded_channel();
        let each = count / senders;
        let state = State { sum: 0, left: each * senders, end };
        let (actor, _) = Actor::spawn(None, Counter, state).await.map_err(missing)?;
        let from = ticks();
        for _ in 0..senders {
            let actor = actor.clone();
            tokio::spawn(async move {
                for number in 0..each {
                    actor.cast(Order::Add(number)).expect("the actor lives");
                }
            });
        }
        let sum = ended.recv().await.ok_or_else(|| Missing("the actor is gone".to_owned()))?;
        assert_eq!(sum, senders * (each * (each - 1) / 2), "a message was lost, doubled or torn");
        Ok(rate(each * senders, from))
    })
}

/// Asks, one after the other, on one worker; with a time-out of so many milliseconds, or for ever.
pub fn ask(count: u64, limit_ms: Option<u64>) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let (actor, _) = Actor::spawn(None, Counter, State { sum: 0, left: 0, end }).await.map_err(missing)?;
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            let from = ticks();
            match limit_ms {
                Some(limit_ms) => call_t!(actor, Order::Ask, limit_ms, number).map_err(missing)?,
                None => call!(actor, Order::Ask, number).map_err(missing)?,
            };
            samples.add(number, ticks() - from);
        }
        Ok(samples.latency())
    })
}

/// Unsupervised actors, each there before the next is asked for.
pub fn spawn(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let (mut actors, from) = (Vec::with_capacity(count as usize), ticks());
        for _ in 0..count {
            let state = State { sum: 0, left: 0, end: end.clone() };
            actors.push(Actor::spawn(None, Counter, state).await.map_err(missing)?);
        }
        Ok(rate(count, from))
    })
}

/// Starts a child for who asks, and another one when it fails.
struct Parent;

enum Request {
    Start(RpcReplyPort<()>),
}

struct Children {
    end: UnboundedSender<u64>,
    witness: Option<Witness>,
}

impl Actor for Parent {
    type Msg = Request;
    type State = Children;
    type Arguments = Children;

    async fn pre_start(&self, me: ActorRef<Request>, state: Children) -> Result<Children, ActorProcessingErr> {
        if let Some(witness) = &state.witness {
            Actor::spawn_linked(None, Fragile, witness.clone(), me.get_cell()).await?;
        }
        Ok(state)
    }

    async fn handle(
        &self,
        me: ActorRef<Request>,
        request: Request,
        state: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        let Request::Start(reply) = request;
        let child = State { sum: 0, left: 0, end: state.end.clone() };
        Actor::spawn_linked(None, Counter, child, me.get_cell()).await?;
        reply.send(())?;
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        me: ActorRef<Request>,
        event: SupervisionEvent,
        state: &mut Children,
    ) -> Result<(), ActorProcessingErr> {
        if let (SupervisionEvent::ActorFailed(..), Some(witness)) = (event, &state.witness) {
            Actor::spawn_linked(None, Fragile, witness.clone(), me.get_cell()).await?;
        }
        Ok(())
    }
}

/// Linked children, each there before the next is asked for.
pub fn start(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let (parent, _) = Actor::spawn(None, Parent, Children { end, witness: None }).await.map_err(missing)?;
        let from = ticks();
        for _ in 0..count {
            call!(parent, Request::Start).map_err(missing)?;
        }
        Ok(rate(count, from))
    })
}

struct Fragile;

enum Fate {
    Crash,
    First,
}

#[derive(Clone)]
struct Witness {
    crashed_at: Arc<AtomicU64>,
    handled: UnboundedSender<(u64, ActorRef<Fate>)>,
}

impl Actor for Fragile {
    type Msg = Fate;
    type State = Witness;
    type Arguments = Witness;

    async fn pre_start(&self, me: ActorRef<Fate>, witness: Witness) -> Result<Witness, ActorProcessingErr> {
        me.cast(Fate::First)?;
        Ok(witness)
    }

    async fn handle(&self, me: ActorRef<Fate>, fate: Fate, witness: &mut Witness) -> Result<(), ActorProcessingErr> {
        match fate {
            Fate::Crash => {
                witness.crashed_at.store(ticks(), Ordering::Relaxed);
                Err("told to".into())
            }
            Fate::First => {
                let _ = witness.handled.send((ticks(), me));
                Ok(())
            }
        }
    }
}

/// From the crash to the new instance handling its first message.
pub fn restart(count: u64) -> Result<Figures, Missing> {
    on_workers(1, async move {
        let (handled, mut first) = tokio::sync::mpsc::unbounded_channel();
        let crashed_at = Arc::<AtomicU64>::default();
        let witness = Witness { crashed_at: crashed_at.clone(), handled };
        let (end, _ended) = tokio::sync::mpsc::unbounded_channel();
        let children = Children { end, witness: Some(witness) };
        let (_parent, _) = Actor::spawn(None, Parent, children).await.map_err(missing)?;
        let gone = || Missing("the actor is gone".to_owned());
        let (_, mut actor) = first.recv().await.ok_or_else(gone)?;
        let mut samples = Samples::of(count);
        for number in 0..samples.total() {
            actor.cast(Fate::Crash).map_err(missing)?;
            let (handled_at, next) = first.recv().await.ok_or_else(gone)?;
            samples.add(number, handled_at - crashed_at.load(Ordering::Relaxed));
            actor = next;
        }
        Ok(samples.latency())
    })
}
