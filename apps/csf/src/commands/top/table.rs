//! What `csf top` shows of a node: one row per component and service, sorted and filtered. Pure.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// One component or service.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) kind: String,
    /// The supervisor's name; empty where it has one of its own.
    pub(super) group: String,
    pub(super) state: String,
    /// Deliveries per second; of a service, packets published per second.
    pub(super) rate_hz: f64,
    /// Packets committed on its topics that it has not passed.
    pub(super) lag: u64,
    /// Packets waiting for it.
    pub(super) queue: u64,
    pub(super) restarts: u64,
    /// Trigger to committed effect, nanoseconds.
    pub(super) p99_ns: u64,
    pub(super) deadline_misses: u64,
    pub(super) last_failure: String,
}

/// A column to sort by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    #[default]
    Name,
    State,
    Rate,
    Lag,
    Queue,
    Restarts,
    P99,
    Misses,
}

impl Column {
    pub(super) const ALL: [Self; 8] =
        [Self::Name, Self::State, Self::Rate, Self::Lag, Self::Queue, Self::Restarts, Self::P99, Self::Misses];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::State => "state",
            Self::Rate => "rate/s",
            Self::Lag => "lag",
            Self::Queue => "queue",
            Self::Restarts => "restarts",
            Self::P99 => "p99",
            Self::Misses => "misses",
        }
    }

    /// The column beside it, round the edge.
    pub(super) fn beside(self, by: isize) -> Self {
        let at = Self::ALL.iter().position(|c| *c == self).unwrap_or_default() as isize;
        Self::ALL[(at + by).rem_euclid(Self::ALL.len() as isize) as usize]
    }
}

/// How rows are chosen and ordered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Order {
    pub(super) column: Column,
    /// Numbers are shown largest first; this turns every column round.
    pub(super) is_reversed: bool,
    /// Part of a name, a state or a supervisor's name.
    pub(super) filter: String,
}

/// The rows of the answers to `/api/v1/components`, `/api/v1/bus` and `/api/v1/supervision`.
pub(super) fn rows(components: &Value, bus: &Value, supervision: &Value) -> Vec<Row> {
    let mut lags: BTreeMap<&str, u64> = BTreeMap::new();
    for topic in bus["topics"].as_array().into_iter().flatten() {
        for subscriber in topic["subscribers"].as_array().into_iter().flatten() {
            *lags.entry(subscriber["label"].as_str().unwrap_or_default()).or_default() += number(&subscriber["lag"]);
        }
    }
    let mut groups = BTreeMap::new();
    note_groups(&supervision["root"], "", &mut groups);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |c: &Value| {
        let name = text(&c["name"]);
        Row {
            kind: text(&c["kind"]),
            group: groups.get(&name).cloned().unwrap_or_default(),
            state: text(&c["state"]),
            rate_hz: c["rate_hz"].as_f64().unwrap_or(0.0),
            lag: lags.get(name.as_str()).copied().unwrap_or(0),
            queue: number(&c["queue"]),
            restarts: number(&c["restarts"]),
            p99_ns: number(&c["latency_ns"]["p99"]),
            deadline_misses: number(&c["deadline_misses"]),
            last_failure: text(&c["last_failure"]),
            name,
        }
    };
    components.as_array().into_iter().flatten().map(row).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The configured supervisor above each service.
fn note_groups(node: &Value, above: &str, groups: &mut BTreeMap<String, String>) {
    let name = node["name"].as_str().unwrap_or_default();
    let is_supervisor = node["kind"] == "supervisor";
    if !is_supervisor {
        groups.insert(name.to_owned(), above.to_owned());
    }
    // The root's and the two fixed supervisors' names say nothing.
    let has_budget = !node["budget"].is_null();
    let above = if is_supervisor && has_budget { name } else { "" };
    for child in node["children"].as_array().into_iter().flatten() {
        note_groups(child, above, groups);
    }
}

/// The rows that pass the filter, in order; equal ones by name.
pub(super) fn ordered(mut rows: Vec<Row>, order: &Order) -> Vec<Row> {
    let filter = order.filter.to_lowercase();
    rows.retain(|r| [&r.name, &r.state, &r.group, &r.kind].iter().any(|text| text.to_lowercase().contains(&filter)));
    rows.sort_by(|a, b| {
        let by_value = match order.column {
            Column::Name => a.name.cmp(&b.name),
            Column::State => a.state.cmp(&b.state),
            Column::Rate => b.rate_hz.total_cmp(&a.rate_hz),
            Column::Lag => b.lag.cmp(&a.lag),
            Column::Queue => b.queue.cmp(&a.queue),
            Column::Restarts => b.restarts.cmp(&a.restarts),
            Column::P99 => b.p99_ns.cmp(&a.p99_ns),
            Column::Misses => b.deadline_misses.cmp(&a.deadline_misses),
        };
        let by_value = if order.is_reversed { by_value.reverse() } else { by_value };
        by_value.then_with(|| a.name.cmp(&b.name))
    });
    rows
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node() -> Vec<Row> {
        let components = json!([
            { "name": "fusion", "kind": "component", "state": "running", "rate_hz": 250.0, "queue": 3, "restarts": 1,
              "latency_ns": { "p99": 5_000 }, "deadline_misses": 2, "last_failure": "boom" },
            { "name": "flight", "kind": "service", "state": "restarting", "rate_hz": 400.0, "queue": 0, "restarts": 4,
              "latency_ns": { "p99": 0 }, "last_failure": "" },
        ]);
        let bus = json!({ "topics": [
            { "subscribers": [{ "label": "fusion", "lag": 2 }, { "label": "recorder", "lag": 9 }] },
            { "subscribers": [{ "label": "fusion", "lag": 5 }] },
        ] });
        let supervision = json!({ "root": { "kind": "supervisor", "name": "demo", "budget": null, "children": [
            { "kind": "supervisor", "name": "services", "budget": null, "children": [
                { "kind": "supervisor", "name": "ingest", "budget": { "at_most": 5 }, "children": [
                    { "kind": "service", "name": "flight", "children": [] }] }] }] } });
        rows(&components, &bus, &supervision)
    }

    fn names(order: &Order) -> Vec<String> {
        ordered(node(), order).into_iter().map(|r| r.name).collect()
    }

    #[test]
    fn a_row_joins_what_three_answers_say() {
        let rows = node();
        assert_eq!((rows[0].lag, rows[0].queue, rows[0].p99_ns, rows[0].deadline_misses), (7, 3, 5_000, 2));
        assert_eq!((rows[1].group.as_str(), rows[1].restarts), ("ingest", 4));
    }

    #[test]
    fn rows_are_ordered_largest_first_and_filtered_by_part_of_a_word() {
        assert_eq!(names(&Order::default()), ["flight", "fusion"]);
        let by = |column| Order { column, ..Order::default() };
        assert_eq!(names(&by(Column::Lag)), ["fusion", "flight"]);
        assert_eq!(names(&by(Column::Restarts)), ["flight", "fusion"]);
        assert_eq!(names(&Order { is_reversed: true, ..by(Column::Restarts) }), ["fusion", "flight"]);
        assert_eq!(names(&Order { filter: "Ingest".to_owned(), ..Order::default() }), ["flight"]);
        assert_eq!(names(&Order { filter: "nothing".to_owned(), ..Order::default() }), [""; 0]);
    }

    #[test]
    fn columns_go_round() {
        assert_eq!(Column::Name.beside(-1), Column::Misses);
        assert_eq!(Column::Misses.beside(1), Column::Name);
    }
}
