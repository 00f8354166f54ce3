//! How services and components are supervised: `restart`, `stop_within` and `[supervisor.NAME]`.

use std::time::Duration;

use super::keys;
use super::settings::{Located, Reader, RestartSettings};
use super::{Item, Location, Problem, Tree};
use crate::supervise::{Backoff, Restart, Strategy};

/// How long a service may take to stop, unless it is told otherwise: OTP's default for workers.
pub(super) const STOP_WITHIN: Duration = Duration::from_secs(5);

/// How long a component's handler may take, unless it is told otherwise.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// When a service is started again: `restart = { policy, at_most, within, backoff }`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceRestart {
    /// After which ends. `transient` unless told otherwise: a service that says it is done is done.
    pub policy: Restart,
    /// How often. Of the supervisor, for services that name one.
    pub budget: RestartSettings,
    /// Pauses before restarts.
    pub backoff: Option<Backoff>,
    /// Where the budget or the pauses are set, to refuse them for services that name a supervisor.
    pub budget_at: Option<Location>,
}

/// `[supervisor.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct SupervisorSettings {
    /// Its name in the node.
    pub name: String,
    /// Where the section stands.
    pub at: Location,
    /// Which of its children a failure concerns.
    pub strategy: Strategy,
    /// How often, for all of them together.
    pub budget: RestartSettings,
    /// Pauses before restarts.
    pub backoff: Option<Backoff>,
    /// The supervisor above it.
    pub above: Option<Located<String>>,
    /// What happens when the budget is spent, where no other is above it.
    pub when_spent: WhenSpent,
    /// Where `when_spent` is set, to refuse it below another supervisor.
    pub when_spent_at: Option<Location>,
}

/// What follows when a supervisor's budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenSpent {
    /// Its children stay down, the node goes on degraded.
    #[default]
    GiveUp,
    /// The node stops.
    StopNode,
}

// In the order of their names in `keys`.
const POLICIES: [Restart; 3] = [Restart::Permanent, Restart::Transient, Restart::Temporary];
const STRATEGIES: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];
const WHEN_SPENT: [WhenSpent; 2] = [WhenSpent::GiveUp, WhenSpent::StopNode];

impl Reader {
    pub(super) fn service_restart(&mut self, item: &Item) -> ServiceRestart {
        let mut restart = ServiceRestart {
            policy: Restart::Transient,
            budget: RestartSettings::default(),
            backoff: Some(Backoff::default()),
            budget_at: None,
        };
        let Some(section) = item.at(["restart"]) else { return restart };
        self.known_keys(section, keys::SERVICE_RESTART, "key");
        restart.policy = self.choice(section, "policy", keys::POLICIES, &POLICIES).unwrap_or(restart.policy);
        restart.budget = self.budget(section);
        restart.backoff = self.backoff(section);
        restart.budget_at = place_of(section, &["at_most", "within", "backoff"]);
        restart
    }

    pub(super) fn supervisor(&mut self, name: &str, item: &Item) -> SupervisorSettings {
        self.known_keys(item, keys::SUPERVISOR, "key");
        SupervisorSettings {
            name: name.to_owned(),
            at: item.key.clone(),
            strategy: self.choice(item, "strategy", keys::STRATEGIES, &STRATEGIES).unwrap_or_default(),
            budget: self.budget(item),
            backoff: self.backoff(item),
            above: self.text(item, "supervisor"),
            when_spent: self.choice(item, "when_spent", keys::WHEN_SPENT, &WHEN_SPENT).unwrap_or_default(),
            when_spent_at: item.at(["when_spent"]).map(|item| item.key.clone()),
        }
    }

    /// `stuck_after = "30s"`, `false` for never.
    pub(super) fn stuck_after(&mut self, item: &Item) -> Option<Duration> {
        let is_off = |item: &Item| matches!(item.tree, Tree::Leaf(toml::Value::Boolean(false)));
        match item.at(["stuck_after"]) {
            Some(found) if is_off(found) => None,
            Some(_) => Some(self.duration(item, "stuck_after").unwrap_or(STUCK_AFTER)),
            None => Some(STUCK_AFTER),
        }
    }

    /// `at_most` and `within`, whole seconds from 1.
    pub(super) fn budget(&mut self, section: &Item) -> RestartSettings {
        let mut budget = RestartSettings::default();
        if let Some(count) = self.number(section, "at_most", keys::RESTARTS) {
            budget.at_most = u32::try_from(count).unwrap_or(u32::MAX);
        }
        if let Some(within) = self.duration(section, "within") {
            budget.within = within;
        }
        budget
    }

    /// `backoff = { min, max, factor, jitter, reset_after }`, `false` for none, absent for the default.
    fn backoff(&mut self, section: &Item) -> Option<Backoff> {
        let mut backoff = Backoff::default();
        let Some(item) = section.at(["backoff"]) else { return Some(backoff) };
        if matches!(item.tree, Tree::Leaf(toml::Value::Boolean(false))) {
            return None;
        }
        if item.table().is_none() {
            self.wrong_kind(item, "a table such as { min = \"100ms\", max = \"5s\" }, or false");
            return Some(backoff);
        }
        self.known_keys(item, keys::BACKOFF, "key");
        backoff.min = self.duration(item, "min").unwrap_or(backoff.min);
        backoff.max = self.duration(item, "max").unwrap_or(backoff.max);
        backoff.reset_after = self.duration(item, "reset_after").unwrap_or(backoff.reset_after);
        backoff.factor = self.fraction(item, "factor", keys::FACTOR).unwrap_or(backoff.factor);
        backoff.jitter = self.fraction(item, "jitter", keys::JITTER).unwrap_or(backoff.jitter);
        if backoff.max < backoff.min {
            let message = format!("`max` = {:?} is below `min` = {:?}", backoff.max, backoff.min);
            self.problems.push(Problem::new("CSF-0104", message).at(&item.location).help("raise `max`"));
        }
        Some(backoff)
    }

    pub(super) fn duration(&mut self, item: &Item, key: &str) -> Option<Duration> {
        let text = self.text(item, key)?;
        let duration = csf_core::span::parse(&text.value);
        if duration.is_none() {
            self.problems.push(
                Problem::new("CSF-0104", format!("`{}` is no duration", text.value))
                    .at(&text.at)
                    .help("write a number with a unit: ns, us, ms, s, min or h, such as \"60s\""),
            );
        }
        duration
    }

    fn fraction(&mut self, item: &Item, key: &str, (least, most): (f64, f64)) -> Option<f64> {
        let found = item.at([key])?;
        let number = match &found.tree {
            Tree::Leaf(toml::Value::Float(number)) => *number,
            Tree::Leaf(toml::Value::Integer(number)) => *number as f64,
            _ => {
                self.wrong_kind(found, "a number");
                return None;
            }
        };
        if (least..=most).contains(&number) {
            return Some(number);
        }
        let message = format!("`{key}` = {number} is outside {least}..={most}");
        self.problems.push(Problem::new("CSF-0104", message).at(&found.location));
        None
    }

    fn choice<T: Copy>(&mut self, item: &Item, key: &str, names: &[&str], choices: &[T]) -> Option<T> {
        let text = self.text(item, key)?;
        if let Some(at) = names.iter().position(|name| *name == text.value) {
            return choices.get(at).copied();
        }
        let problem = Problem::new("CSF-0104", format!("`{}` is no `{key}`", text.value))
            .at(&text.at)
            .did_you_mean(&text.value, names.iter().copied());
        self.problems.push(problem);
        None
    }
}

/// Where the first of these keys stands.
pub(super) fn place_of(section: &Item, keys: &[&str]) -> Option<Location> {
    keys.iter().find_map(|key| section.at([*key])).map(|item| item.key.clone())
}
