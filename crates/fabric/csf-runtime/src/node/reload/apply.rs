//! Carrying a plan out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use csf_bus::{Interest, Order, Start, Subscription, Topic, TopicError};
use csf_core::{LaneId, MessageId, Stamp};

use super::plan::ReloadPlan;
use super::turnover::{Altered, ServiceTurnover, Turnover};
use super::{ReloadError, ReloadReport};
use crate::DELIVERY_TOPIC;
use crate::exec::{ComponentPaths, DispatcherHandle, RunState, Runner, hand_over};
use crate::node::handle::Node;
use crate::node::live::{Live, LiveComponent};
use crate::node::wiring::{open_input, open_outputs};
use crate::runs::{Begins, Chapter};
use crate::topology::{ComponentNode, Topology};

/// Between two looks whether a component has its state back.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What is done to a dispatcher's runners, in order.
type Job = Box<dyn FnOnce(&mut Vec<Runner>) + Send>;

/// Components prepared to go on, by dispatcher.
type Jobs = BTreeMap<usize, Vec<Job>>;

impl Node {
    pub(super) async fn apply(self: &Arc<Self>, to: Topology) -> Result<ReloadReport, ReloadError> {
        let began = self.now_ns();
        let live = self.live();
        let services = ServiceTurnover::between(&live, &to);
        let turnover = Turnover::between(&live, &to, &services);
        let plan = ReloadPlan::between(&live.topology, &to, &turnover, &services).map_err(ReloadError::NeedsStart)?;
        if plan.steps.is_empty() {
            return Ok(ReloadReport { generation: live.generation, plan, ms: 0.0, pause_ms: 0.0 });
        }
        let next = self.lay_out(&live, &turnover, to);
        self.declare(&next).await?;
        let runner = self.services.get();
        if let Some(runner) = runner {
            runner.end(&services).await;
        }
        let paused = self.now_ns();
        let outcome = self.turn_over(&live, &next, &turnover, &services.ending).await;
        let resumed = self.now_ns();
        if outcome.is_ok() {
            *self.live.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
            self.guards.apply(&next.topology.settings);
            self.watch_parts();
            if live.topology.settings.performance != next.topology.settings.performance {
                self.watch_requirements();
            }
        }
        if let Some(runner) = runner {
            match &outcome {
                Ok(()) => runner.begin(&live, &next, &services).await,
                Err(_) => runner.take_back(&live, &services).await,
            }
        }
        self.register_parts().await;
        outcome?;
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        let pause_ms = if turnover.is_empty() { 0.0 } else { ms(paused, resumed) };
        Ok(ReloadReport { generation: next.generation, plan, ms: ms(began, self.now_ns()), pause_ms })
    }

    /// Who does what under the new configuration. Numbers that nobody has are given out anew: all their deliveries are in the journal
    /// before the chapter that does.
    fn lay_out(&self, live: &Live, turnover: &Turnover, to: Topology) -> Arc<Live> {
        let stays = |name: &str| live.component(name).map(|(_, place)| place.clone());
        let mut taken: BTreeSet<u16> = BTreeSet::new();
        let mut load = vec![0_usize; self.desk_count()];
        for place in to.component_names().filter_map(|name| stays(&name)) {
            taken.insert(place.number);
            load[place.dispatcher] += 1;
        }
        let mut free = (0..u16::MAX).filter(|number| !taken.contains(number));
        let places = to.component_names().map(|name| {
            stays(&name).unwrap_or_else(|| {
                let dispatcher = (0..load.len()).min_by_key(|at| load[*at]).unwrap_or(0);
                load[dispatcher] += 1;
                let number = free.next().unwrap_or(u16::MAX);
                LiveComponent { number, dispatcher, stats: Arc::default(), tie: Arc::default() }
            })
        });
        let places = places.collect();
        let services = to.services.iter().map(|service| {
            live.service(&service.settings.name.value).map_or_else(Arc::default, |(_, stats)| stats.clone())
        });
        debug_assert!(turnover.added.iter().all(|name| stays(name).is_none()));
        let services = services.collect();
        Arc::new(Live::new(to, places, services, live.generation + 1))
    }

    /// New topics, recorded before anybody writes them.
    async fn declare(&self, next: &Live) -> Result<(), ReloadError> {
        let mut topics: Vec<Arc<Topic>> = Vec::new();
        for spec in next.topology.topics.values() {
            let topic = self.bus.declare(spec.clone())?;
            if spec.recorded {
                topics.push(topic);
            }
        }
        let delivery_of =
            next.components().map(|(node, place)| (node.settings.name.value.clone(), self.desk(place.dispatcher).log));
        self.recorder.record(topics, delivery_of.collect()).await.map_err(|reason| ReloadError::Journal { reason })
    }

    /// Takes the touched components from the old configuration to the new one.
    async fn turn_over(
        &self,
        live: &Live,
        next: &Arc<Live>,
        turnover: &Turnover,
        stopped: &BTreeSet<String>,
    ) -> Result<(), ReloadError> {
        let touched: BTreeSet<String> =
            turnover.removed.iter().chain(turnover.altered.iter().map(|altered| &altered.name)).cloned().collect();
        self.set_paused(&touched, true).await?;
        self.wait_for_states(&touched).await?;
        let prepared = self.prepare(live, next, turnover, stopped).await;
        let jobs = match prepared {
            Ok(jobs) => jobs,
            Err(error) => {
                self.set_paused(&touched, false).await?;
                return Err(error);
            }
        };
        for (at, jobs) in jobs {
            let job = move |runners: &mut Vec<Runner>| jobs.into_iter().for_each(|job| job(runners));
            self.dispatcher(at)?.between_rounds(job).await.ok_or(ReloadError::DispatcherGone)?;
        }
        Ok(())
    }

    fn dispatcher(&self, at: usize) -> Result<Arc<DispatcherHandle>, ReloadError> {
        let dispatchers = self.dispatchers.lock().unwrap_or_else(PoisonError::into_inner);
        dispatchers.get(at).cloned().ok_or(ReloadError::DispatcherGone)
    }

    async fn set_paused(&self, names: &BTreeSet<String>, is_paused: bool) -> Result<(), ReloadError> {
        if names.is_empty() {
            return Ok(());
        }
        for at in 0..self.desk_count() {
            let names = names.clone();
            let job = move |runners: &mut Vec<Runner>| {
                runners.iter_mut().filter(|r| names.contains(&r.name)).for_each(|r| r.is_paused = is_paused);
            };
            self.dispatcher(at)?.between_rounds(job).await.ok_or(ReloadError::DispatcherGone)?;
        }
        Ok(())
    }

    /// A component that waits for the state it had before a failure cannot be changed meanwhile.
    async fn wait_for_states(&self, names: &BTreeSet<String>) -> Result<(), ReloadError> {
        for at in 0..self.desk_count() {
            loop {
                let names = names.clone();
                let is_waiting = move |runners: &mut Vec<Runner>| {
                    runners.iter().any(|runner| runner.is_broken && names.contains(&runner.name))
                };
                let answer = self.dispatcher(at)?.between_rounds(is_waiting).await;
                if !answer.ok_or(ReloadError::DispatcherGone)? {
                    break;
                }
                self.world.timer.sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    fn desk_count(&self) -> usize {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Opens what the components will need, makes everything before durable, and journals the change.
    async fn prepare(
        &self,
        live: &Live,
        next: &Arc<Live>,
        turnover: &Turnover,
        stopped: &BTreeSet<String>,
    ) -> Result<Jobs, ReloadError> {
        self.make_durable(live, stopped).await?;
        let mut begins: BTreeMap<String, Begins> = BTreeMap::new();
        let mut jobs = Jobs::new();
        for name in &turnover.removed {
            let Some((_, place)) = live.component(name) else { continue };
            let name = name.clone();
            jobs.entry(place.dispatcher).or_default().push(Box::new(move |runners| {
                runners.retain(|runner| runner.name != name);
            }));
        }
        for altered in &turnover.altered {
            let (Some((was, place)), Some((node, _))) = (live.component(&altered.name), next.component(&altered.name))
            else {
                continue;
            };
            // One that was given up, be it since the plan was made, let go of everything; a change brings it back.
            let is_down = place.is_down();
            let reads_newly = match is_down {
                true => node.settings.reads.iter().map(|topic| topic.value.clone()).collect(),
                false => altered.reads_newly.clone(),
            };
            let mut held = self.hold(node, place, &reads_newly)?;
            begins.insert(altered.name.clone(), held.places());
            let alteration = self.alteration((was, node), place, altered, held, is_down)?;
            jobs.entry(place.dispatcher).or_default().push(alteration);
        }
        for name in &turnover.added {
            let Some((node, place)) = next.component(name) else { continue };
            let mut input = open_input(&self.bus, node, Start::Now, &self.desk(place.dispatcher))?;
            begins.insert(name.clone(), input.places());
            jobs.entry(place.dispatcher).or_default().push(self.addition(node, place, input)?);
        }
        begins.retain(|_, lanes| !lanes.is_empty());
        let chapter = Chapter {
            position: 0,
            stamp: Stamp(self.now_ns()),
            incarnation: self.bus.config().incarnation,
            build_id: self.build_id.clone(),
            config: next.topology.settings.text.clone(),
            components: next.numbers(),
            is_start: false,
            begins,
        };
        let journaled = self.recorder.append(chapter.event().into()).await;
        journaled.map_err(|error| ReloadError::Journal { reason: error.to_string() })?;
        Ok(jobs)
    }

    /// Waits until all deliveries so far, and all that the stopped services published, are durable.
    async fn make_durable(&self, live: &Live, stopped: &BTreeSet<String>) -> Result<(), ReloadError> {
        let mut last: Vec<MessageId> = Vec::new();
        let mut add = |committed: Vec<(LaneId, u64)>| {
            last.extend(committed.into_iter().filter(|(_, count)| *count > 0).map(|(lane, n)| lane.message(n - 1)));
        };
        add(self.bus.topic(DELIVERY_TOPIC)?.committed());
        let writes = stopped.iter().filter_map(|name| live.service(name)).flat_map(|(s, _)| s.settings.writes.values());
        let topics: BTreeSet<&str> = writes.map(|topic| topic.value.as_str()).collect();
        for topic in topics {
            add(self.bus.topic(topic)?.committed());
        }
        for id in last {
            self.feed().durable(id).await.map_err(|reason| ReloadError::Journal { reason })?;
        }
        Ok(())
    }

    /// Reads topics from now on for a component that will: the chapter tells where that is, and what comes meanwhile waits here.
    fn hold(&self, node: &ComponentNode, place: &LiveComponent, topics: &[String]) -> Result<Subscription, TopicError> {
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        let interest = Interest::new().start(Start::Now).order(Order::Stamp).label(&node.settings.name.value);
        self.bus.subscribe_any(&topics, interest, self.desk(place.dispatcher).bell)
    }

    fn addition(&self, node: &ComponentNode, place: &LiveComponent, input: Subscription) -> Result<Job, TopicError> {
        let outputs = open_outputs(&self.bus, node, |_| true)?;
        let mut runner = Runner::new(node, place, input, outputs, &self.kit);
        Ok(Box::new(move |runners| {
            runner.input.allow_sleep();
            runner.stats.set_state(RunState::Running);
            (runner.observer)(&runner.name, "started", "by a change of the configuration");
            runners.push(runner);
        }))
    }

    fn alteration(
        &self,
        (was, node): (&ComponentNode, &ComponentNode),
        place: &LiveComponent,
        altered: &Altered,
        held: Subscription,
        is_down: bool,
    ) -> Result<Job, TopicError> {
        let written: BTreeSet<String> = was.settings.writes.values().map(|topic| topic.value.clone()).collect();
        let mut opened = open_outputs(&self.bus, node, |topic| !written.contains(topic))?;
        let (was, node, leaves) = (was.clone(), node.clone(), altered.leaves.clone());
        let (is_same_machine, is_connected_otherwise) = (altered.is_same_machine, altered.is_connected_otherwise);
        let (paths, tie) = (self.kit.paths.clone(), place.tie.clone());
        Ok(Box::new(move |runners| {
            let Some(runner) = runners.iter_mut().find(|r| r.name == node.settings.name.value) else { return };
            // A stuck one has its lanes with it: the next start takes it up as it is told now.
            let Some(machine) = &mut runner.machine else { return };
            if is_down {
                // Its dispatcher may not know yet.
                runner.input.detach();
                runner.backlog.clear();
                runner.is_held = false;
            }
            leaves.iter().for_each(|topic| runner.input.remove_topic(topic));
            runner.backlog.retain(|(lane, ..)| !leaves.contains(&lane.topic));
            runner.input.adopt(held);
            runner.input.allow_sleep();
            if is_connected_otherwise {
                let mut held = std::mem::take(&mut machine.outputs);
                held.append(&mut opened);
                for (port, topic) in &node.settings.writes {
                    if let Some(at) = held.iter().position(|(_, writer)| writer.info().topic == topic.value) {
                        machine.outputs.push((port.clone(), held.swap_remove(at).1));
                    }
                }
                runner.paths = ComponentPaths::new(paths);
            }
            if !is_same_machine {
                let timers = std::mem::take(&mut runner.timers);
                (machine.component, runner.timers) = hand_over(machine.component.as_ref(), timers, &was, &node);
                runner.stats.add_instance();
                (runner.observer)(&runner.name, "started", "by a change of its options");
            }
            machine.ports = node.kind.writes.iter().map(|p| p.port).collect();
            runner.factory = node.factory.clone();
            runner.restart = node.settings.restart;
            runner.stuck_after = node.settings.stuck_after;
            runner.recent_restarts.clear();
            runner.checkpoint = None;
            // One that is held goes on when its supervisor starts it.
            let is_supervised = node.settings.supervisor.is_some();
            runner.is_held &= is_supervised;
            runner.stats.set_state(if runner.is_held { RunState::Restarting } else { RunState::Running });
            runner.is_paused = false;
            // A failure that its supervisor is about to hear of stays one.
            if is_down || runner.tie.is_none() || !is_supervised {
                tie.renew();
            }
            runner.tie = is_supervised.then_some(tie);
        }))
    }
}
