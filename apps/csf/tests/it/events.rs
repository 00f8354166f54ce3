//! The log of a running node, from the command line: appending, reading, what was set aside.

use crate::scratch::Scratch;
use crate::world::{Running, failure, json, text};

const ID: &str = "01939d2b-6a4e-7c1f-b5f2-0e3a1c8d9b70";

#[test]
fn events_are_appended_once_and_read_from_the_node_and_from_its_journal() {
    let state = Scratch::new();
    let mut node = Running::demo(&state);
    let append = ["events", "append", "order-1", "placed", r#"{"item":"book"}"#, "--expected", "none", "--id", ID];
    let said = text(&state, &append);
    assert!(said.contains("order-1@1") && said.contains("durability disk"), "{said}");
    let again = text(&state, &append);
    assert!(again.contains("order-1@1") && again.contains("as before"), "{again}");
    let refused = failure(&state, &["events", "append", "order-1", "paid", "12", "--expected", "2"]);
    assert!(refused.contains("CSF-0311") && refused.contains("order-1"), "{refused}");
    let receipt =
        json(&state, &["events", "append", "order-1", "paid", "12", "--expected", "1", "--tag", "c:7", "--json"]);
    assert_eq!((&receipt["version"], &receipt["durability"]), (&2.into(), &"disk".into()));
    let misnamed = failure(&state, &["events", "append", "csf.stream", "x", "1"]);
    assert!(misnamed.contains("CSF-0305") && misnamed.contains("journal's own"), "{misnamed}");

    let listed = text(&state, &["events", "ls", "--stream", "order-1"]);
    assert_eq!(listed.lines().count(), 2, "{listed}");
    assert!(listed.contains("order-1@2") && listed.contains("[c:7]"), "{listed}");
    let by_tag = json(&state, &["events", "ls", "--tag", "c:7", "--kind", "paid", "--json"]);
    assert_eq!(by_tag[0]["data"], 12);
    let newest = json(&state, &["events", "ls", "--category", "order", "--backward", "-n", "1", "--json"]);
    assert_eq!((newest[0]["version"].as_u64(), newest.as_array().map(Vec::len)), (Some(2), Some(1)));
    assert!(text(&state, &["events", "head", "order-1"]).contains("2 events"));
    let journal = node_journal(&state);
    node.signal("-TERM");
    node.end();
    let offline = json(&state, &["events", "ls", "--journal", &journal, "--stream", "order-1", "--json"]);
    assert_eq!(offline[0]["id"], ID);
    assert_eq!(offline[1]["origin"]["author"], "csf");
}

/// The directory of the node that runs.
fn node_journal(state: &Scratch) -> String {
    let status = json(state, &["status", "--json"]);
    status["node"]["journal"]["place"].as_str().unwrap_or_else(|| panic!("{status}")).to_owned()
}

#[test]
fn what_was_set_aside_is_listed_shown_and_brought_back() {
    let state = Scratch::new();
    let _node = Running::demo(&state);
    assert!(text(&state, &["dlq", "ls"]).contains("nothing is set aside"));
    let placed = json(&state, &["events", "append", "order-9", "placed", r#"{"item":"pen"}"#, "--json"]);
    let position = placed["last"].as_u64().unwrap();
    // As a consumer group notes it.
    let note = format!(r#"{{"position":{position},"stream":"order-9","kind":"placed","reason":"no pen","tries":5}}"#);
    text(&state, &["events", "append", "csf.parked-shop", "parked", &note]);
    let listed = text(&state, &["dlq", "ls"]);
    assert!(listed.contains("group shop") && listed.contains("no pen (5 tries)"), "{listed}");
    let position = position.to_string();
    assert!(text(&state, &["dlq", "show", "shop", &position]).contains("\"item\": \"pen\""));
    assert!(text(&state, &["dlq", "redrive", "shop", "--dry-run"]).contains("would come back"));
    assert!(text(&state, &["dlq", "redrive", "shop", &position]).contains("comes back"));
    assert!(text(&state, &["dlq", "ls", "--group", "shop"]).contains("nothing is set aside"));
    let again = failure(&state, &["dlq", "redrive", "shop", &position]);
    assert!(again.contains("CSF-0312"), "{again}");
}
