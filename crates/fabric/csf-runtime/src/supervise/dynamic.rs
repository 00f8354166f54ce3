//! The children of a `simple_one_for_one` supervisor: instances of one specification, stopped together and in no order.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use csf_core::port::within;

use super::children::State;
use super::engine::{Engine, is_expected};
use super::process::Process;
use super::{ChildSpec, ExitReason, Pid, ReportKind, Restart, Shutdown};

pub(super) type Args = Option<Arc<dyn Any + Send + Sync>>;

pub(super) struct Instance {
    /// For the next start; a temporary child has none.
    pub(super) args: Args,
    pub(super) state: State,
    pub(super) failures: u32,
    pub(super) started_at: Duration,
}

pub(super) struct Dynamic {
    pub(super) template: ChildSpec,
    /// By the instance's process, or the one that ended while it waits for its restart.
    pub(super) instances: BTreeMap<Pid, Instance>,
}

impl Dynamic {
    pub(super) fn add(&mut self, process: Process, args: Args, failures: u32, started_at: Duration) {
        let args = if self.template.restart == Restart::Temporary { None } else { args };
        let instance = Instance { args, state: State::Running(process), failures, started_at };
        if let State::Running(process) = &instance.state {
            self.instances.insert(process.pid, instance);
        }
    }

    pub(super) fn restarting(&self) -> usize {
        self.instances.values().filter(|i| matches!(i.state, State::Restarting)).count()
    }
}

impl Engine {
    /// Asks all instances at once and waits for all; the time to stop is theirs together.
    pub(super) async fn stop_instances(&mut self) {
        let Some(dynamic) = &mut self.dynamic else { return };
        let spec = dynamic.template.clone();
        let processes: Vec<Process> = std::mem::take(&mut dynamic.instances)
            .into_values()
            .filter_map(|i| if let State::Running(process) = i.state { Some(process) } else { None })
            .collect();
        let mut waiting: BTreeSet<Pid> = BTreeSet::new();
        for process in &processes {
            waiting.insert(process.pid);
            match spec.shutdown {
                Shutdown::BrutalKill => process.signals.kill(),
                _ => process.signals.shut_down(ExitReason::Shutdown),
            }
        }
        let limit = match spec.shutdown {
            Shutdown::Within(limit) => Some(limit),
            Shutdown::BrutalKill => Some(Duration::ZERO),
            Shutdown::Infinity => None,
        };
        let mut ends = Vec::new();
        self.collect(&mut waiting, &mut ends, limit).await;
        if !waiting.is_empty() {
            processes.iter().filter(|p| waiting.contains(&p.pid)).for_each(|p| p.signals.kill());
            let grace = self.env.kill_grace;
            self.collect(&mut waiting, &mut ends, Some(grace)).await;
        }
        ends.extend(waiting.into_iter().map(|pid| (pid, ExitReason::Abandoned)));
        for (pid, reason) in ends {
            if !is_expected(&spec, &reason) {
                self.report(&spec.id, Some(pid), ReportKind::ShutdownFailed { reason });
            }
        }
    }

    /// Gathers the ends of those `waiting` until all are there or `limit` is over.
    async fn collect(
        &mut self,
        waiting: &mut BTreeSet<Pid>,
        ends: &mut Vec<(Pid, ExitReason)>,
        limit: Option<Duration>,
    ) {
        let inbox = &mut self.inbox;
        let all = async {
            while !waiting.is_empty() {
                let (pid, reason) = inbox.exit_matching(|pid| waiting.contains(&pid)).await;
                waiting.remove(&pid);
                ends.push((pid, reason));
            }
        };
        match limit {
            Some(limit) => drop(within(&*self.env.timer, limit, all).await),
            None => all.await,
        }
    }
}
