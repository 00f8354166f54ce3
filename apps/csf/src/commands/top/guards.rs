//! What `csf top` shows of the guards: one line each. Pure.

use serde::Serialize;
use serde_json::Value;

/// A guard.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// Topics and outgoing calls it stands around.
    pub(super) around: String,
    /// The breaker's state; empty without a breaker.
    pub(super) breaker: String,
    pub(super) calls: u64,
    pub(super) failed: u64,
    /// Tries that breaker, bulkhead or rate limit did not let through.
    pub(super) refused: u64,
    pub(super) retries: u64,
    /// Slots taken of all slots, such as `3/10`; empty without a bulkhead.
    pub(super) slots: String,
}

/// Column titles, of [`line`].
pub(super) const HEAD: [&str; 8] = ["guard", "breaker", "calls", "failed", "refused", "retries", "slots", "around"];

/// The rows of the answer to `/api/v1/resilience`.
pub(super) fn rows(resilience: &Value) -> Vec<Row> {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let row = |guard: &Value| {
        let bulkhead = &guard["bulkhead"];
        let around = ["topics", "calls"].iter().filter_map(|key| attached(guard, key)).flatten();
        Row {
            name: text(&guard["name"]),
            around: around.filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
            breaker: text(&guard["breaker"]["state"]).replace('_', "-"),
            calls: number(&guard["calls"]),
            failed: number(&guard["failed"]),
            refused: number(&guard["breaker"]["refused_total"])
                + number(&bulkhead["rejected"])
                + number(&guard["rate_limit"]["limited"]),
            retries: number(&guard["retry"]["spent"]),
            slots: if bulkhead.is_null() {
                String::new()
            } else {
                format!("{}/{}", bulkhead["in_use"], bulkhead["max_concurrent"])
            },
        }
    };
    resilience["guards"].as_array().into_iter().flatten().map(row).collect()
}

fn attached<'a>(guard: &'a Value, key: &str) -> Option<&'a Vec<Value>> {
    guard["attached"][key].as_array()
}

/// A row as the cells under [`HEAD`].
pub(super) fn line(row: &Row) -> [String; 8] {
    let count = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let (name, breaker) = (row.name.clone(), row.breaker.clone());
    let counts = [row.calls, row.failed, row.refused, row.retries].map(count);
    let [calls, failed, refused, retries] = counts;
    [name, breaker, calls, failed, refused, retries, row.slots.clone(), row.around.clone()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_guard_is_one_line() {
        let answer = json!({ "guards": [{
            "name": "backend", "attached": { "topics": ["orders"], "calls": ["poller.fetch"] }, "calls": 9, "failed": 4,
            "breaker": { "state": "half_open", "refused_total": 2 }, "bulkhead": { "in_use": 3, "max_concurrent": 10, "rejected": 1 },
            "rate_limit": null, "retry": { "spent": 5 },
        }] });
        let rows = rows(&answer);
        assert_eq!(line(&rows[0]), ["backend", "half-open", "9", "4", "3", "5", "3/10", "orders, poller.fetch"]);
        assert_eq!(line(&Row { name: "idle".to_owned(), ..Row::default() }), ["idle", "", "", "", "", "", "", ""]);
    }
}
