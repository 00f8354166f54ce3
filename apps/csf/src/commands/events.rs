//! `csf events`: the streams of a node's log, from a running node or a journal.

use std::process::ExitCode;

use csf_core::port::{Criteria, ExpectedVersion, Filter, Read, StoredEvent};
use serde_json::{Value, json};

use super::follow::clock_time;
use super::{Outcome, json_argument, print_json};
use crate::cli::{EventsAction, EventsAppend, EventsHead, EventsLs};
use crate::client::{Client, encode};
use crate::node;

pub(crate) fn run(action: &EventsAction) -> Outcome {
    match action {
        EventsAction::Ls(args) => ls(args),
        EventsAction::Head(args) => head(args),
        EventsAction::Append(args) => append(args),
    }
}

fn ls(args: &EventsLs) -> Outcome {
    let events = match &args.journal {
        Some(directory) => {
            let mut reader = node::open_journal(directory)?;
            let events = reader.read(&read(args))?.events;
            events.iter().map(view).collect()
        }
        None => {
            let client = Client::connect(args.remote.node.as_deref())?;
            let mut answer = client.get(&format!("/api/v1/events?{}", query(args)))?;
            match answer["events"].take() {
                Value::Array(events) => events,
                _ => Vec::new(),
            }
        }
    };
    if args.remote.json {
        return print_json(&events);
    }
    if events.is_empty() {
        println!("no event fits");
    }
    events.iter().for_each(|event| println!("{}", line(event)));
    Ok(ExitCode::SUCCESS)
}

/// What the API would be asked, asked of a journal.
fn read(args: &EventsLs) -> Read {
    let criteria = Criteria {
        streams: args.stream.clone(),
        categories: args.category.clone(),
        kinds: args.kind.clone(),
        tags: args.tag.clone(),
    };
    let is_one_stream = criteria == Criteria { streams: args.stream.clone(), ..Criteria::default() };
    let read = match args.stream.as_slice() {
        [stream] if is_one_stream => Read::stream(stream),
        _ if criteria == Criteria::default() => Read::log(Filter::all()),
        _ => Read::log(criteria.into()),
    };
    let read = if args.backward { read.backward() } else { read }.limit(args.limit);
    match args.from {
        Some(from) => read.from(from),
        None => read,
    }
}

fn query(args: &EventsLs) -> String {
    let lists = [("stream", &args.stream), ("category", &args.category), ("kind", &args.kind), ("tag", &args.tag)];
    let mut parts: Vec<String> =
        lists.iter().flat_map(|(key, list)| list.iter().map(move |word| format!("{key}={}", encode(word)))).collect();
    parts.push(format!("limit={}", args.limit));
    parts.extend(args.from.map(|from| format!("from={from}")));
    if args.backward {
        parts.push("direction=backward".to_owned());
    }
    parts.join("&")
}

/// As the API shows it.
fn view(event: &StoredEvent) -> Value {
    json!({
        "position": event.position, "id": event.id, "stream": event.stream, "version": event.version,
        "kind": event.kind, "stamp": event.stamp.to_string(), "tags": event.tags, "origin": event.origin,
        "data": event.data,
    })
}

fn line(event: &Value) -> String {
    let text = |key: &str| event[key].as_str().unwrap_or("?");
    let author = event["origin"]["author"].as_str().map_or_else(String::new, |author| format!("  by {author}"));
    let tags: Vec<&str> = event["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("  [{}]", tags.join(" ")) };
    format!(
        "{:>8}  {}  {}@{}  {}{author}{tags}  {}",
        event["position"],
        clock_time(text("stamp")),
        text("stream"),
        event["version"],
        text("kind"),
        event["data"]
    )
}

fn head(args: &EventsHead) -> Outcome {
    let head = match &args.journal {
        Some(directory) => {
            let head = node::open_journal(directory)?.head(&args.stream)?;
            let (version, first) = (head.version, head.first.max(1));
            json!({ "stream": args.stream, "version": version, "first": first, "is_closed": head.is_closed })
        }
        None => {
            let client = Client::connect(args.remote.node.as_deref())?;
            client.get(&format!("/api/v1/streams/{}", encode(&args.stream)))?
        }
    };
    if args.remote.json {
        return print_json(&head);
    }
    match (head["version"].as_u64(), head["is_closed"].as_bool()) {
        (Some(0), _) => println!("`{}` has no event", args.stream),
        (_, Some(true)) => println!("`{}` is closed after {} events", args.stream, head["version"]),
        _ => println!("`{}` has {} events, kept from version {}", args.stream, head["version"], head["first"]),
    }
    Ok(ExitCode::SUCCESS)
}

fn append(args: &EventsAppend) -> Outcome {
    let data = json_argument("content", &args.data)?;
    let expected = match args.expected {
        ExpectedVersion::Exactly(version) => json!({ "exactly": version }),
        other => json!(other),
    };
    let event = json!({ "kind": args.kind, "data": data, "id": args.id, "tags": args.tag, "author": "csf" });
    let client = Client::connect(args.remote.node.as_deref())?;
    let body = json!({ "events": [event], "expected": expected });
    let receipt = client.post(&format!("/api/v1/streams/{}", encode(&args.stream)), &body)?;
    if args.remote.json {
        return print_json(&receipt);
    }
    let again = if receipt["is_repeat"] == true { ", as before" } else { "" };
    println!(
        "{}@{} at position {}, durability {}{again}",
        args.stream,
        receipt["version"],
        receipt["last"],
        receipt["durability"].as_str().unwrap_or("?")
    );
    Ok(ExitCode::SUCCESS)
}
