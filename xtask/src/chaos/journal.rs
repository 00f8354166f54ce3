//! What the journal holds in the end, beside what clients were told and what they sent.

use std::collections::BTreeMap;
use std::time::Duration;

use super::client::{Client, TOPIC, number_of};
use super::node::Target;
use super::verdict::Verdict;

/// Packets of one question.
const PAGE: usize = 5000;
/// How long one answer may take.
const ANSWER: Duration = Duration::from_secs(20);

/// The published topic as recorded: the number by id; `None` where the content fits no number that anybody sends.
pub(super) fn recorded(target: &Target) -> Result<BTreeMap<String, Option<u64>>, String> {
    let client = Client::new(ANSWER);
    let (mut all, mut from) = (BTreeMap::new(), 1);
    loop {
        let page = client
            .get(target, &format!("/api/v1/topics/{TOPIC}/history?from={from}&limit={PAGE}"))
            .map_err(|e| format!("the journal cannot be read back: {e:?}"))?;
        let packets = page["packets"].as_array().ok_or("a history without packets")?;
        // What the recording itself holds has another author.
        for packet in packets.iter().filter(|packet| packet["author"] == "api") {
            let id = packet["id"].as_str().ok_or("a packet without an id")?.to_owned();
            all.insert(id, number_of(&packet["payload"]));
        }
        if packets.len() < PAGE {
            return Ok(all);
        }
        from = page["next"].as_u64().ok_or("a page without an end")?;
    }
}

/// Judges the journal: every acknowledged id is there with what was sent, and nothing is there that nobody sent.
/// `sent` are the numbers given out.
pub(super) fn judge(
    verdict: &mut Verdict,
    acknowledged: &BTreeMap<String, u64>,
    sent: std::ops::Range<u64>,
    recorded: &BTreeMap<String, Option<u64>>,
) {
    let lost: Vec<String> = acknowledged.keys().filter(|id| !recorded.contains_key(*id)).cloned().collect();
    verdict.ledger(acknowledged.len(), &lost);
    let other: Vec<&String> = acknowledged
        .iter()
        .filter(|(id, number)| recorded.get(*id).is_some_and(|recorded| *recorded != Some(**number)))
        .map(|(id, _)| id)
        .collect();
    verdict.check("what is acknowledged is stored as it was sent", other.is_empty(), || format!("{other:?}"));
    let strange: Vec<&String> = recorded
        .iter()
        .filter(|(_, number)| number.is_none_or(|number| !sent.contains(&number)))
        .map(|(id, _)| id)
        .collect();
    verdict.check("nothing is stored that nobody sent", strange.is_empty(), || {
        format!("{} packets: {:?}", strange.len(), &strange[..strange.len().min(5)])
    });
    let mut copies: BTreeMap<u64, u64> = BTreeMap::new();
    for number in recorded.values().flatten() {
        *copies.entry(*number).or_default() += 1;
    }
    // An answer that is lost on its way makes the client send again: at least once, not once.
    let again: u64 = copies.values().map(|count| count - 1).sum();
    verdict.add("recorded", recorded.len() as u64);
    verdict.add("recorded again by retries", again);
}
