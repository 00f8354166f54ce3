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

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(recorded: &[(&str, Option<u64>)]) -> Verdict {
        let told = |(id, number): &(&str, u64)| ((*id).to_owned(), *number);
        let acknowledged = [("1.1.1-0", 1), ("1.1.1-1", 2)].iter().map(told).collect();
        let recorded = recorded.iter().map(|(id, number)| ((*id).to_owned(), *number)).collect();
        let mut verdict = Verdict::new("name", "claim");
        judge(&mut verdict, &acknowledged, 1..4, &recorded);
        verdict
    }

    fn broken(recorded: &[(&str, Option<u64>)]) -> String {
        judged(recorded).surprises().join("; ")
    }

    #[test]
    fn a_journal_with_all_that_was_acknowledged_is_whole_and_copies_are_counted() {
        let verdict = judged(&[("1.1.1-0", Some(1)), ("1.1.1-1", Some(2)), ("1.1.1-2", Some(2)), ("1.1.1-3", Some(3))]);
        assert!(verdict.is_held());
        let json = verdict.json();
        assert_eq!(
            (&json["acknowledged"], &json["lost"], &json["counted"]["recorded again by retries"]),
            (&2.into(), &0.into(), &1.into())
        );
    }

    #[test]
    fn what_is_lost_changed_or_strange_is_found() {
        assert!(broken(&[("1.1.1-0", Some(1))]).contains("1 lost: 1.1.1-1"));
        assert!(broken(&[("1.1.1-0", Some(1)), ("1.1.1-1", Some(3))]).contains("stored as it was sent"));
        let whole = [("1.1.1-0", Some(1)), ("1.1.1-1", Some(2))];
        for stranger in [None, Some(4), Some(0)] {
            let said = broken(&[whole[0], whole[1], ("1.1.1-9", stranger)]);
            assert!(said.contains("nothing is stored that nobody sent: 1 packets"), "{said}");
        }
    }
}
