//! The children that stand for components in supervision groups.
//!
//! A component runs on its dispatcher, not in a process: this process stands for it. It ends when the component fails, with the component's
//! words, holds the component when it is asked to stop, and its start lets the component go on as soon as it has its state.
//! Components run from the node's start on, so that whoever feeds them finds them there; a group's order is that of its restarts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use super::handle::Node;
use crate::exec::{Again, Runner, Tie};
use crate::supervise::{ChildContext, ChildSpec, ExitReason, Shutdown, Start, StartError};

/// How long a component may take to be held: the deliveries of one round of its dispatcher.
const HOLD_WITHIN: Duration = Duration::from_secs(5);

/// A component's place below a supervisor.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) node: Weak<Node>,
    /// The component.
    pub(super) name: String,
    pub(super) tie: Arc<Tie>,
    /// Whether the node stops: then components handle what is left, without supervisors.
    pub(super) is_stopping: Arc<AtomicBool>,
}

impl Seat {
    pub(super) fn spec(self) -> ChildSpec {
        let id = self.name.clone();
        ChildSpec::prepared(id, move |cx| self.clone().start(cx)).shutdown(Shutdown::Within(HOLD_WITHIN))
    }

    async fn start(self, cx: ChildContext) -> Result<Start, StartError> {
        // Whoever asks it to stop before its first step finds it ready.
        cx.trap_shutdown();
        // It failed before anybody stood for it.
        if self.tie.is_untold() {
            return Ok(Start::Run(Box::pin(self.run(cx))));
        }
        loop {
            self.tie.settled().await;
            let Some(node) = self.node.upgrade() else { return Ok(Start::Ignore) };
            match node.with_runner(&self.name, Runner::start_again).await {
                Some(Again::Runs) => return Ok(Start::Run(Box::pin(self.run(cx)))),
                Some(Again::NotYet) => {}
                Some(Again::StaysDown) | None => return Ok(Start::Ignore),
            }
        }
    }

    async fn run(self, cx: ChildContext) -> ExitReason {
        let reason = tokio::select! {
            biased;
            () = cx.stopping() => {
                if !self.is_stopping.load(Ordering::Acquire)
                    && let Some(node) = self.node.upgrade()
                {
                    // One that is not there any more needs no hold.
                    let _ = node.with_runner(&self.name, Runner::hold).await;
                }
                ExitReason::Shutdown
            }
            failure = self.tie.failed() => failure,
        };
        self.tie.tell();
        reason
    }
}

impl Node {
    /// Does something with a component between two rounds, on whichever dispatcher it is; `None` when it is on none.
    pub(super) async fn with_runner<R: Send + 'static>(&self, name: &str, job: fn(&mut Runner) -> R) -> Option<R> {
        let dispatchers = self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for dispatcher in dispatchers {
            let name = name.to_owned();
            let on_it = move |runners: &mut Vec<Runner>| runners.iter_mut().find(|r| r.name == name).map(job);
            if let Some(Some(answer)) = dispatcher.between_rounds(on_it).await {
                return Some(answer);
            }
        }
        None
    }
}
