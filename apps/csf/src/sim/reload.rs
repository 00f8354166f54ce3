//! Changes of a running node's configuration between any two steps: valid ones, and ones that it must refuse.
//!
//! What must hold at once is looked at here: a refused change changes nothing, a carried out one leaves the other parts alone. What must
//! hold in the journal is looked at after the run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use csf_core::port::Timer;
use csf_runtime::config::{Item, Problem, Settings, Source};
use csf_runtime::node::{Node, ReloadError, ReloadReport};
use csf_runtime::topology::Topology;
use csf_sim::SeededRng;
use toml::{Table, Value};

use super::faults::{Fault, milliseconds};
use super::fragile::Doom;
use super::{Machine, Notebook, Scenario, invariants};

/// Prefix of components that changes add.
const EXTRA: &str = "extra-";
/// Keys of a component that are no options of its type.
const OWN_KEYS: [&str; 6] = ["type", "reads", "writes", "feedback", "after", "restart"];
/// Steps after the beginning of a change within which a crash may be aimed at it.
const CRASH_WITHIN: u64 = 300;

/// A configuration file of a machine. A crash leaves it as it is.
#[derive(Clone)]
pub(super) struct ConfigFile {
    table: Table,
    topology: Topology,
}

impl ConfigFile {
    pub(super) fn new(topology: &Topology) -> Self {
        let table = toml::from_str(&topology.settings.text).expect("a configuration that was read is TOML");
        Self { table, topology: topology.clone() }
    }

    /// As a node that starts now reads it.
    pub(super) fn topology(&self) -> &Topology {
        &self.topology
    }
}

/// Edits a machine's configuration and tells the node.
pub(super) struct Editor {
    node: Arc<Node>,
    notebook: Notebook,
    scenario: Scenario,
    file: Arc<Mutex<ConfigFile>>,
    /// What the node reads next.
    next: Arc<Mutex<Result<Topology, Vec<Problem>>>>,
    doom: Option<Doom>,
    rng: SeededRng,
    /// Parts whose change is in the file, and was refused: the next change brings it.
    owed: Vec<(String, String)>,
    /// Virtual time after which no change begins.
    end: Duration,
}

/// One change.
struct Change {
    what: String,
    table: Table,
    /// The part it concerns, by section and name.
    part: (String, String),
    /// A running node cannot do it, whatever the file says.
    needs_start: bool,
}

/// What a change may not touch, as far as it does not concern it.
#[derive(PartialEq)]
struct Sight {
    generation: u64,
    text: String,
    /// Instances without those that followed a failure, by kind and name.
    instances: BTreeMap<(String, String), u64>,
}

impl Sight {
    fn of(node: &Node) -> Self {
        let configuration = node.configuration();
        let instances =
            node.components().into_iter().map(|part| ((part.kind, part.name), (part.incarnation, part.restarts)));
        let instances = instances.map(|(part, (instances, restarts))| match part.0.as_str() {
            "component" => (part, instances.saturating_sub(restarts)),
            _ => (part, instances),
        });
        Self { generation: configuration.generation, text: configuration.text, instances: instances.collect() }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The topology of a configuration, in simulation. Services that are as before share what they have read.
fn read(scenario: &Scenario, text: String) -> Result<Topology, Vec<Problem>> {
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text });
    let (settings, problems) = Settings::read(&Item::parse(&source)?);
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut topology = Topology::check(settings, &scenario.catalogue)?.simulated()?;
    for service in &mut topology.services {
        let known = scenario.topology.service(&service.settings.name.value);
        let is_same = |known: &&csf_runtime::topology::ServiceNode| {
            let (was, is) = (&known.settings, &service.settings);
            was.kind.value == is.kind.value && was.options.value() == is.options.value()
        };
        if let Some(known) = known.filter(is_same) {
            service.factory = known.factory.clone();
        }
    }
    Ok(topology)
}

impl Editor {
    pub(super) fn new(machine: &Machine, node: &Arc<Node>, scenario: &Scenario, life: u64, end: Duration) -> Self {
        let next = Arc::new(Mutex::new(Err(Vec::new())));
        let source = next.clone();
        node.set_configuration_source(Arc::new(move || lock(&source).clone()));
        Self {
            node: node.clone(),
            notebook: machine.notebook.clone(),
            scenario: scenario.clone(),
            file: machine.file.clone(),
            next,
            doom: machine.doom.clone(),
            rng: machine.rng.stream(3_000_000 + life),
            owed: Vec::new(),
            end,
        }
    }

    pub(super) async fn run(mut self) {
        let world = self.notebook.world.clone();
        loop {
            // Some come right after the start, which may follow a crash.
            let at_most = [100, 8_000][usize::from(self.rng.below(4) > 0)];
            world.sleep(milliseconds(&mut self.rng, 0, at_most)).await;
            if world.now() >= self.end {
                return;
            }
            self.change().await;
        }
    }

    async fn change(&mut self) {
        let change = self.draw();
        let read = read(&self.scenario, change.table.to_string());
        self.notebook.line(format_args!("reload: {}", change.what));
        let is_valid = read.is_ok() && !change.needs_start;
        if let (Ok(topology), true) = (&read, is_valid) {
            *lock(&self.file) = ConfigFile { table: change.table.clone(), topology: topology.clone() };
        }
        let told = read.map(|mut topology| {
            self.doom.iter().for_each(|doom| doom.befall(&mut topology));
            topology
        });
        *lock(&self.next) = told.clone();
        if self.scenario.faults.has(Fault::Crash) && self.rng.below(6) == 0 {
            self.notebook.crash_within(self.rng.below(CRASH_WITHIN));
        }
        let before = Sight::of(&self.node);
        let outcome = self.node.reload().await;
        let after = Sight::of(&self.node);
        match &outcome {
            Ok(report) => self.notebook.line(format_args!("reload is done, {} steps", report.plan.steps.len())),
            Err(error) => self.notebook.line(format_args!("reload is refused: {error}")),
        }
        let violations = match (&outcome, told.ok().filter(|_| is_valid)) {
            (Ok(report), Some(to)) => self.judge_done(&change, &before, &after, report, &to),
            (Ok(_), None) => vec!["was carried out".to_owned()],
            (Err(error), to) => Self::judge_refused(&before, &after, error, to.is_some(), self.is_sound()),
        };
        // What an earlier change would have done comes with this one.
        let done =
            [&change.part].into_iter().chain(&self.owed).filter(|(kind, _)| outcome.is_ok() && *kind == "service");
        let tree = self.node.supervision().root;
        let renewed: Vec<(String, u64)> =
            done.map(|(_, name)| (name.clone(), invariants::restarts_of(&tree, name))).collect();
        match &outcome {
            Ok(_) => self.owed.clear(),
            Err(_) if is_valid => self.owed.push(change.part.clone()),
            Err(_) => {}
        }
        let mut books = self.notebook.books();
        books.renewed.extend(renewed);
        books.run.reloads += u64::from(outcome.is_ok());
        books.run.refused_reloads += u64::from(outcome.is_err());
        books.run.violations.extend(violations.into_iter().map(|what| format!("reload ({}): {what}", change.what)));
    }

    /// Whether services start again only where a change makes them.
    fn is_sound(&self) -> bool {
        self.doom.is_none()
    }

    fn judge_done(
        &self,
        change: &Change,
        before: &Sight,
        after: &Sight,
        report: &ReloadReport,
        to: &Topology,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        if after.text != to.settings.text {
            violations.push("the configuration in force is not the new one".to_owned());
        }
        let step = u64::from(!report.plan.steps.is_empty());
        if after.generation != before.generation + step {
            violations.push(format!("generation {} follows {}", after.generation, before.generation));
        }
        for (part, was) in &before.instances {
            if *part == change.part || self.owed.contains(part) || part.0 != "component" && !self.is_sound() {
                continue;
            }
            match after.instances.get(part) {
                Some(is) if is == was => {}
                Some(is) => violations.push(format!("{} `{}` went from instance {was} to {is}", part.0, part.1)),
                None => violations.push(format!("{} `{}` is gone", part.0, part.1)),
            }
        }
        let expected: Vec<&str> = to.components.iter().map(|c| c.settings.name.value.as_str()).collect();
        let is: Vec<&str> =
            after.instances.keys().filter(|(kind, _)| kind == "component").map(|(_, n)| n.as_str()).collect();
        if expected.iter().any(|name| !is.contains(name)) || expected.len() != is.len() {
            violations.push(format!("components are {is:?}, not {expected:?}"));
        }
        violations
    }

    fn judge_refused(
        before: &Sight,
        after: &Sight,
        error: &ReloadError,
        is_valid: bool,
        is_sound: bool,
    ) -> Vec<String> {
        let mut violations = Vec::new();
        // A disk may refuse any change, and a node that stops takes none.
        let is_excused = matches!(error, ReloadError::Journal { .. } | ReloadError::NotRunning { .. });
        if is_valid && !is_excused {
            violations.push(format!("was refused: {error}"));
        }
        let components = |sight: &Sight| -> Vec<((String, String), u64)> {
            let all = sight.instances.iter().filter(|((kind, _), _)| kind == "component" || is_sound && !is_valid);
            all.map(|(part, instance)| (part.clone(), *instance)).collect()
        };
        if (&before.text, before.generation) != (&after.text, after.generation)
            || components(before) != components(after)
        {
            violations.push("was refused and changed something".to_owned());
        }
        violations
    }

    /// A change of what the file says now.
    fn draw(&mut self) -> Change {
        let table = lock(&self.file).table.clone();
        let change = match self.rng.below(8) {
            0 | 1 => self.add(table.clone()),
            2 | 3 => self.remove(table.clone()),
            4 => self.options(table.clone()),
            5 => self.budget(table.clone(), &["component"]),
            6 => self.budget(table.clone(), &["service", "source"]),
            _ => Some(self.invalid(table.clone())),
        };
        change.unwrap_or_else(|| self.invalid(table))
    }

    /// One of the names in a section.
    fn pick(&mut self, table: &Table, section: &str, is_wanted: impl Fn(&str) -> bool) -> Option<String> {
        let entries = table.get(section)?.as_table()?;
        let names: Vec<&String> = entries.keys().filter(|name| is_wanted(name)).collect();
        if names.is_empty() {
            return None;
        }
        Some(names[self.rng.below(names.len() as u64) as usize].clone())
    }

    /// A component like another one, which reads the same and writes topics of its own.
    fn add(&mut self, mut table: Table) -> Option<Change> {
        let components = table.get("component")?.as_table()?;
        let is_free = |name: &str| !name.starts_with(EXTRA) && !components.contains_key(&format!("{EXTRA}{name}"));
        let model = self.pick(&table, "component", is_free)?;
        let name = format!("{EXTRA}{model}");
        let components = table.get_mut("component")?.as_table_mut()?;
        let mut extra = components.get(&model)?.as_table()?.clone();
        if let Some(Value::Table(writes)) = extra.get_mut("writes") {
            for (port, topic) in writes {
                *topic = Value::String(format!("extra.{model}.{port}"));
            }
        }
        components.insert(name.clone(), Value::Table(extra));
        Some(Change::of(format!("adds {name}"), table, ("component", &name)))
    }

    fn remove(&mut self, mut table: Table) -> Option<Change> {
        let name = self.pick(&table, "component", |name| name.starts_with(EXTRA))?;
        table.get_mut("component")?.as_table_mut()?.remove(&name);
        Some(Change::of(format!("removes {name}"), table, ("component", &name)))
    }

    /// Another number for an option of a component. Its type may refuse it.
    fn options(&mut self, mut table: Table) -> Option<Change> {
        let has_numbers = |entry: &Value| {
            let entry = entry.as_table();
            entry.is_some_and(|e| {
                e.iter().any(|(key, v)| !OWN_KEYS.contains(&key.as_str()) && (v.is_float() || v.is_integer()))
            })
        };
        let components = table.get("component")?.as_table()?.clone();
        let name = self.pick(&table, "component", |name| components.get(name).is_some_and(has_numbers))?;
        let entry = table.get_mut("component")?.as_table_mut()?.get_mut(&name)?.as_table_mut()?;
        let numbers =
            entry.iter_mut().filter(|(key, v)| !OWN_KEYS.contains(&key.as_str()) && (v.is_float() || v.is_integer()));
        let mut numbers: Vec<(String, &mut Value)> = numbers.map(|(key, value)| (key.to_owned(), value)).collect();
        let at = self.rng.below(numbers.len() as u64) as usize;
        let (key, value) = &mut numbers[at];
        let what = format!("changes {key} of {name}");
        match value {
            Value::Float(number) => *number *= 0.5 + self.rng.below(1_000) as f64 / 1_000.0,
            Value::Integer(number) => *number += 1,
            _ => return None,
        }
        Some(Change::of(what, table, ("component", &name)))
    }

    fn budget(&mut self, mut table: Table, sections: &[&'static str]) -> Option<Change> {
        let sections: Vec<&str> = sections.iter().copied().filter(|section| table.contains_key(*section)).collect();
        let section = *sections.get(self.rng.below(sections.len().max(1) as u64) as usize)?;
        let name = self.pick(&table, section, |_| true)?;
        let entry = table.get_mut(section)?.as_table_mut()?.get_mut(&name)?.as_table_mut()?;
        let at_most = 1 + self.rng.below(9);
        let budget = [("at_most", Value::Integer(at_most as i64)), ("within", Value::String("60s".to_owned()))];
        entry.insert(
            "restart".to_owned(),
            Value::Table(budget.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()),
        );
        let kind = if section == "component" { "component" } else { "service" };
        Some(Change::of(format!("allows {name} {at_most} restarts"), table, (kind, &name)))
    }

    /// One that must change nothing.
    fn invalid(&mut self, mut table: Table) -> Change {
        let components = table.entry("component").or_insert_with(|| Value::Table(Table::new()));
        let broken = |kind: &str, reads: &str| {
            let entry = [
                ("type", Value::String(kind.to_owned())),
                ("reads", Value::Array(vec![Value::String(reads.to_owned())])),
            ];
            Value::Table(entry.map(|(key, value)| (key.to_owned(), value)).into_iter().collect())
        };
        let kind = self.scenario.topology.components.first().map_or("none.such", |c| c.kind.name.as_str());
        let entry = match self.rng.below(3) {
            0 => Some(broken("none.such", "none.such")),
            1 => Some(broken(kind, "none.such")),
            _ => None,
        };
        if let (Some(entry), Some(components)) = (entry, components.as_table_mut()) {
            components.insert("broken".to_owned(), entry);
            return Change::of("adds what cannot be".to_owned(), table, ("component", "broken"));
        }
        let node = table.entry("node").or_insert_with(|| Value::Table(Table::new()));
        if let Some(node) = node.as_table_mut() {
            node.insert("name".to_owned(), Value::String("somebody-else".to_owned()));
        }
        Change { needs_start: true, ..Change::of("renames the node".to_owned(), table, ("node", "")) }
    }
}

impl Change {
    fn of(what: String, table: Table, (section, name): (&str, &str)) -> Self {
        Self { what, table, part: (section.to_owned(), name.to_owned()), needs_start: false }
    }
}
