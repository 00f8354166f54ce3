//! A supervisor from outside: started, asked, stopped.

use std::any::Any;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::children::State;
use super::dynamic::Args;
use super::engine::Engine;
use super::env::Env;
use super::inbox::{Message, Target};
use super::process::{self, ChildContext, OnEnd, Process, ProcessRef, Signals, Start, Starting};
use super::{ChildSpec, ExitReason, Flags, Pid, Report, Restart, Shutdown, SpecError, StartChild, Strategy, Work};

/// A start that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The child's own start did.
    #[error("{0}")]
    Failed(ExitReason),
    /// A supervisor could not start one of its children; those before it were stopped again.
    #[error("child `{id}` failed to start: {reason}")]
    Child {
        /// The child.
        id: Arc<str>,
        /// Why.
        reason: Box<StartError>,
    },
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

impl StartError {
    /// A failed start, from anything that says what happened.
    pub fn failed(error: impl std::fmt::Display) -> Self {
        Self::Failed(ExitReason::failed(error))
    }
}

/// The supervisor has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the supervisor has ended")]
pub struct Gone;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// No such child.
    #[error("no such child")]
    NotFound,
    /// It runs.
    #[error("the child runs")]
    Running,
    /// It is about to be restarted.
    #[error("the child is being restarted")]
    Restarting,
    /// Its name is taken by one that runs.
    #[error("a child of this name runs already, as process {0}")]
    AlreadyStarted(Pid),
    /// Its name is taken by one that does not run: restart or delete that.
    #[error("a child of this name is there already and does not run; restart or delete it")]
    AlreadyPresent,
    /// Names mean nothing among alike children; a process id does.
    #[error("the children of a simple_one_for_one supervisor have no names; use the process id")]
    SimpleOneForOne,
    /// Only a simple_one_for_one supervisor has a template to start from.
    #[error("this supervisor's children are named; give a specification")]
    NotSimpleOneForOne,
    /// The specification contradicts itself.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nobody is there to ask.
    #[error(transparent)]
    Gone(#[from] Gone),
}

/// A started child: its process, or none where the start said that none is needed.
pub type StartedChild = Option<Pid>;

/// Where a child is, as [`SupervisorRef::which_children`] tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildState {
    /// It does not run.
    Stopped,
    /// It should run; its last start failed, or it waits out a pause.
    Restarting,
    /// It runs.
    Running(Pid),
}

/// One child in [`SupervisorRef::which_children`].
#[derive(Debug, Clone)]
pub struct ChildEntry {
    /// Its name; that of the template for dynamic ones.
    pub id: Arc<str>,
    /// Where it is.
    pub state: ChildState,
    /// What it is.
    pub work: Work,
    /// To end it, where it runs.
    pub process: Option<ProcessRef>,
    /// To ask it, where it is a supervisor that runs.
    pub supervisor: Option<SupervisorRef>,
}

/// What [`SupervisorRef::count_children`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ChildCount {
    /// Specifications.
    pub specs: usize,
    /// Running processes.
    pub active: usize,
    /// Supervisors, running or not.
    pub supervisors: usize,
    /// Workers, running or not.
    pub workers: usize,
}

type Answer<T> = oneshot::Sender<T>;

pub(super) enum Call {
    StartChild(ChildSpec, Answer<Result<StartedChild, SupervisorError>>),
    StartInstance(Args, Answer<Result<StartedChild, SupervisorError>>),
    Terminate(Arc<str>, Answer<Result<(), SupervisorError>>),
    TerminateInstance(Pid, Answer<Result<(), SupervisorError>>),
    Restart(Arc<str>, Answer<Result<StartedChild, SupervisorError>>),
    Delete(Arc<str>, Answer<Result<(), SupervisorError>>),
    Which(Answer<Vec<ChildEntry>>),
    Count(Answer<ChildCount>),
    History(Answer<Vec<Report>>),
    Spec(Arc<str>, Answer<Result<ChildSpec, SupervisorError>>),
    InstanceSpec(Pid, Answer<Result<ChildSpec, SupervisorError>>),
    /// Handles nothing until the other end of the channel is gone.
    Suspend(Answer<()>, oneshot::Receiver<()>),
}

/// Asks a supervisor. Requests are handled in order, each after everything the supervisor is in the middle of.
#[derive(Clone, Debug)]
pub struct SupervisorRef {
    path: Arc<str>,
    inbox: UnboundedSender<Message>,
}

impl SupervisorRef {
    /// The supervisor's path from the root.
    #[must_use]
    pub fn path(&self) -> &Arc<str> {
        &self.path
    }

    async fn ask<T>(&self, call: impl FnOnce(Answer<T>) -> Call) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        self.inbox.send(Message::Call(call(answer))).map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }

    /// Adds a child and starts it. Its specification stays unless the start failed.
    ///
    /// # Errors
    /// A name that is taken, a specification that contradicts itself, a failed start, a supervisor that has ended.
    pub async fn start_child(&self, spec: ChildSpec) -> Result<StartedChild, SupervisorError> {
        self.ask(|a| Call::StartChild(spec, a)).await?
    }

    /// Starts one more child of a `simple_one_for_one` supervisor; its start sees `args` as [`ChildContext::args`].
    ///
    /// # Errors
    /// A failed start, a supervisor of another strategy or that has ended.
    pub async fn start_instance<T: Any + Send + Sync>(&self, args: T) -> Result<StartedChild, SupervisorError> {
        let args: Args = Some(Arc::new(args));
        self.ask(|a| Call::StartInstance(args, a)).await?
    }

    /// Stops a child. Its specification stays unless it is temporary. Stopping one that does not run is fine.
    ///
    /// # Errors
    /// [`SupervisorError::NotFound`], [`SupervisorError::SimpleOneForOne`], [`SupervisorError::Gone`].
    pub async fn terminate_child(&self, id: &str) -> Result<(), SupervisorError> {
        self.ask(|a| Call::Terminate(id.into(), a)).await?
    }

    /// Stops a dynamic child and forgets it. One that has ended already is fine.
    ///
    /// # Errors
    /// [`SupervisorError::NotFound`] when the supervisor's children have names, [`SupervisorError::Gone`].
    pub async fn terminate_instance(&self, pid: Pid) -> Result<(), SupervisorError> {
        self.ask(|a| Call::TerminateInstance(pid, a)).await?
    }

    /// Starts a child that does not run. Not counted against the budget.
    ///
    /// # Errors
    /// A child that runs or is being restarted, a failed start, and as [`SupervisorRef::terminate_child`].
    pub async fn restart_child(&self, id: &str) -> Result<StartedChild, SupervisorError> {
        self.ask(|a| Call::Restart(id.into(), a)).await?
    }

    /// Forgets a child that does not run.
    ///
    /// # Errors
    /// A child that runs or is being restarted, and as [`SupervisorRef::terminate_child`].
    pub async fn delete_child(&self, id: &str) -> Result<(), SupervisorError> {
        self.ask(|a| Call::Delete(id.into(), a)).await?
    }

    /// The children in start order; dynamic ones in the order of their processes.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn which_children(&self) -> Result<Vec<ChildEntry>, Gone> {
        self.ask(Call::Which).await
    }

    /// Counts the children.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn count_children(&self) -> Result<ChildCount, Gone> {
        self.ask(Call::Count).await
    }

    /// A child's specification, as the supervisor will use it for the next start.
    ///
    /// # Errors
    /// [`SupervisorError::NotFound`], [`SupervisorError::Gone`].
    pub async fn child_spec(&self, id: &str) -> Result<ChildSpec, SupervisorError> {
        self.ask(|a| Call::Spec(id.into(), a)).await?
    }

    /// The specification that a dynamic child was started from.
    ///
    /// # Errors
    /// [`SupervisorError::NotFound`] when it is no child of this supervisor, [`SupervisorError::Gone`].
    pub async fn instance_spec(&self, pid: Pid) -> Result<ChildSpec, SupervisorError> {
        self.ask(|a| Call::InstanceSpec(pid, a)).await?
    }

    /// The newest reports, oldest first.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn history(&self) -> Result<Vec<Report>, Gone> {
        self.ask(Call::History).await
    }

    /// Lets the supervisor handle nothing until the returned guard is dropped: for maintenance of its children, and for tests that let
    /// several things happen at once. What comes in meanwhile waits in order, a shutdown too.
    ///
    /// # Errors
    /// [`Gone`].
    pub async fn suspend(&self) -> Result<Suspension, Gone> {
        let (release, released) = oneshot::channel();
        self.ask(|a| Call::Suspend(a, released)).await?;
        Ok(Suspension { _release: release })
    }
}

/// While it lives, the supervisor is suspended.
#[derive(Debug)]
pub struct Suspension {
    _release: oneshot::Sender<()>,
}

/// A running root supervisor. Dropping it stops the tree in order, in the background.
pub struct Supervisor {
    reference: SupervisorRef,
    process: Process,
    ended: oneshot::Receiver<ExitReason>,
}

impl Supervisor {
    /// Starts the children in order, then the supervisor.
    ///
    /// # Errors
    /// A specification that contradicts itself, or a child that failed to start; then those before it were stopped in reverse.
    pub async fn start(
        name: impl Into<Arc<str>>,
        flags: Flags,
        children: Vec<ChildSpec>,
        env: Env,
    ) -> Result<Self, StartError> {
        let engine = Engine::init(name.into(), flags, children, env.clone()).await?;
        let reference = SupervisorRef { path: engine.path.clone(), inbox: engine.me.clone() };
        let (listener, ended) = oneshot::channel();
        let signals = Arc::new(Signals::default());
        // Set once, here: a fresh cell takes it.
        let _ = signals.inbox.set(engine.me.clone());
        let process = process::spawn(&env, env.pid(), signals, Box::pin(engine.run()), OnEnd::Root(listener));
        Ok(Self { reference, process, ended })
    }

    /// To ask it.
    #[must_use]
    pub const fn reference(&self) -> &SupervisorRef {
        &self.reference
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> ProcessRef {
        self.process.reference()
    }

    /// Asks it to stop its children in reverse order and to end; does not wait.
    pub fn stop(&self, reason: ExitReason) {
        self.process.signals.shut_down(reason);
    }

    /// Waits for its end, and why. Cancel safe; after the end it says [`ExitReason::Killed`].
    pub async fn ended(&mut self) -> ExitReason {
        (&mut self.ended).await.unwrap_or(ExitReason::Killed)
    }
}

impl ChildSpec {
    /// A permanent supervisor with the time it needs to stop; `children` are made anew for each start.
    pub fn supervisor(
        id: impl Into<Arc<str>>,
        flags: Flags,
        children: impl Fn() -> Vec<Self> + Send + Sync + 'static,
    ) -> Self {
        let mut spec = Self::new(id, SupervisorStart { flags, children });
        spec.work = Work::Supervisor;
        spec.shutdown = Shutdown::Infinity;
        spec
    }
}

struct SupervisorStart<F> {
    flags: Flags,
    children: F,
}

impl<F: Fn() -> Vec<ChildSpec> + Send + Sync> StartChild for SupervisorStart<F> {
    fn start(&self, cx: ChildContext) -> Starting {
        let (flags, children) = (self.flags, (self.children)());
        let path: Arc<str> = format!("{}/{}", cx.supervisor, cx.id).into();
        Starting::Later(Box::pin(async move {
            let engine = Engine::init(path, flags, children, cx.env.clone()).await?;
            // A context is made for one start: its cell is empty.
            let _ = cx.signals.inbox.set(engine.me.clone());
            Ok(Start::Run(Box::pin(engine.run())))
        }))
    }
}

impl Engine {
    pub(super) async fn on_call(&mut self, call: Call) {
        // An answer that nobody waits for any more is dropped.
        match call {
            Call::StartChild(spec, answer) => drop(answer.send(self.start_child(spec).await)),
            Call::StartInstance(args, answer) => drop(answer.send(self.start_instance(args).await)),
            Call::Terminate(id, answer) => drop(answer.send(self.terminate(&id).await)),
            Call::TerminateInstance(pid, answer) => drop(answer.send(self.terminate_instance(pid).await)),
            Call::Restart(id, answer) => drop(answer.send(self.restart_child(&id).await)),
            Call::Delete(id, answer) => drop(answer.send(self.delete(&id))),
            Call::Which(answer) => drop(answer.send(self.which())),
            Call::Count(answer) => drop(answer.send(self.count())),
            Call::History(answer) => drop(answer.send(self.history.iter().cloned().collect())),
            Call::Spec(id, answer) => drop(answer.send(self.spec_of(&id))),
            Call::InstanceSpec(pid, answer) => drop(answer.send(self.spec_of_instance(pid))),
            Call::Suspend(answer, released) => {
                if answer.send(()).is_ok() {
                    let _ = released.await;
                }
            }
        }
    }

    async fn start_child(&mut self, spec: ChildSpec) -> Result<StartedChild, SupervisorError> {
        if self.flags.strategy == Strategy::SimpleOneForOne {
            return Err(SupervisorError::SimpleOneForOne);
        }
        spec.check(&self.flags)?;
        if let Some(child) = self.children.place_of(&spec.id).and_then(|p| self.children.get(p)) {
            return Err(match &child.state {
                State::Running(process) => SupervisorError::AlreadyStarted(process.pid),
                _ => SupervisorError::AlreadyPresent,
            });
        }
        let process = self.launch(&spec, None).await?;
        let pid = process.as_ref().map(|p| p.pid);
        if pid.is_some() || spec.restart != Restart::Temporary {
            let place = self.children.add(spec);
            self.started(place, process);
        }
        Ok(pid)
    }

    async fn start_instance(&mut self, args: Args) -> Result<StartedChild, SupervisorError> {
        let Some(dynamic) = &self.dynamic else { return Err(SupervisorError::NotSimpleOneForOne) };
        let template = dynamic.template.clone();
        let process = self.launch(&template, args.clone()).await?;
        let (pid, now) = (process.as_ref().map(|p| p.pid), self.env.now());
        if let (Some(dynamic), Some(process)) = (&mut self.dynamic, process) {
            dynamic.add(process, args, 0, now);
        }
        Ok(pid)
    }

    async fn terminate(&mut self, id: &str) -> Result<(), SupervisorError> {
        let place = self.named(id)?;
        self.stop_child(place).await;
        self.forget_temporary(place);
        Ok(())
    }

    async fn terminate_instance(&mut self, pid: Pid) -> Result<(), SupervisorError> {
        let Some(dynamic) = &mut self.dynamic else { return Err(SupervisorError::NotFound) };
        let (spec, instance) = (dynamic.template.clone(), dynamic.instances.remove(&pid));
        self.forget(Target::Dynamic(pid));
        if let Some(State::Running(process)) = instance.map(|i| i.state) {
            self.stop_process(&spec, &process).await;
        }
        Ok(())
    }

    async fn restart_child(&mut self, id: &str) -> Result<StartedChild, SupervisorError> {
        let place = self.idle(id)?;
        let Some(spec) = self.children.get(place).map(|c| c.spec.clone()) else {
            return Err(SupervisorError::NotFound);
        };
        let process = self.launch(&spec, None).await?;
        let pid = process.as_ref().map(|p| p.pid);
        self.started(place, process);
        Ok(pid)
    }

    fn delete(&mut self, id: &str) -> Result<(), SupervisorError> {
        let place = self.idle(id)?;
        self.children.remove(place);
        Ok(())
    }

    fn spec_of(&self, id: &str) -> Result<ChildSpec, SupervisorError> {
        let child = self.children.place_of(id).and_then(|place| self.children.get(place));
        child.map(|c| c.spec.clone()).ok_or(SupervisorError::NotFound)
    }

    fn spec_of_instance(&self, pid: Pid) -> Result<ChildSpec, SupervisorError> {
        let dynamic = self.dynamic.as_ref().filter(|d| d.instances.contains_key(&pid));
        dynamic.map(|d| d.template.clone()).ok_or(SupervisorError::NotFound)
    }

    fn named(&self, id: &str) -> Result<u64, SupervisorError> {
        if self.dynamic.is_some() {
            return Err(SupervisorError::SimpleOneForOne);
        }
        self.children.place_of(id).ok_or(SupervisorError::NotFound)
    }

    /// A child that neither runs nor is about to.
    fn idle(&self, id: &str) -> Result<u64, SupervisorError> {
        let place = self.named(id)?;
        match self.children.get(place).map(|c| &c.state) {
            Some(State::Stopped) => Ok(place),
            Some(State::Restarting) => Err(SupervisorError::Restarting),
            Some(State::Running(_)) => Err(SupervisorError::Running),
            None => Err(SupervisorError::NotFound),
        }
    }

    fn which(&self) -> Vec<ChildEntry> {
        if let Some(dynamic) = &self.dynamic {
            return dynamic.instances.values().map(|i| self.entry(&dynamic.template, &i.state)).collect();
        }
        self.children.iter().map(|c| self.entry(&c.spec, &c.state)).collect()
    }

    fn entry(&self, spec: &ChildSpec, state: &State) -> ChildEntry {
        let mut entry = ChildEntry {
            id: spec.id.clone(),
            state: ChildState::Stopped,
            work: spec.work,
            process: None,
            supervisor: None,
        };
        match state {
            State::Stopped => {}
            State::Restarting => entry.state = ChildState::Restarting,
            State::Running(process) => {
                let path = || format!("{}/{}", self.path, spec.id).into();
                let inbox = process.signals.inbox.get().cloned();
                entry.state = ChildState::Running(process.pid);
                entry.process = Some(process.reference());
                entry.supervisor = inbox.map(|inbox| SupervisorRef { path: path(), inbox });
            }
        }
        entry
    }

    fn count(&self) -> ChildCount {
        let mut count = ChildCount::default();
        let mut add = |work: Work, n: usize| match work {
            Work::Worker => count.workers += n,
            Work::Supervisor => count.supervisors += n,
        };
        if let Some(dynamic) = &self.dynamic {
            add(dynamic.template.work, dynamic.instances.len());
            count.specs = 1;
            count.active = dynamic.instances.len() - dynamic.restarting();
            return count;
        }
        let is_active = |state: &State| matches!(state, State::Running(process) if process.is_alive());
        for child in self.children.iter() {
            add(child.spec.work, 1);
            count.specs += 1;
            count.active += usize::from(is_active(&child.state));
        }
        count
    }
}
