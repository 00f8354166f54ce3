//! `csf why` and `csf trace`: where a packet comes from and what it led to, from a running node or a journal.

use std::process::ExitCode;

use csf_core::MessageId;
use csf_core::port::EventCause;
use csf_runtime::provenance::{Provenance, Relation, WhyNode};
use serde::{Deserialize, Serialize};

use super::follow::clock_time;
use super::{Outcome, nanos, print_json};
use crate::cli::Why;
use crate::client::Client;
use crate::diagnostic::Failure;
use crate::{node, packs};

/// Effects listed per packet in a trace.
const EFFECTS: usize = 8;

/// A packet's way: its ancestry and its effects.
#[derive(Debug, Serialize, Deserialize)]
struct Way {
    why: WhyNode,
    effects: Vec<WhyNode>,
}

pub(crate) fn why(args: &Why) -> Outcome {
    let root: WhyNode = match &args.journal {
        Some(_) => from_journal(args, |p, id| p.why(id, args.depth))?.ok_or_else(|| unknown(&args.packet))?,
        None => from_node(args, "why")?,
    };
    if args.remote.json {
        return print_json(&root);
    }
    print_tree(&root, "", "");
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn trace(args: &Why) -> Outcome {
    let way: Way = match &args.journal {
        Some(_) => from_journal(args, |p, id| {
            let Some(why) = p.why(id, args.depth)? else { return Ok(None) };
            let effects = p.effects(id, args.depth, EFFECTS)?;
            Ok(Some(Way { why, effects }))
        })?
        .ok_or_else(|| unknown(&args.packet))?,
        None => from_node(args, "trace")?,
    };
    if args.remote.json {
        return print_json(&way);
    }
    println!("hops to here, oldest first");
    let mut hops = Vec::new();
    let mut hop = Some(&way.why);
    while let Some(node) = hop {
        hops.push(node);
        hop = node.causes.iter().find(|c| c.relation == Relation::Trigger);
    }
    for (index, node) in hops.iter().rev().enumerate() {
        let step =
            if index == 0 { "source".to_owned() } else { format!("+{}", nanos(hops[hops.len() - index].elapsed_ns)) };
        println!("  {step:>10}  {}", line(node));
    }
    println!("effects");
    if way.effects.is_empty() {
        println!("  none recorded");
    }
    for effect in &way.effects {
        print_effects(effect, 1);
    }
    Ok(ExitCode::SUCCESS)
}

/// The newest packet of a topic of the running node.
fn newest(client: &Client, topic: &str) -> Result<Option<MessageId>, Failure> {
    let topics = client.get("/api/v1/topics")?;
    if !topics.as_array().is_some_and(|t| t.iter().any(|t| t["name"] == topic)) {
        return Ok(None);
    }
    let packet = client.get(&format!("/api/v1/topics/{topic}/last"))?;
    Ok(packet["id"].as_str().and_then(|id| id.parse().ok()))
}

fn no_id(packet: &str, error: &impl std::fmt::Display) -> Failure {
    Failure::new("CSF-0306", format!("{error}; and no topic with packets is called `{packet}`"))
}

fn unknown(id: &str) -> Failure {
    Failure::new("CSF-0306", format!("packet {id} is not in the journal"))
}

fn from_journal<R>(
    args: &Why,
    ask: impl FnOnce(&mut Provenance<'_>, EventCause) -> Result<Option<R>, csf_core::port::JournalError>,
) -> Result<Option<R>, Failure> {
    let directory = node::journal_or_newest(args.journal.clone())?;
    let mut reader = node::open_journal(&directory)?;
    let catalogue = packs::catalogue();
    let mut provenance = Provenance::new(&mut *reader, &catalogue)?;
    let id = match args.packet.parse() {
        Ok(id) => id,
        Err(error) => provenance.newest(&args.packet)?.ok_or_else(|| no_id(&args.packet, &error))?.into(),
    };
    Ok(ask(&mut provenance, id)?)
}

fn from_node<R: for<'de> Deserialize<'de>>(args: &Why, question: &str) -> Result<R, Failure> {
    let client = Client::connect(args.remote.node.as_deref())?;
    let id = match args.packet.parse() {
        Ok(id) => id,
        Err(error) => EventCause::from(newest(&client, &args.packet)?.ok_or_else(|| no_id(&args.packet, &error))?),
    };
    let value = client.get(&format!("/api/v1/packets/{id}/{question}?depth={}", args.depth))?;
    serde_json::from_value(value)
        .map_err(|e| Failure::new("CSF-0308", format!("the node's answer is of another version: {e}")))
}

fn line(node: &WhyNode) -> String {
    let packet = &node.packet;
    let measured = packet.measured_at.as_ref().map_or_else(String::new, |m| {
        let seconds = m.ns.parse::<f64>().unwrap_or(0.0) / 1e9;
        format!("  measured {} {seconds:.6} s", m.clock)
    });
    format!(
        "{:<12} {:<14} by {:<12} at {}{measured}",
        packet.id,
        packet.topic,
        packet.author,
        clock_time(&packet.stamp)
    )
}

fn print_tree(node: &WhyNode, lead: &str, branch: &str) {
    let relation = match node.relation {
        Relation::Root => String::new(),
        Relation::Trigger => format!("trigger, {} before  ", nanos(node.elapsed_ns)),
        Relation::Consumed => format!("consumed, {} before  ", nanos(node.elapsed_ns)),
        Relation::Remembered => format!("remembered, {} before  ", nanos(node.elapsed_ns)),
        Relation::Effect => "effect  ".to_owned(),
    };
    println!("{lead}{branch}{relation}{}", line(node));
    let lead = match branch {
        "" => lead.to_owned(),
        "└─ " => format!("{lead}   "),
        _ => format!("{lead}│  "),
    };
    let last = node.causes.len().saturating_sub(1);
    for (index, cause) in node.causes.iter().enumerate() {
        let is_last = index == last && node.truncated == 0;
        print_tree(cause, &lead, if is_last { "└─ " } else { "├─ " });
    }
    if node.truncated > 0 && node.causes.is_empty() {
        println!("{lead}└─ … {} more; go on with `csf why {}`", node.truncated, node.packet.id);
    } else if node.truncated > 0 {
        println!("{lead}└─ … and {} older ones", node.truncated);
    }
}

fn print_effects(node: &WhyNode, depth: usize) {
    println!("{}+{:<10} {}", "  ".repeat(depth), nanos(node.elapsed_ns), line(node));
    for effect in &node.causes {
        print_effects(effect, depth + 1);
    }
}
