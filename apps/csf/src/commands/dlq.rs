//! `csf dlq`: what was set aside, by consumer groups and by components, and how it comes back.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::follow::clock_time;
use super::{Outcome, print_json};
use crate::cli::{DlqAction, DlqLs, DlqOne, DlqRedrive};
use crate::client::{Client, encode};
use crate::diagnostic::Failure;

pub(crate) fn run(action: &DlqAction) -> Outcome {
    match action {
        DlqAction::Ls(args) => ls(args),
        DlqAction::Show(args) => show(args),
        DlqAction::Redrive(args) => redrive(args),
    }
}

/// What groups have set aside; of one group when that is asked.
fn parked(client: &Client, group: Option<&str>) -> Result<(Vec<Value>, Value), Failure> {
    let mut answer = client.get("/api/v1/dead-letters")?;
    let parked = match answer["parked"].take() {
        Value::Array(parked) => parked,
        _ => Vec::new(),
    };
    let is_wanted = |parked: &Value| group.is_none_or(|group| parked["group"] == group);
    Ok((parked.into_iter().filter(is_wanted).collect(), answer["dead_events"].take()))
}

fn ls(args: &DlqLs) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let (parked, dead) = parked(&client, args.group.as_deref())?;
    let dead = if args.group.is_none() { dead } else { json!([]) };
    if args.remote.json {
        return print_json(&json!({ "parked": parked, "dead_events": dead }));
    }
    let dead = dead.as_array().map_or(&[][..], Vec::as_slice);
    if parked.is_empty() && dead.is_empty() {
        println!("nothing is set aside");
    }
    for one in &parked {
        println!("{}", line(one));
    }
    for one in dead {
        let text = |key: &str| one[key].as_str().unwrap_or("?");
        println!(
            "{}  component {}  {} {}: {}",
            clock_time(text("at")),
            text("component"),
            text("kind"),
            text("event"),
            text("reason")
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn line(parked: &Value) -> String {
    let text = |key: &str| parked[key].as_str().unwrap_or("?");
    format!(
        "{}  group {}  position {}  {} in {}: {} ({} tries)",
        clock_time(text("stamp")),
        text("group"),
        parked["position"],
        text("kind"),
        text("stream"),
        text("reason"),
        parked["tries"]
    )
}

fn show(args: &DlqOne) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let (parked, _) = parked(&client, Some(&args.group))?;
    let Some(found) = parked.into_iter().find(|one| one["position"] == args.position) else {
        return Err(unknown(&args.group, args.position));
    };
    let mut events = client.get(&format!("/api/v1/events?from={}&limit=1", args.position))?;
    let event = events["events"].get_mut(0).map_or(Value::Null, Value::take);
    if args.remote.json {
        return print_json(&json!({ "parked": found, "event": event }));
    }
    println!("{}", line(&found));
    if event["position"] == args.position {
        println!("{}", serde_json::to_string_pretty(&event["data"]).unwrap_or_default());
    } else {
        println!("the event itself is gone: its stream was truncated");
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(group: &str, position: u64) -> Failure {
    Failure::new("CSF-0312", format!("group `{group}` has no event of position {position} set aside"))
}

fn redrive(args: &DlqRedrive) -> Outcome {
    let client = Client::connect(args.remote.node.as_deref())?;
    let (parked, _) = parked(&client, Some(&args.group))?;
    let positions: Vec<u64> = parked.iter().filter_map(|one| one["position"].as_u64()).collect();
    let wanted = match args.position {
        Some(position) if !positions.contains(&position) => return Err(unknown(&args.group, position)),
        Some(position) => vec![position],
        None => positions,
    };
    if !args.dry_run {
        for position in &wanted {
            client.post(&format!("/api/v1/dead-letters/{}/{position}/redrive", encode(&args.group)), &json!({}))?;
        }
    }
    if args.remote.json {
        return print_json(&json!({ "group": args.group, "redriven": wanted, "dry_run": args.dry_run }));
    }
    let comes = if args.dry_run { "would come back" } else { "comes back" };
    if wanted.is_empty() {
        println!("group `{}` has nothing set aside", args.group);
    }
    wanted.iter().for_each(|position| println!("the event at position {position} {comes} to group `{}`", args.group));
    Ok(ExitCode::SUCCESS)
}
