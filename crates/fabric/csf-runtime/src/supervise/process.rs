//! A process: a spawned task with an identity, signals, and an end that is always reported once.
//!
//! As in Erlang, the shutdown signal ends a process at once unless it traps it, and the kill signal cannot be trapped. "At once" is the
//! process's next await: a task that never awaits cannot be ended.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use csf_core::port::Task;
use serde::Serialize;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

use super::env::Env;
use super::inbox::Message;
use super::{ExitReason, StartError};
use crate::exec::panic_text;

/// A process's name for its life; never used again within a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Pid(pub(super) u64);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a process does, until its reason to end.
pub type Body = Pin<Box<dyn Future<Output = ExitReason> + Send>>;

/// What a start led to.
pub enum Start {
    /// A process that runs this.
    Run(Body),
    /// No process, and that is fine.
    Ignore,
}

/// A start that is over, or one the supervisor waits for.
pub enum Starting {
    /// Over.
    Now(Result<Start, StartError>),
    /// To be waited for: the supervisor handles nothing else meanwhile.
    Later(Pin<Box<dyn Future<Output = Result<Start, StartError>> + Send>>),
}

/// What a child gets from its supervisor.
pub struct ChildContext {
    pub(super) pid: Pid,
    pub(super) id: Arc<str>,
    pub(super) supervisor: Arc<str>,
    pub(super) env: Env,
    pub(super) signals: Arc<Signals>,
    pub(super) args: Option<Arc<dyn Any + Send + Sync>>,
}

impl ChildContext {
    /// The instance.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// The child's name in its supervisor.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Path of the supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &Arc<str> {
        &self.supervisor
    }

    /// The tree's world.
    #[must_use]
    pub const fn env(&self) -> &Env {
        &self.env
    }

    /// What a dynamic child was started with.
    #[must_use]
    pub fn args<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.args.as_ref()?.downcast_ref()
    }

    /// From now on a shutdown signal no longer ends the process: it is asked through [`ChildContext::stopping`], and has the time that
    /// its specification grants.
    pub fn trap_shutdown(&self) {
        self.signals.state.fetch_or(TRAPS, Ordering::AcqRel);
    }

    /// Whether the process was asked to stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.signals.has(SHUTDOWN)
    }

    /// Waits until the process is asked to stop; makes it trap the signal. Cancel safe.
    pub async fn stopping(&self) {
        self.trap_shutdown();
        loop {
            let asked = self.signals.asked.notified();
            if self.is_stopping() {
                return;
            }
            asked.await;
        }
    }
}

const SHUTDOWN: u8 = 1;
const KILL: u8 = 2;
const TRAPS: u8 = 4;
const ENDED: u8 = 8;

/// The signals of one process, shared by it and its supervisor.
#[derive(Default)]
pub(super) struct Signals {
    state: AtomicU8,
    task: AtomicWaker,
    asked: Notify,
    /// A supervisor takes its shutdown as a message, in order with the others.
    pub(super) inbox: OnceLock<UnboundedSender<Message>>,
}

impl Signals {
    fn has(&self, bit: u8) -> bool {
        self.state.load(Ordering::Acquire) & bit != 0
    }

    fn send(&self, bit: u8) {
        self.state.fetch_or(bit, Ordering::AcqRel);
        self.asked.notify_waiters();
        self.task.wake();
    }

    pub(super) fn shut_down(&self, reason: ExitReason) {
        if let Some(inbox) = self.inbox.get() {
            // A supervisor that is gone needs no message.
            let _ = inbox.send(Message::Parent(reason));
            return;
        }
        self.send(SHUTDOWN);
    }

    pub(super) fn kill(&self) {
        self.send(KILL);
    }
}

/// A running process as its supervisor holds it. Dropping it ends the process: a supervisor takes its own tree down, others are killed.
pub(super) struct Process {
    pub(super) pid: Pid,
    pub(super) signals: Arc<Signals>,
}

impl Process {
    pub(super) fn is_alive(&self) -> bool {
        !self.signals.has(ENDED)
    }

    pub(super) fn reference(&self) -> ProcessRef {
        ProcessRef { pid: self.pid, signals: self.signals.clone() }
    }
}

/// A process from outside.
#[derive(Clone)]
pub struct ProcessRef {
    pid: Pid,
    signals: Arc<Signals>,
}

impl ProcessRef {
    /// Which.
    #[must_use]
    pub const fn pid(&self) -> Pid {
        self.pid
    }

    /// Whether it has not ended yet.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !self.signals.has(ENDED)
    }

    /// Asks it to stop, as its supervisor does.
    pub fn shut_down(&self, reason: ExitReason) {
        self.signals.shut_down(reason);
    }

    /// Ends it at its next await, for its supervisor to see as [`ExitReason::Killed`]. A killed supervisor's workers are killed with it.
    pub fn kill(&self) {
        self.signals.kill();
    }
}

impl fmt::Debug for ProcessRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.is_alive() {
            return;
        }
        if self.signals.inbox.get().is_some() {
            self.signals.shut_down(ExitReason::Killed);
        } else {
            self.signals.kill();
        }
    }
}

/// Spawns `body` and reports its end to `on_end`, whatever it is.
pub(super) fn spawn(env: &Env, pid: Pid, signals: Arc<Signals>, body: Body, on_end: OnEnd) -> Process {
    let process = Process { pid, signals: signals.clone() };
    let task: Task = Box::pin(Running { body: Some(body), signals, on_end: Some(on_end) });
    env.spawn.spawn(task);
    process
}

/// Who hears of the end.
pub(super) enum OnEnd {
    /// The supervisor, in its inbox.
    Supervisor(Pid, UnboundedSender<Message>),
    /// Whoever started the root.
    Root(tokio::sync::oneshot::Sender<ExitReason>),
}

struct Running {
    body: Option<Body>,
    signals: Arc<Signals>,
    on_end: Option<OnEnd>,
}

impl Running {
    fn end(&mut self, reason: ExitReason) {
        // First the body: what it holds is free before anybody hears of the end.
        let reason = match catch_unwind(AssertUnwindSafe(|| drop(self.body.take()))) {
            Ok(()) => reason,
            Err(panic) => ExitReason::Panicked(panic_text(panic.as_ref()).into()),
        };
        self.signals.state.fetch_or(ENDED, Ordering::AcqRel);
        match self.on_end.take() {
            // Nobody listens any more: that is the listener's business.
            Some(OnEnd::Supervisor(pid, inbox)) => drop(inbox.send(Message::Exit { pid, reason })),
            Some(OnEnd::Root(listener)) => drop(listener.send(reason)),
            None => {}
        }
    }
}

impl Future for Running {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.signals.task.register(cx.waker());
        let state = self.signals.state.load(Ordering::Acquire);
        if state & KILL != 0 {
            self.end(ExitReason::Killed);
            return Poll::Ready(());
        }
        if state & SHUTDOWN != 0 && state & TRAPS == 0 {
            self.end(ExitReason::Shutdown);
            return Poll::Ready(());
        }
        let Some(body) = &mut self.body else { return Poll::Ready(()) };
        match catch_unwind(AssertUnwindSafe(|| body.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(reason)) => {
                self.end(reason);
                Poll::Ready(())
            }
            Err(panic) => {
                self.end(ExitReason::Panicked(panic_text(panic.as_ref()).into()));
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Running {
    /// The executor dropped it.
    fn drop(&mut self) {
        if self.on_end.is_some() {
            self.end(ExitReason::Killed);
        }
    }
}
