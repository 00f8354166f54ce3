//! The supervisor's process: one message at a time, by OTP's rules.

use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use csf_core::port::within;
use tokio::sync::mpsc::UnboundedSender;

use super::budget::Budget;
use super::children::{Children, State};
use super::dynamic::{Args, Dynamic};
use super::env::Env;
use super::inbox::{Inbox, Message, Target};
use super::process::{self, ChildContext, OnEnd, Process, Signals, Start, Starting};
use super::{
    AutoShutdown, ChildSpec, ExitReason, Flags, Pid, Report, ReportKind, Restart, Shutdown, StartError, Strategy, check,
};
use crate::exec::{panic_text, step_back};

/// Reports kept per supervisor.
const HISTORY: usize = 64;

pub(super) struct Engine {
    pub(super) path: Arc<str>,
    pub(super) flags: Flags,
    pub(super) env: Env,
    pub(super) inbox: Inbox,
    pub(super) me: UnboundedSender<Message>,
    pub(super) children: Children,
    /// Instead of `children` when the strategy is `simple_one_for_one`.
    pub(super) dynamic: Option<Dynamic>,
    pub(super) history: VecDeque<Report>,
    budget: Budget,
    /// Restarts that wait out a pause.
    delayed: BTreeSet<(Duration, Target)>,
}

/// Whether the supervisor goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Continue,
    Stop,
}

/// Whether a child that was told to stop ended as it should. A permanent one says `shutdown`, or was to be killed.
pub(super) fn is_expected(spec: &ChildSpec, reason: &ExitReason) -> bool {
    let plain = if spec.shutdown == Shutdown::BrutalKill { ExitReason::Killed } else { ExitReason::Shutdown };
    *reason == plain || (reason.is_orderly() && spec.restart != Restart::Permanent)
}

impl Engine {
    /// Checks the specifications and starts the children in order. When one fails, those before it are stopped in reverse.
    pub(super) async fn init(
        path: Arc<str>,
        flags: Flags,
        specs: Vec<ChildSpec>,
        env: Env,
    ) -> Result<Self, StartError> {
        check(&flags, &specs)?;
        let (me, inbox) = Inbox::new();
        let mut engine = Self {
            path,
            flags,
            env,
            inbox,
            me,
            children: Children::default(),
            dynamic: None,
            history: VecDeque::new(),
            budget: Budget::new(flags.intensity, flags.period_s),
            delayed: BTreeSet::new(),
        };
        if flags.strategy == Strategy::SimpleOneForOne {
            let template = specs.into_iter().next();
            engine.dynamic = template.map(|template| Dynamic { template, instances: Default::default() });
            return Ok(engine);
        }
        let places: Vec<u64> = specs.into_iter().map(|spec| engine.children.add(spec)).collect();
        if let Err((place, reason)) = engine.start_in_order(&places).await {
            let id = engine.children.get(place).map_or_else(|| "".into(), |c| c.spec.id.clone());
            engine.stop_all().await;
            return Err(StartError::Child { id, reason: Box::new(reason) });
        }
        Ok(engine)
    }

    pub(super) async fn run(mut self) -> ExitReason {
        loop {
            let flow = match self.next().await {
                Message::Exit { pid, reason } => self.on_exit(pid, reason).await,
                Message::TryAgain(target) => self.on_try_again(target).await,
                Message::Call(call) => {
                    self.on_call(call).await;
                    Flow::Continue
                }
                Message::Parent(reason) => {
                    self.stop_all().await;
                    return reason;
                }
            };
            if flow == Flow::Stop {
                self.stop_all().await;
                return ExitReason::Shutdown;
            }
        }
    }

    /// The next message, or the next restart whose pause is over.
    async fn next(&mut self) -> Message {
        loop {
            let Some(&(at, target)) = self.delayed.first() else { return self.inbox.next().await };
            let pause = at.saturating_sub(self.env.now());
            if let Some(message) = within(&*self.env.timer, pause, self.inbox.next()).await {
                return message;
            }
            self.delayed.remove(&(at, target));
            if self.is_restarting(target) {
                self.start_again(target).await;
            }
        }
    }

    async fn on_exit(&mut self, pid: Pid, reason: ExitReason) -> Flow {
        let target = match &self.dynamic {
            Some(dynamic) => dynamic.instances.contains_key(&pid).then_some(Target::Dynamic(pid)),
            None => self.children.place_of_pid(pid).map(Target::Static),
        };
        // An end that a stop has already dealt with.
        let Some(target) = target else { return Flow::Continue };
        let Some(spec) = self.spec(target) else { return Flow::Continue };
        let is_restarted = match spec.restart {
            Restart::Permanent => true,
            Restart::Transient => !reason.is_orderly(),
            Restart::Temporary => false,
        };
        if is_restarted || !reason.is_orderly() {
            self.report(&spec.id, Some(pid), ReportKind::Terminated { reason });
        }
        if is_restarted {
            return self.restart(target).await;
        }
        self.forget(target);
        self.auto_shutdown(&spec)
    }

    async fn on_try_again(&mut self, target: Target) -> Flow {
        // A start that fails at once, for ever, must not keep the thread from everybody else.
        step_back().await;
        if !self.is_restarting(target) {
            return Flow::Continue;
        }
        self.restart(target).await
    }

    fn auto_shutdown(&self, ended: &ChildSpec) -> Flow {
        if !ended.significant {
            return Flow::Continue;
        }
        let is_last = || match &self.dynamic {
            Some(dynamic) => dynamic.instances.is_empty(),
            None => !self.children.iter().any(|c| c.spec.significant && !matches!(c.state, State::Stopped)),
        };
        match self.flags.auto_shutdown {
            AutoShutdown::AnySignificant => Flow::Stop,
            AutoShutdown::AllSignificant if is_last() => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    /// Spends the budget and restarts by strategy, after a pause where one is configured.
    async fn restart(&mut self, target: Target) -> Flow {
        let Some(spec) = self.spec(target) else { return Flow::Continue };
        let now = self.env.now();
        if !self.budget.spend(now) {
            self.report(&spec.id, None, ReportKind::BudgetSpent { restarts: self.budget.in_period() });
            self.forget(target);
            return Flow::Stop;
        }
        let Some(backoff) = self.flags.backoff else {
            self.start_again(target).await;
            return Flow::Continue;
        };
        let failures = self.count_failure(target, now, backoff.reset_after);
        self.set(target, State::Restarting);
        if let Target::Static(place) = target {
            // Those that depend on it do not run without it.
            let mut group = self.group_of(place);
            group.retain(|&p| p != place);
            self.stop_in_reverse(&group).await;
        }
        let pause = self.env.pause(&backoff, failures);
        self.report(&spec.id, None, ReportKind::Delayed { pause });
        self.delayed.insert((now + pause, target));
        Flow::Continue
    }

    fn count_failure(&mut self, target: Target, now: Duration, reset_after: Duration) -> u32 {
        let (failures, started_at, is_running) = match target {
            Target::Static(place) => match self.children.get_mut(place) {
                Some(c) => (&mut c.failures, c.started_at, matches!(c.state, State::Running(_))),
                None => return 1,
            },
            Target::Dynamic(pid) => match self.dynamic.as_mut().and_then(|d| d.instances.get_mut(&pid)) {
                Some(i) => (&mut i.failures, i.started_at, matches!(i.state, State::Running(_))),
                None => return 1,
            },
        };
        let has_recovered = is_running && now.saturating_sub(started_at) >= reset_after;
        *failures = if has_recovered { 1 } else { failures.saturating_add(1) };
        *failures
    }

    async fn start_again(&mut self, target: Target) {
        match target {
            Target::Dynamic(pid) => self.start_instance_again(pid).await,
            Target::Static(place) if self.flags.strategy == Strategy::OneForOne => {
                let Some(spec) = self.spec(target) else { return };
                match self.launch(&spec, None).await {
                    Ok(process) => self.started(place, process),
                    Err(error) => self.try_again(target, &spec.id, &error),
                }
            }
            Target::Static(place) => {
                self.set(target, State::Stopped);
                let group = self.group_of(place);
                self.stop_in_reverse(&group).await;
                // Temporary ones are gone now.
                let group: Vec<u64> = group.into_iter().filter(|&p| self.children.get(p).is_some()).collect();
                if let Err((failed, _)) = self.start_in_order(&group).await {
                    self.set(Target::Static(failed), State::Restarting);
                    self.tell_myself(Target::Static(failed));
                }
            }
        }
    }

    async fn start_instance_again(&mut self, pid: Pid) {
        let Some(dynamic) = &mut self.dynamic else { return };
        let Some(instance) = dynamic.instances.get(&pid) else { return };
        let (args, failures, spec) = (instance.args.clone(), instance.failures, dynamic.template.clone());
        self.set(Target::Dynamic(pid), State::Restarting);
        match self.launch(&spec, args.clone()).await {
            Ok(process) => {
                let now = self.env.now();
                let Some(dynamic) = &mut self.dynamic else { return };
                dynamic.instances.remove(&pid);
                if let Some(process) = process {
                    dynamic.add(process, args, failures, now);
                }
            }
            Err(error) => self.try_again(Target::Dynamic(pid), &spec.id, &error),
        }
    }

    /// The children that a failure of `place` concerns, in start order.
    fn group_of(&self, place: u64) -> Vec<u64> {
        match self.flags.strategy {
            Strategy::OneForAll => self.children.from(0),
            Strategy::RestForOne => self.children.from(place),
            Strategy::OneForOne | Strategy::SimpleOneForOne => vec![place],
        }
    }

    fn try_again(&mut self, target: Target, id: &Arc<str>, error: &StartError) {
        self.set(target, State::Restarting);
        self.report(id, None, ReportKind::StartFailed { reason: error.clone() });
        self.tell_myself(target);
    }

    /// Through the inbox, so that what came in meanwhile is handled first: a stop, or a call that takes the child away.
    fn tell_myself(&self, target: Target) {
        // It cannot be closed: this is its receiver's owner.
        let _ = self.me.send(Message::TryAgain(target));
    }

    /// Starts children in order. The first that fails ends it, with its place.
    async fn start_in_order(&mut self, places: &[u64]) -> Result<(), (u64, StartError)> {
        for &place in places {
            let Some(spec) = self.spec(Target::Static(place)) else { continue };
            match self.launch(&spec, None).await {
                Ok(None) if spec.restart == Restart::Temporary => self.children.remove(place),
                Ok(process) => self.started(place, process),
                Err(error) => {
                    self.report(&spec.id, None, ReportKind::StartFailed { reason: error.clone() });
                    return Err((place, error));
                }
            }
        }
        Ok(())
    }

    pub(super) fn started(&mut self, place: u64, process: Option<Process>) {
        let now = self.env.now();
        let Some(child) = self.children.get_mut(place) else { return };
        child.started_at = now;
        let (id, pid) = (child.spec.id.clone(), process.as_ref().map(|p| p.pid));
        self.children.set(place, process.map_or(State::Stopped, State::Running));
        if pid.is_some() {
            self.report(&id, pid, ReportKind::Started);
        }
    }

    /// Runs one start; `None` when it says that no process is needed.
    pub(super) async fn launch(&self, spec: &ChildSpec, args: Args) -> Result<Option<Process>, StartError> {
        let (pid, signals) = (self.env.pid(), Arc::new(Signals::default()));
        let cx = ChildContext {
            pid,
            id: spec.id.clone(),
            supervisor: self.path.clone(),
            env: self.env.clone(),
            signals: signals.clone(),
            args,
        };
        let starting = catch_unwind(AssertUnwindSafe(|| spec.start.start(cx))).map_err(panicked)?;
        let start = match starting {
            Starting::Now(start) => start?,
            Starting::Later(start) => guarded(start).await?,
        };
        match start {
            Start::Ignore => Ok(None),
            Start::Run(body) => {
                let on_end = OnEnd::Supervisor(pid, self.me.clone());
                Ok(Some(process::spawn(&self.env, pid, signals, body, on_end)))
            }
        }
    }

    async fn stop_all(&mut self) {
        self.stop_instances().await;
        let all = self.children.from(0);
        self.stop_in_reverse(&all).await;
    }

    /// Stops children, last first; temporary ones are forgotten.
    async fn stop_in_reverse(&mut self, places: &[u64]) {
        for &place in places.iter().rev() {
            self.stop_child(place).await;
            self.forget_temporary(place);
        }
    }

    /// Stops a child and leaves its specification.
    pub(super) async fn stop_child(&mut self, place: u64) {
        self.delayed.retain(|(_, target)| *target != Target::Static(place));
        let Some(spec) = self.spec(Target::Static(place)) else { return };
        if let Some(process) = self.children.set(place, State::Stopped) {
            self.stop_process(&spec, &process).await;
        }
    }

    pub(super) async fn stop_process(&mut self, spec: &ChildSpec, process: &Process) {
        let (timer, pid) = (self.env.timer.clone(), process.pid);
        let asked = match spec.shutdown {
            Shutdown::BrutalKill => None,
            Shutdown::Within(limit) => {
                process.signals.shut_down(ExitReason::Shutdown);
                within(&*timer, limit, self.inbox.exit_of(pid)).await
            }
            Shutdown::Infinity => {
                process.signals.shut_down(ExitReason::Shutdown);
                Some(self.inbox.exit_of(pid).await)
            }
        };
        let reason = match asked {
            Some(reason) => reason,
            None => {
                process.signals.kill();
                let end = within(&*timer, self.env.kill_grace, self.inbox.exit_of(pid)).await;
                end.unwrap_or(ExitReason::Abandoned)
            }
        };
        if !is_expected(spec, &reason) {
            self.report(&spec.id, Some(pid), ReportKind::ShutdownFailed { reason });
        }
    }

    /// A child that ended for good: its specification stays unless it is temporary or dynamic.
    pub(super) fn forget(&mut self, target: Target) {
        self.delayed.retain(|(_, delayed)| *delayed != target);
        match target {
            Target::Dynamic(pid) => {
                self.dynamic.as_mut().and_then(|d| d.instances.remove(&pid));
            }
            Target::Static(place) => {
                self.set(target, State::Stopped);
                self.forget_temporary(place);
            }
        }
    }

    pub(super) fn forget_temporary(&mut self, place: u64) {
        if self.children.get(place).is_some_and(|c| c.spec.restart == Restart::Temporary) {
            self.children.remove(place);
        }
    }

    fn is_restarting(&self, target: Target) -> bool {
        let state = match target {
            Target::Static(place) => self.children.get(place).map(|c| &c.state),
            Target::Dynamic(pid) => self.dynamic.as_ref().and_then(|d| d.instances.get(&pid)).map(|i| &i.state),
        };
        matches!(state, Some(State::Restarting))
    }

    fn set(&mut self, target: Target, state: State) {
        match target {
            // The process it had has ended.
            Target::Static(place) => drop(self.children.set(place, state)),
            Target::Dynamic(pid) => {
                if let Some(instance) = self.dynamic.as_mut().and_then(|d| d.instances.get_mut(&pid)) {
                    instance.state = state;
                }
            }
        }
    }

    fn spec(&self, target: Target) -> Option<ChildSpec> {
        match target {
            Target::Static(place) => self.children.get(place).map(|c| c.spec.clone()),
            Target::Dynamic(_) => self.dynamic.as_ref().map(|d| d.template.clone()),
        }
    }

    pub(super) fn report(&mut self, child: &Arc<str>, pid: Option<Pid>, kind: ReportKind) {
        let report = Report { at: self.env.now(), supervisor: self.path.clone(), child: child.clone(), pid, kind };
        (self.env.observer)(&report);
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(report);
    }
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> StartError {
    StartError::Failed(ExitReason::Panicked(panic_text(panic.as_ref()).into()))
}

/// A start whose panic is a failed start.
async fn guarded(start: impl Future<Output = Result<Start, StartError>>) -> Result<Start, StartError> {
    let mut start = pin!(start);
    poll_fn(|cx| {
        catch_unwind(AssertUnwindSafe(|| start.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(panicked(panic))))
    })
    .await
}
