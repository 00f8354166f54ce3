//! A clean log is clean, and every fault that is put into it is found as what it is.

use csf_core::port::Origin;

use super::*;
use crate::told::{Line, Place};
use crate::work::append;

const CALLS: u64 = 5;

type Fault = fn(&mut Told, &mut Found);

/// Three callers, one of each kind, with five appends each, and one order.
fn clean() -> (Told, Found) {
    let (mut told, mut events, mut versions) = (Told::default(), Vec::new(), BTreeMap::new());
    for n in 1..=CALLS {
        for caller in 0..3 {
            let first = events.len() as u64 + 1;
            append(caller, n, Stamp(7)).events.into_iter().for_each(|event| {
                push(&mut events, &mut versions, event.id, event.stream, "said", event.tags, event.data);
            });
            let version = events.last().map_or(0, |event: &StoredEvent| event.version);
            told.hear(Line::Acknowledged { caller, n, place: Place { first: Some(first), version } });
        }
    }
    let mut entry = |text: String| {
        let data = Json::from_text(text).unwrap();
        push(&mut events, &mut versions, None, "workflow-1.0.0".into(), "entry", Vec::new(), data);
    };
    entry(r#"{"type":"started","workflow":"order","input":null}"#.into());
    for (seq, step) in (1..).zip(STEPS) {
        let options = r#"{"start_to_close":{"secs":1,"nanos":0}}"#;
        entry(format!(
            r#"{{"type":"activity_scheduled","seq":{seq},"activity":"{step}","input":null,"options":{options}}}"#
        ));
        entry(format!(r#"{{"type":"activity_completed","seq":{seq},"result":null}}"#));
        told.hear(Line::Effect { order: "1.0.0".into(), step: step.into(), key: format!("k{seq}") });
    }
    entry(r#"{"type":"completed","result":null}"#.into());
    told.hear(Line::Started("1.0.0".into()));
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for event in events.iter().filter(|event| category(&event.stream) == CALLER) {
        told.hear(Line::Handled(event.position));
        let sum = sums.entry(event.stream.clone()).or_default();
        *sum = (sum.0 + 1, sum.1 + event.parse::<Said>().unwrap().n);
    }
    for n in 1..=3u64 {
        let data = Json::from(serde_json::json!({ "n": n }));
        push(&mut events, &mut versions, None, format!("{SALE}-{n}"), "sold", Vec::new(), data);
        told.hear(Line::Sold(n));
    }
    let books = Books { sold: vec![1, 2, 3], booked: BTreeMap::from([(1, 1), (2, 1), (3, 1)]) };
    (told, Found { events, sums, books })
}

fn push(
    events: &mut Vec<StoredEvent>,
    versions: &mut BTreeMap<String, u64>,
    id: Option<EventId>,
    stream: String,
    kind: &str,
    tags: Vec<String>,
    data: Json,
) {
    let version = versions.entry(stream.clone()).or_default();
    *version += 1;
    let (position, version, kind) = (events.len() as u64 + 1, *version, kind.to_owned());
    let origin = Origin::default();
    events.push(StoredEvent { position, id, stream, version, kind, stamp: Stamp(7), tags, origin, data });
}

/// The verdict after `fault`: lost, duplicated, steps twice, astray.
fn after(fault: impl FnOnce(&mut Told, &mut Found)) -> [u64; 4] {
    let (mut told, mut found) = clean();
    fault(&mut told, &mut found);
    let verdict = judge(&told, &found);
    assert_eq!(verdict.is_clean(), verdict.words.is_empty(), "what is wrong is said: {verdict:?}");
    [verdict.lost, verdict.duplicated, verdict.steps_twice, verdict.astray]
}

/// The place of the n-th append of a caller.
fn at(found: &Found, caller: u64, n: u64) -> usize {
    let is_it = |event: &StoredEvent| event.parse::<Said>().is_ok_and(|said| (said.caller, said.n) == (caller, n));
    found.events.iter().position(is_it).unwrap()
}

#[test]
fn what_is_as_it_was_told_is_clean() {
    let (told, found) = clean();
    let verdict = judge(&told, &found);
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!((verdict.acknowledged, verdict.events, verdict.orders), (3 * CALLS + 4, 5 * CALLS, 1));
}

#[test]
fn an_answered_append_that_is_gone_is_lost() {
    for caller in 0..3 {
        let [lost, ..] = after(|_, found| {
            let last = at(found, caller, CALLS);
            found.events.remove(last);
        });
        assert!(lost > 0, "caller {caller}");
    }
    let [lost, ..] = after(|_, found| found.events.retain(|event| category(&event.stream) != WORKFLOW_CATEGORY));
    assert_eq!(lost, 1, "an order whose start was answered");
}

#[test]
fn an_append_that_nobody_answered_may_be_there_or_not() {
    let unanswered = |told: &mut Told| _ = told.acknowledged.remove(&(2, CALLS));
    assert_eq!(after(|told, _| unanswered(told)), [0; 4]);
}

#[test]
fn an_append_that_is_there_again_is_duplicated() {
    let [_, duplicated, ..] = after(|_, found| {
        let mut again = found.events[at(found, 1, 3)].clone();
        again.position = 1000;
        again.version = CALLS + 1;
        found.events.push(again);
    });
    assert_eq!(duplicated, 1);
}

#[test]
fn gaps_order_halves_and_changed_bytes_are_found() {
    let faults: [(&str, Fault); 8] = [
        ("a version is left out", |_, found| {
            let at = at(found, 0, CALLS);
            found.events[at].version += 1;
        }),
        ("a position comes twice", |_, found| found.events[3].position = found.events[2].position),
        ("half of an append", |_, found| {
            let half = at(found, 2, CALLS) + 1;
            _ = found.events.remove(half);
        }),
        ("another text", |_, found| {
            let at = at(found, 1, 2);
            found.events[at].data = Json::of(&Said::new(1, 2, 1)).unwrap();
        }),
        ("another name", |_, found| {
            let at = at(found, 1, 2);
            found.events[at].id = None;
        }),
        ("nobody handled it", |told, _| _ = told.handled.pop_first()),
        ("the read model is behind", |_, found| _ = found.sums.pop_first()),
        ("two answers", |told, _| {
            let place = Place { first: Some(1), version: 9 };
            told.hear(Line::Acknowledged { caller: 1, n: 1, place });
        }),
    ];
    for (fault, plant) in faults {
        let [.., astray] = after(plant);
        assert!(astray > 0, "{fault}");
    }
}

#[test]
fn a_step_under_two_keys_or_decided_twice_is_found() {
    let [_, _, twice, _] = after(|told, _| {
        told.hear(Line::Effect { order: "1.0.0".into(), step: STEPS[1].into(), key: "another".into() });
    });
    assert_eq!(twice, 1);
    let [_, _, twice, _] = after(|_, found| {
        let completed = found.events.iter().rposition(|event| event.data.as_str().contains("activity_completed"));
        let mut again = found.events[completed.unwrap()].clone();
        let last = found.events.last().unwrap();
        (again.position, again.version) = (last.position + 1, last.version + 1);
        found.events.push(again);
    });
    assert_eq!(twice, 1);
    assert_eq!(
        after(|told, _| told.hear(Line::Effect { order: "1.0.0".into(), step: STEPS[0].into(), key: "k1".into() })),
        [0; 4],
        "a try that is repeated under its key is one"
    );
    let [.., astray] = after(|told, _| _ = told.effects.pop_first());
    assert_eq!(astray, 1, "a step without effect");
}

#[test]
fn a_sale_without_its_event_or_with_two_or_two_effects_is_found() {
    let is_sale = |event: &StoredEvent| category(&event.stream) == SALE;
    let faults: [(Fault, [u64; 4]); 5] = [
        (|_, found| _ = found.events.pop(), [1, 0, 0, 0]),
        (|_, found| _ = found.books.sold.pop(), [1, 0, 0, 1]),
        (|_, found| _ = found.books.booked.insert(2, 2), [0, 0, 0, 1]),
        (|_, found| _ = found.books.booked.remove(&2), [0, 0, 0, 1]),
        (
            |_, found| {
                let last = found.events.last().unwrap();
                let again = StoredEvent { position: last.position + 1, stream: "sale-9".into(), ..last.clone() };
                found.events.push(again);
            },
            [0, 1, 0, 0],
        ),
    ];
    for (fault, wanted) in faults {
        assert_eq!(after(fault), wanted);
    }
    let (_, found) = clean();
    assert_eq!(found.events.iter().filter(|event| is_sale(event)).count(), 3);
}

#[test]
fn lines_are_read_as_they_are_written() {
    for line in [
        Line::Open,
        Line::Acknowledged { caller: 3, n: 7, place: Place { first: Some(9), version: 2 } },
        Line::Acknowledged { caller: 3, n: 7, place: Place { first: None, version: 2 } },
        Line::Handled(4),
        Line::Sold(9),
        Line::Started("1.2.3".into()),
        Line::Effect { order: "1.2.3".into(), step: "ship".into(), key: "workflow-1.2.3/3".into() },
        Line::Finished,
    ] {
        assert_eq!(Line::read(&line.to_string()), Ok(line));
    }
    for text in ["", "open now", "handled x", "acknowledged 1 2 3"] {
        assert!(Line::read(text).is_err(), "{text}");
    }
}
