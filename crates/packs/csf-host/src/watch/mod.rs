//! The component `host.watch`: a control chart per field of the machine's streams, and an anomaly whenever one is left.
//!
//! A field is raised when its chart's score passes `raise_sigmas` and cleared when it falls below `clear_sigmas`: between them the
//! state holds, so a field at the edge does not flutter. A field is raised at most once per `raise_interval_s`; excursions in
//! between are counted in the next raise. The method and its sources are in `chart`, the fields and their floors in `fields`.
//! Invariant: outputs depend on the deliveries alone, and a restored watch goes on bit for bit.

mod chart;
mod fields;
mod options;

use std::collections::BTreeMap;

use csf_core::{Attributes, Component, Context, Event, Fault, Stamp};
use serde::{Deserialize, Serialize};

pub use options::WatchOptions;

use crate::message::{Anomaly, AnomalyPhase, Direction, Severity};
use chart::{Chart, ChartRule, Judgement};
use fields::{Field, full_name};

/// The output port.
const ANOMALY: &str = "anomaly";
/// A raise is critical from this many times `raise_sigmas` standard deviations of one sample.
const CRITICAL_TIMES: f64 = 4.0;

/// The component.
#[derive(Clone, Debug)]
pub struct Watch {
    options: WatchOptions,
    weight: f64,
    /// Smallest believed deviation by message and field; absent for the ignored.
    floors: BTreeMap<(&'static str, &'static str), f64>,
    state: State,
}

/// All that a snapshot holds: charts by topic, in the order of the message's fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    streams: BTreeMap<String, Vec<FieldState>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct FieldState {
    chart: Chart,
    phase: Phase,
    last_raise: Option<Stamp>,
    muted: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
enum Phase {
    /// Inside its chart.
    #[default]
    Quiet,
    /// Outside and told.
    Raised { direction: Direction, severity: Severity, since: Stamp },
    /// Outside but kept quiet by the rate limit.
    Muted,
}

impl Watch {
    /// A watch that has seen nothing.
    #[must_use]
    pub fn new(options: &WatchOptions) -> Self {
        let mut floors = BTreeMap::new();
        for field in fields::FIELDS.iter().copied().flatten() {
            let name = full_name(field);
            if !options.ignore.contains(&name) {
                floors.insert((field.message, field.name), options.floors.get(&name).copied().unwrap_or(field.floor));
            }
        }
        // After one half-life the rest (1 - weight)^h is one half.
        let weight = 1.0 - libm::exp2(-1.0 / options.half_life_samples);
        Self { options: options.clone(), weight, floors, state: State::default() }
    }

    /// What a judged sample changes, and what is to be said about it.
    fn step(&self, state: &mut FieldState, field: &Field, now: Stamp, judged: Judgement) -> Option<Notice> {
        let score = if field.side.includes(judged.score) { judged.score.abs() } else { 0.0 };
        let is_out = score >= self.options.raise_sigmas;
        let is_back = score < self.options.clear_sigmas;
        match state.phase {
            Phase::Quiet | Phase::Muted if is_out && self.may_raise(state, now) => Some(self.raise(state, now, judged)),
            Phase::Quiet if is_out => {
                state.phase = Phase::Muted;
                state.muted = state.muted.saturating_add(1);
                None
            }
            Phase::Muted if is_back => {
                state.phase = Phase::Quiet;
                None
            }
            Phase::Raised { direction, severity, since } if is_back => {
                state.phase = Phase::Quiet;
                let lasted_s = now.since(since) as f64 / 1e9;
                Some(Notice { phase: AnomalyPhase::Cleared, direction, severity, lasted_s, muted: 0 })
            }
            _ => None,
        }
    }

    fn may_raise(&self, state: &FieldState, now: Stamp) -> bool {
        state.last_raise.is_none_or(|last| now.since(last) as f64 / 1e9 >= self.options.raise_interval_s)
    }

    fn raise(&self, state: &mut FieldState, now: Stamp, judged: Judgement) -> Notice {
        let direction = if judged.score > 0.0 { Direction::Above } else { Direction::Below };
        let is_critical = judged.sigmas.abs() >= CRITICAL_TIMES * self.options.raise_sigmas;
        let severity = if is_critical { Severity::Critical } else { Severity::Warning };
        // The excursion that is raised now may have begun muted; it is told, so it does not count.
        let own = u32::from(state.phase == Phase::Muted);
        let muted = std::mem::take(&mut state.muted).saturating_sub(own);
        state.phase = Phase::Raised { direction, severity, since: now };
        state.last_raise = Some(now);
        Notice { phase: AnomalyPhase::Raised, direction, severity, lasted_s: 0.0, muted }
    }
}

struct Notice {
    phase: AnomalyPhase,
    direction: Direction,
    severity: Severity,
    lasted_s: f64,
    muted: u32,
}

impl Component for Watch {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let Some((fields, values)) = fields::values(event) else {
            let (topic, expected) = (event.topic.to_owned(), "message of the host pack's telemetry");
            return Err(Fault::WrongType { topic, expected });
        };
        let mut states = self.state.streams.remove(event.topic).unwrap_or_default();
        states.resize(fields.len(), FieldState::default());
        let mut result = Ok(());
        for ((field, value), state) in fields.iter().zip(values).zip(&mut states) {
            let Some(&floor) = self.floors.get(&(field.message, field.name)) else { continue };
            let rule = ChartRule { weight: self.weight, warm_up: self.options.warm_up_samples, floor };
            let Some(judged) = state.chart.judge(&rule, value) else { continue };
            let Some(notice) = self.step(state, field, cx.now(), judged) else { continue };
            let anomaly = anomaly(event.topic, field, value, judged, &notice);
            let attributes = Attributes { measured_at: event.header.measured_at, ..Attributes::default() };
            result = result.and(cx.publish_with(ANOMALY, anomaly, attributes).map(|_| ()));
        }
        self.state.streams.insert(event.topic.to_owned(), states);
        result
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(&self.state).expect("maps, numbers and unit enums have a postcard form")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let (state, rest) = postcard::take_from_bytes::<State>(snapshot)
            .map_err(|error| Fault::Snapshot { reason: error.to_string() })?;
        if !rest.is_empty() {
            return Err(Fault::Snapshot { reason: format!("{} bytes are left over", rest.len()) });
        }
        self.state = state;
        Ok(())
    }

    /// The state is what was seen; the options are not in it.
    fn take_over(&mut self, snapshot: &[u8]) -> bool {
        self.restore(snapshot).is_ok()
    }
}

fn anomaly(topic: &str, field: &Field, value: f64, judged: Judgement, notice: &Notice) -> Anomaly {
    Anomaly {
        stream: topic.to_owned(),
        field: field.name.to_owned(),
        phase: notice.phase,
        severity: notice.severity,
        direction: notice.direction,
        value,
        expected: judged.expected,
        deviation: value - judged.expected,
        deviation_sigmas: judged.sigmas,
        lasted_s: notice.lasted_s,
        muted: notice.muted,
    }
}

#[cfg(test)]
mod tests;
