//! One message for every handler of its type, and one result of all their answers (FRM-017).

use std::any::{Any, TypeId, type_name};
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use csf_core::Fault;
use futures_util::future::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};

use crate::BoxFuture;
use crate::exec::panic_text;

/// A message that handlers answer.
pub trait Routed: Send + Sync + 'static {
    /// What each handler answers.
    type Answer: Send + 'static;
}

/// Handles messages of one type.
pub trait MessageHandler<M: Routed>: Send + Sync {
    /// What it is called in results.
    fn name(&self) -> &str;

    /// Handles one.
    fn handle<'a>(&'a self, message: &'a M) -> BoxFuture<'a, Result<M::Answer, Fault>>;
}

/// One handler's answer.
#[derive(Debug)]
pub struct Outcome<R> {
    /// Who.
    pub handler: Arc<str>,
    /// What; a panic is a failure.
    pub result: Result<R, Fault>,
}

/// Judges outcomes: the reason where they do not suffice.
pub type Judge<R> = Arc<dyn Fn(&[Outcome<R>]) -> Result<(), String> + Send + Sync>;

/// What it takes for a message to count as handled.
#[derive(Clone)]
pub enum Strategy<R> {
    /// Every handler's answer.
    All,
    /// One answer.
    First,
    /// So many answers.
    Quorum(usize),
    /// Whatever this says; the reason where it says no.
    Custom(Judge<R>),
}

/// All outcomes in the order in which they came, the failed ones among them.
#[derive(Debug)]
pub struct Aggregate<R> {
    /// One for each handler.
    pub outcomes: Vec<Outcome<R>>,
}

impl<R> Aggregate<R> {
    /// The answers in the order in which they came.
    pub fn answers(&self) -> impl Iterator<Item = &R> {
        self.outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok())
    }

    /// Who failed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Fault)> {
        self.outcomes.iter().filter_map(|outcome| Some((&*outcome.handler, outcome.result.as_ref().err()?)))
    }
}

/// A message that does not count as handled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError<R> {
    /// Nobody handles its type.
    #[error("no handler is registered for `{message}`")]
    NoHandlerRegistered {
        /// The type.
        message: &'static str,
    },
    /// The strategy is not satisfied.
    #[error("{reason}")]
    Unsatisfied {
        /// Why not.
        reason: String,
        /// What came.
        aggregate: Aggregate<R>,
    },
}

/// Judges what handlers gave.
///
/// # Errors
/// [`RoutingError::Unsatisfied`], with everything that came.
pub fn aggregate_results<R>(
    outcomes: Vec<Outcome<R>>,
    strategy: &Strategy<R>,
) -> Result<Aggregate<R>, RoutingError<R>> {
    let aggregate = Aggregate { outcomes };
    let (answers, all) = (aggregate.answers().count(), aggregate.outcomes.len());
    let enough = |needed: usize| {
        if answers >= needed {
            return Ok(());
        }
        let failures: Vec<String> = aggregate.failures().map(|(who, fault)| format!("{who}: {fault}")).collect();
        Err(format!("{answers} of {all} handlers answered, {needed} were needed; {}", failures.join("; ")))
    };
    let verdict = match strategy {
        Strategy::All => enough(all),
        Strategy::First => enough(1),
        Strategy::Quorum(needed) => enough(*needed),
        Strategy::Custom(judge) => judge(&aggregate.outcomes),
    };
    match verdict {
        Ok(()) => Ok(aggregate),
        Err(reason) => Err(RoutingError::Unsatisfied { reason, aggregate }),
    }
}

struct Handlers<M: Routed>(Vec<Arc<dyn MessageHandler<M>>>);

/// Handlers by message type. Registered first, then shared.
#[derive(Default)]
pub struct MessageRouter {
    handlers: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
}

impl MessageRouter {
    /// Without handlers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a handler of `M`; it gets every message of the type, beside those that are there.
    pub fn register<M: Routed>(&mut self, handler: Arc<dyn MessageHandler<M>>) {
        let entry = self.handlers.entry(TypeId::of::<M>()).or_insert_with(|| Box::new(Handlers::<M>(Vec::new())));
        if let Some(handlers) = entry.downcast_mut::<Handlers<M>>() {
            handlers.0.push(handler);
        }
    }

    /// Gives the message to all handlers of its type at once, waits for all, and judges what came. Dropped, it drops what still runs.
    ///
    /// # Errors
    /// [`RoutingError`].
    pub async fn route<M: Routed>(
        &self,
        message: &M,
        strategy: &Strategy<M::Answer>,
    ) -> Result<Aggregate<M::Answer>, RoutingError<M::Answer>> {
        let found = self.handlers.get(&TypeId::of::<M>()).and_then(|handlers| handlers.downcast_ref::<Handlers<M>>());
        let handlers = found.ok_or(RoutingError::NoHandlerRegistered { message: type_name::<M>() })?;
        let running: FuturesUnordered<_> = handlers.0.iter().map(|handler| outcome(&**handler, message)).collect();
        aggregate_results(running.collect().await, strategy)
    }
}

async fn outcome<M: Routed>(handler: &dyn MessageHandler<M>, message: &M) -> Outcome<M::Answer> {
    // The call itself may panic too, before there is anything to wait for.
    let work = async { handler.handle(message).await };
    let result = match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(Fault::Failed(format!("panicked: {}", panic_text(panic.as_ref())))),
    };
    Outcome { handler: handler.name().into(), result }
}
