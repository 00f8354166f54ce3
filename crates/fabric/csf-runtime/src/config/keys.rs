//! Every key of the fixed sections, once: its name, what it means, its form, its limits and its default.
//!
//! The reader refuses every other key, and the JSON Schema is made of these tables: the two cannot drift.

/// A key of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// For people, with units.
    pub(crate) doc: &'static str,
    pub(crate) form: Form,
    /// As JSON; empty when there is none, or when it is what `doc` says.
    pub(crate) default: &'static str,
}

/// What a value looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    /// A string.
    Text,
    /// A string that [`csf_core::span::parse`] reads.
    Time,
    /// The same, or `false`.
    TimeOrFalse,
    /// A whole number, both ends included.
    Count(Limits),
    /// A number, both ends included.
    Number(f64, f64),
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A list of strings.
    Texts,
    /// Output port → topic.
    Ports,
    /// A table of these keys.
    Table(&'static [Key]),
    /// The same, or `false`.
    TableOrFalse(&'static [Key]),
    /// `[section.NAME]` with these keys.
    Named(&'static [Key]),
    /// `[section.NAME]` with the keys [`SERVICE`] and the options of its type.
    Services,
    /// `[section.NAME]` with the keys [`COMPONENT`] and the options of its type.
    Components,
    /// `[resilience.NAME]`.
    Guards,
    /// The name of a guard, or outgoing call → name of a guard.
    GuardOfCalls,
}

/// Least and most of a whole number.
pub(crate) type Limits = (usize, usize);

/// Slots of a lane.
pub(crate) const SLOTS: Limits = (2, 1 << 20);
/// Packets kept for late readers.
pub(crate) const HISTORY: Limits = (0, 1 << 19);
/// Restarts of a budget.
pub(crate) const RESTARTS: Limits = (0, 1_000_000);
/// Requests at once.
pub(crate) const CAPACITY: Limits = (1, 1_000_000);
/// A latency, µs: up to one minute.
pub(crate) const LATENCY_US: Limits = (1, 60_000_000);
/// A rate, packets per second.
pub(crate) const MSG_PER_SEC: Limits = (1, 1_000_000_000);
/// Growth of pauses.
pub(crate) const FACTOR: (f64, f64) = (1.0, 1_000.0);
/// Share of a pause that chance takes away.
pub(crate) const JITTER: (f64, f64) = (0.0, 1.0);

pub(crate) const POLICIES: &[&str] = &["permanent", "transient", "temporary"];
pub(crate) const STRATEGIES: &[&str] = &["one_for_one", "one_for_all", "rest_for_one"];
pub(crate) const WHEN_SPENT: &[&str] = &["give_up", "stop_node"];

const fn key(name: &'static str, form: Form, default: &'static str, doc: &'static str) -> Key {
    Key { name, doc, form, default }
}

/// The sections.
pub(crate) const ROOT: &[Key] = &[
    key("node", Form::Table(NODE), "", "The node itself."),
    key("source", Form::Services, "", "Services that bring something in: `[source.NAME]` is `[service.NAME]`."),
    key("service", Form::Services, "", "Services, by name: the async shell around the outside world."),
    key("component", Form::Components, "", "Components, by name: deterministic, replayed from the journal."),
    key("topic", Form::Named(TOPIC), "", "Topics, by name, where they differ from what their type declares."),
    key(
        "supervisor",
        Form::Named(SUPERVISOR),
        "",
        "Supervisors of services and components, by name: one restart budget for several of them.",
    ),
    key(
        "performance_requirements",
        Form::Table(PERFORMANCE),
        "",
        "What the bus must keep while the node runs; a broken limit degrades its health and raises an alert.",
    ),
    key(
        "resilience",
        Form::Guards,
        "",
        "Guards, by name. Who names the same one shares its breaker, slots, turns and budget.",
    ),
];

pub(crate) const NODE: &[Key] = &[
    key("name", Form::Text, "\"csf\"", "Name shown to people."),
    key("listen", Form::Text, "\"127.0.0.1:8080\"", "Address of the HTTP API; loopback only, port 0 picks a free one."),
    key(
        "journal",
        Form::Text,
        "",
        "Where the journal is: a directory, `postgresql://user@host/database?schema=NAME` or `nats://host/STREAM?replicas=N&sync=always`, without passwords; without, the command chooses a directory.",
    ),
];

pub(crate) const PERFORMANCE: &[Key] = &[
    key(
        "max_latency_us",
        Form::Count(LATENCY_US),
        "",
        "Largest mean latency from a packet's stamp to its hand-over, µs; without, none is judged.",
    ),
    key(
        "min_throughput_msg_per_sec",
        Form::Count(MSG_PER_SEC),
        "",
        "Smallest rate while publishers are offered no room, packets per second; without, none is judged.",
    ),
];

const TYPE: &str = "Its type, such as `host.telemetry`; the packs bring them.";
const WRITES: &str = "Output port → topic. What is left out is not published.";
const ABOVE: &str = "The `[supervisor.NAME]` it belongs to; without, one of its own.";
const AFTER: &str = "Names of sources, services and components that must run before it.";

const OFFERS: Key = key(
    "offers",
    Form::Texts,
    "",
    "Operations that others may ask of it, beside those its type offers; the service registry tells them.",
);
const PROMISED: Key = key("promises", Form::Table(PROMISES), "", "How well it answers, before what its type promises.");

/// `type` is first: the schema puts the types' names there.
pub(crate) const SERVICE: &[Key] = &[
    key("type", Form::Text, "", TYPE),
    key("writes", Form::Ports, "", WRITES),
    key("after", Form::Texts, "", AFTER),
    key("supervisor", Form::Text, "", ABOVE),
    key("restart", Form::Table(SERVICE_RESTART), "", "When it is started again."),
    key("stop_within", Form::Time, "\"5s\"", "How long it may take to stop before it is ended."),
    key(
        "resilience",
        Form::GuardOfCalls,
        "",
        "The `[resilience.NAME]` around its outgoing calls, or a table: outgoing call → name.",
    ),
    OFFERS,
    PROMISED,
];

pub(crate) const COMPONENT: &[Key] = &[
    key("type", Form::Text, "", TYPE),
    key("reads", Form::Texts, "", "Topics it reads."),
    key("feedback", Form::Texts, "", "Of those, the ones that close a cycle on purpose."),
    key("writes", Form::Ports, "", WRITES),
    key("after", Form::Texts, "", AFTER),
    key("supervisor", Form::Text, "", ABOVE),
    key("restart", Form::Table(RESTART), "", "How often it may be made anew."),
    key(
        "stuck_after",
        Form::TimeOrFalse,
        "\"30s\"",
        "How long a handler may run before the component and its thread are given up; `false` for never.",
    ),
    OFFERS,
    PROMISED,
];

pub(crate) const PROMISES: &[Key] = &[
    key("latency", Form::Time, "", "Time from request to answer that 99 of 100 requests keep."),
    key("clock_error", Form::Time, "", "Bound of its clock's distance from true time."),
    key(
        "capacity",
        Form::Count(CAPACITY),
        "16",
        "Requests it works on at once; with that many in flight it is overloaded.",
    ),
];

pub(crate) const TOPIC: &[Key] = &[
    key(
        "capacity",
        Form::Count(SLOTS),
        "",
        "Slots per lane; fewer than two times a reader's credit are raised to that.",
    ),
    key("history", Form::Count(HISTORY), "", "Packets kept for late readers."),
    key(
        "resilience",
        Form::Text,
        "",
        "The `[resilience.NAME]` around packets published from outside, such as with `csf pub`.",
    ),
];

const AT_MOST: Key = key("at_most", Form::Count(RESTARTS), "5", "Restarts allowed within `within`.");
const WITHIN: Key =
    key("within", Form::Time, "\"60s\"", "Time in which `at_most` restarts are allowed; counted in whole seconds.");
const PAUSES: Key =
    key("backoff", Form::TableOrFalse(BACKOFF), "", "Growing pauses before restarts; `false` for none.");

pub(crate) const RESTART: &[Key] = &[AT_MOST, WITHIN];

pub(crate) const SERVICE_RESTART: &[Key] = &[
    key("policy", Form::Choice(POLICIES), "\"transient\"", "After which ends: every one, only failures, none."),
    AT_MOST,
    WITHIN,
    PAUSES,
];

pub(crate) const SUPERVISOR: &[Key] = &[
    key("strategy", Form::Choice(STRATEGIES), "\"one_for_one\"", "Which of its children a failure concerns."),
    AT_MOST,
    WITHIN,
    PAUSES,
    key("supervisor", Form::Text, "", "The `[supervisor.NAME]` above it: its spent budget is that one's failure."),
    key(
        "when_spent",
        Form::Choice(WHEN_SPENT),
        "\"give_up\"",
        "What follows when the budget is spent, where no other supervisor is above it.",
    ),
];

pub(crate) const BACKOFF: &[Key] = &[
    key("min", Form::Time, "\"100ms\"", "The first pause."),
    key("max", Form::Time, "\"5s\"", "The longest pause; not below `min`."),
    key("factor", Form::Number(FACTOR.0, FACTOR.1), "2.0", "From one pause to the next."),
    key("jitter", Form::Number(JITTER.0, JITTER.1), "0.0", "Share of a pause that chance takes away."),
    key("reset_after", Form::Time, "\"60s\"", "Time without a failure after which pauses begin at `min` again."),
];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Item, Settings, Source};

    /// The defaults of these keys as an inline table; tables among them with their own.
    fn defaults(known: &[Key]) -> String {
        let entry = |key: &Key| {
            let value = match key.form {
                Form::Table(known) | Form::TableOrFalse(known) => defaults(known),
                _ => key.default.to_owned(),
            };
            (!value.is_empty()).then(|| format!("{} = {value}", key.name))
        };
        format!("{{ {} }}", known.iter().filter_map(entry).collect::<Vec<_>>().join(", "))
    }

    /// What is read, without places.
    fn read(text: &str) -> String {
        let source = Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() });
        let (settings, problems) = Settings::read(&Item::parse(&source).unwrap());
        assert_eq!(problems, [], "{text}");
        let (service, component) = (&settings.services[0], &settings.components[0]);
        let supervisor = &settings.supervisors[0];
        let restart = (&service.restart.policy, &service.restart.budget, &service.restart.backoff);
        let shared = (&supervisor.strategy, &supervisor.budget, &supervisor.backoff, &supervisor.when_spent);
        format!("{:?} {:?} {restart:?} {:?} {shared:?}", settings.node, service.stop_within, component.restart)
    }

    #[test]
    fn the_defaults_that_the_schema_tells_are_those_the_reader_takes() {
        let written = |known: &[Key]| defaults(known).trim_matches(['{', '}']).replacen(' ', " type = \"x\", ", 1);
        let (service, component) = (written(SERVICE), written(COMPONENT));
        let told = format!(
            "node = {}\nservice.s = {{{service}}}\ncomponent.c = {{{component}}}\nsupervisor.v = {}\n",
            defaults(NODE),
            defaults(SUPERVISOR)
        );
        assert_eq!(told.matches("\"60s\"").count(), 5, "{told}");
        let absent = "service.s.type = \"x\"\ncomponent.c.type = \"x\"\n[supervisor.v]\n";
        assert_eq!(read(&told), read(absent));
    }

    #[test]
    fn every_key_of_a_guard_has_words_for_people() {
        let schema = crate::config::json_schema(&crate::Catalogue::default(), None);
        for (name, definition) in schema["definitions"].as_object().unwrap() {
            for (key, property) in definition["properties"].as_object().into_iter().flatten() {
                assert!(property["description"].is_string(), "{name}.{key}");
            }
        }
    }
}
