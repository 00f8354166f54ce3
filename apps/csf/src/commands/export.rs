//! `csf export --mcap`: a recorded run as an MCAP file (mcap.dev), JSON messages with their JSON Schemas.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;

use csf_core::port::Scan;
use csf_gateway::Pattern;
use csf_runtime::DELIVERY_TOPIC;
use csf_runtime::provenance::PacketView;
use mcap::records::MessageHeader;
use serde_json::json;

use super::{Outcome, bytes, print_json};
use crate::cli::Export;
use crate::diagnostic::Failure;
use crate::{node, packs};

/// Packets read at once.
const CHUNK: usize = 4096;

pub(crate) fn run(args: Export) -> Outcome {
    let directory = node::journal_or_newest(args.journal)?;
    let mut reader = node::open_journal(&directory)?;
    let catalogue = packs::catalogue();
    let pattern = Pattern::new(&args.topics);
    let lanes = reader.lanes()?;
    let wanted: BTreeMap<_, _> =
        lanes.iter().filter(|l| l.topic != DELIVERY_TOPIC && pattern.matches(&l.topic)).map(|l| (l.id, l)).collect();
    let failed = |e: mcap::McapError| Failure::new("CSF-0210", format!("{}: {e}", args.mcap.display()));
    let file = File::create(&args.mcap)
        .map_err(|e| Failure::new("CSF-0210", format!("{} cannot be written: {e}", args.mcap.display())))?;
    let options = mcap::WriteOptions::new().compression(None).profile("").library("csf");
    let mut writer = options.create(BufWriter::new(file)).map_err(failed)?;
    let mut channels: BTreeMap<&str, (u16, u32)> = BTreeMap::new();
    let (mut messages, mut from_position) = (0_u64, 1);
    loop {
        let packets = reader.scan(&Scan { from_position, limit: CHUNK, lanes: wanted.keys().copied().collect() })?;
        let Some(last) = packets.last() else { break };
        from_position = last.position + 1;
        for packet in &packets {
            let Some(lane) = wanted.get(&packet.header.id.lane) else { continue };
            if !channels.contains_key(lane.topic.as_str()) {
                let schema = catalogue.messages.get(&lane.message).map_or(json!({}), |m| (m.schema)());
                let schema =
                    writer.add_schema(&lane.message, "jsonschema", schema.to_string().as_bytes()).map_err(failed)?;
                let about = BTreeMap::from([("message".to_owned(), lane.message.clone())]);
                let id = writer.add_channel(schema, &lane.topic, "json", &about).map_err(failed)?;
                channels.insert(&lane.topic, (id, 0));
            }
            let view = PacketView::of(lane, packet, &catalogue);
            let Some((channel_id, sequence)) = channels.get_mut(lane.topic.as_str()) else { continue };
            let header = MessageHeader {
                channel_id: *channel_id,
                sequence: *sequence,
                log_time: packet.header.stamp.0,
                publish_time: packet.header.measured_at.as_ref().map_or(packet.header.stamp.0, |m| m.ns),
            };
            *sequence = sequence.wrapping_add(1);
            // The payload's fields at the top, as viewers plot them; identity and cause beside them.
            let mut body = match view.payload {
                serde_json::Value::Object(fields) => fields,
                other => serde_json::Map::from_iter([("value".to_owned(), other)]),
            };
            body.insert("_id".to_owned(), json!(view.id));
            body.insert("_cause".to_owned(), json!(view.cause));
            body.insert("_author".to_owned(), json!(view.author));
            writer
                .write_to_known_channel(&header, serde_json::Value::Object(body).to_string().as_bytes())
                .map_err(failed)?;
            messages += 1;
        }
    }
    writer.finish().map_err(failed)?;
    let size = std::fs::metadata(&args.mcap)?.len();
    let result = json!({ "file": args.mcap, "messages": messages, "topics": channels.len(), "bytes": size, "journal": directory });
    if args.json {
        return print_json(&result);
    }
    println!("{}: {messages} messages on {} topics, {}", args.mcap.display(), channels.len(), bytes(size));
    Ok(std::process::ExitCode::SUCCESS)
}
