//! What every journal does with events: versions, names, conditions, changes of streams, and reads.

use csf_core::Stamp;
use csf_core::port::{
    Append, Appended, Batch, CHANGE_STREAM, Criteria, EventCause, EventId, ExpectedVersion, Filter, Journal,
    JournalReader, Json, NewEvent, Origin, Read, ReadOf, Refused, StreamChange, StreamHead,
};
use serde_json::json;

use crate::{MemoryJournal, SeededRng};

/// The part of the suite about events. Each call of `make` gives a new, empty journal.
pub(super) fn events(make: impl Fn() -> Box<dyn Journal>) {
    every_part_of_an_event_is_kept(make());
    versions_are_expected(make());
    a_refused_append_leaves_the_others_alone(make());
    an_append_of_the_same_ids_is_done_once(make());
    what_must_not_have_happened_refuses(make());
    streams_are_truncated_and_closed(make());
    reads_start_and_end_where_they_are_told(make());
    what_is_too_large_is_refused(make());
    (0..4).for_each(|seed| it_does_what_the_model_does(make(), seed));
}

/// The part about restarts. `open` opens the same store again and again.
pub(super) fn events_restart(open: impl Fn() -> Box<dyn Journal>) {
    let close = StreamChange::Close { stream: "restart-closed".into() };
    let mut journal = open();
    let kept =
        Append::events([event("restart-a", 1).with_tag("t:1"), event("restart-a", 2), event("restart-closed", 3)]);
    let before = done(&mut *journal, kept.clone());
    done(
        &mut *journal,
        Append::default().changing(Stamp(1), StreamChange::Truncate { stream: "restart-a".into(), before: 2 }),
    );
    done(&mut *journal, Append::default().changing(Stamp(1), close));
    drop(journal);

    let mut journal = open();
    let mut reader = journal.reader().expect("a reader opens");
    assert_eq!(reader.head("restart-a").expect("head"), StreamHead { version: 2, first: 2, is_closed: false });
    let a = reader.events("restart-a", 0, 9).expect("events");
    assert_eq!(
        a.iter().map(|e| (e.position, e.version)).collect::<Vec<_>>(),
        [(before.first + 1, 2)],
        "truncated streams stay so"
    );
    let closed = append(&mut *journal, Append::events([event("restart-closed", 4)]));
    assert_eq!(closed, Err(Refused::Closed { stream: "restart-closed".into() }), "closed streams stay so");
    let named = Append::events([event("restart-b", 9).with_id(EventId::from_u128(77))]);
    let first = done(&mut *journal, named.clone());
    drop(journal);
    let again = done(&mut *open(), named);
    assert!(again.is_repeat && again.first == first.first, "ids are known after a restart, got {again:?}");
}

fn every_part_of_an_event_is_kept(mut journal: Box<dyn Journal>) {
    let cause = Some(EventCause::Packet(super::journal::lane(3).message(7)));
    let full = NewEvent::new("order-1", "placed", Stamp(u64::MAX), json!({"text": "ü\u{0}\n", "n": [1, null, 1.5]}))
        .with_id(EventId::from_u128(u128::MAX))
        .with_tag("customer:7")
        .with_tag("basket:é")
        .with_origin(Origin { cause, author: Some("shop".into()), correlation: Some("r-1".into()) });
    let spaced = NewEvent {
        data: Json::from_text("{ \"b\": 1.0,\n \"a\": 18446744073709551616 }").expect("JSON"),
        ..full.clone()
    };
    let spaced = NewEvent { id: None, ..spaced };
    let bare = NewEvent::new("x", "y", Stamp::ZERO, json!(null));
    let receipt = done(&mut *journal, Append::events([full.clone(), spaced.clone(), bare.clone()]));
    assert_eq!((receipt.first, receipt.last, receipt.version), (1, 3, 1));
    let stored = log(&*journal, Filter::all());
    for (at, (new, stored)) in [full, spaced, bare].into_iter().zip(&stored).enumerate() {
        assert_eq!(stored.position, at as u64 + 1);
        let back = NewEvent {
            id: stored.id,
            stream: stored.stream.clone(),
            kind: stored.kind.clone(),
            stamp: stored.stamp,
            tags: stored.tags.clone(),
            origin: stored.origin.clone(),
            data: stored.data.clone(),
        };
        assert_eq!(back, new, "an event is read as it was written, to the byte");
    }
}

fn versions_are_expected(mut journal: Box<dyn Journal>) {
    use ExpectedVersion::{Any, Exactly, Exists, NoStream};
    let a = |n| Append::events([event("a", n)]);
    refused_version(&mut *journal, a(0).expecting("a", Exists), 0);
    done(
        &mut *journal,
        Append::events([event("a", 1), event("b", 2), event("a", 3)]).expecting("a", NoStream).expecting("b", Any),
    );
    done(&mut *journal, a(4).expecting("a", Exactly(2)).expecting("b", Exists).expecting("c", NoStream));
    for expected in [NoStream, Exactly(2), Exactly(4), Exactly(0)] {
        refused_version(&mut *journal, a(5).expecting("a", expected), 3);
    }
    refused_version(&mut *journal, a(5).expecting("a", Exactly(3)).expecting("b", Exactly(0)), 1);
    let placed = |event: &csf_core::port::StoredEvent| (event.position, event.version);
    let mut reader = journal.reader().expect("reader");
    assert_eq!(
        reader.events("a", 0, 9).expect("events").iter().map(placed).collect::<Vec<_>>(),
        [(1, 1), (3, 2), (4, 3)]
    );
    assert_eq!(reader.head("a").expect("head"), StreamHead { version: 3, first: 0, is_closed: false });
    assert_eq!(reader.head("never").expect("head"), StreamHead::default());
    let nothing = done(&mut *journal, Append::default().expecting("a", Exactly(3)));
    assert_eq!((nothing.first, nothing.last, nothing.version), (4, 4, 0), "an append may only ask");
}

fn a_refused_append_leaves_the_others_alone(mut journal: Box<dyn Journal>) {
    let appends = vec![
        Append::events([event("a", 1)]).expecting("a", ExpectedVersion::NoStream),
        Append::events([event("b", 2), event("a", 3)]).expecting("a", ExpectedVersion::NoStream),
        Append::events([event("a", 4)]).expecting("a", ExpectedVersion::Exactly(1)),
        Append::events([event("", 5)]),
    ];
    let receipt = journal.append(&Batch { appends, ..Batch::default() }).expect("the batch is committed");
    let outcomes: Vec<Option<u64>> = receipt.appends.iter().map(|a| a.as_ref().ok().map(|a| a.first)).collect();
    assert_eq!(outcomes, [Some(1), None, Some(2), None], "each append stands for itself, and sees those before it");
    assert_eq!((receipt.position, journal.position()), (2, 2), "a refused append takes no position");
    assert!(receipt.appends.iter().flatten().all(|a| a.durability == receipt.durability));
    assert_eq!(log(&*journal, Filter::all()).len(), 2);
}

fn an_append_of_the_same_ids_is_done_once(mut journal: Box<dyn Journal>) {
    let named = |stream: &str, id: u128| event(stream, 1).with_id(EventId::from_u128(id));
    let both = Append::events([named("a", 1), event("a", 0), named("b", 2)]).expecting("a", ExpectedVersion::NoStream);
    let first = done(&mut *journal, both.clone());
    assert!(!first.is_repeat);
    done(&mut *journal, Append::events([event("c", 1)]));
    let again = done(&mut *journal, both);
    assert_eq!(
        again,
        Appended { is_repeat: true, ..first },
        "the same ids give the same receipt, whatever is expected"
    );
    assert_eq!(journal.position(), 4);
    for bad in [
        vec![named("a", 1)],
        vec![named("a", 1), named("b", 2)],
        vec![named("b", 1), event("a", 0), named("b", 2)],
        vec![named("a", 3), named("b", 2)],
        vec![named("b", 2), named("a", 3)],
        vec![named("d", 4), named("d", 4)],
    ] {
        // One event of three may be told from three: only an append as long as it was is a repeat.
        let is_prefix = bad.len() == 1;
        match append(&mut *journal, Append::events(bad)) {
            Err(Refused::IdInUse { .. }) => {}
            Ok(known) if is_prefix && known.is_repeat => {}
            other => panic!("an id is used once, got {other:?}"),
        }
    }
    assert_eq!(journal.position(), 4, "nothing of it is stored");
    let appends = vec![Append::events([named("e", 9)]), Append::events([named("e", 9)])];
    let receipt = journal.append(&Batch { appends, ..Batch::default() }).expect("the batch is committed");
    let repeats: Vec<bool> = receipt.appends.iter().flatten().map(|a| a.is_repeat).collect();
    assert_eq!(repeats, [false, true], "also within one commit");
}

fn what_must_not_have_happened_refuses(mut journal: Box<dyn Journal>) {
    let seat = |seat: &str| event("booking-1", 1).with_tag(format!("seat:{seat}")).with_tag("flight:9");
    let taken = |seat: &str| Filter::tags([format!("seat:{seat}"), "flight:9".into()]);
    done(&mut *journal, Append::events([seat("1A")]).unless(taken("1A"), 0));
    let again = append(&mut *journal, Append::events([seat("1A")]).unless(taken("1A"), 0));
    assert_eq!(again, Err(Refused::Happened { position: 1, after: 0 }));
    done(&mut *journal, Append::events([seat("1B")]).unless(taken("1B"), 0));
    done(&mut *journal, Append::events([seat("1A")]).unless(taken("1A"), 1));
    let kind = Filter::kinds(["happened"]).or(Filter::category("none"));
    let late = append(&mut *journal, Append::default().unless(kind.clone(), 2));
    assert_eq!(late, Err(Refused::Happened { position: 3, after: 2 }), "the newest such event is named");
    done(&mut *journal, Append::default().unless(kind, 3));
    let appends =
        vec![Append::events([seat("2A")]).unless(taken("2A"), 3), Append::events([seat("2A")]).unless(taken("2A"), 3)];
    let receipt = journal.append(&Batch { appends, ..Batch::default() }).expect("the batch is committed");
    assert_eq!(receipt.appends[1], Err(Refused::Happened { position: 4, after: 3 }), "also within one commit");
}

fn streams_are_truncated_and_closed(mut journal: Box<dyn Journal>) {
    let named = event("a", 2).with_id(EventId::from_u128(5)).with_tag("t");
    done(&mut *journal, Append::events([event("a", 1), named.clone(), event("a", 3), event("b", 4).with_tag("t")]));
    let cut = |before| Append::default().changing(Stamp(9), StreamChange::Truncate { stream: "a".into(), before });
    let changed = done(&mut *journal, cut(3));
    assert_eq!((changed.first, changed.last, changed.version), (5, 5, 1), "a change takes a position");
    done(&mut *journal, cut(2));
    let mut reader = journal.reader().expect("reader");
    assert_eq!(reader.head("a").expect("head"), StreamHead { version: 3, first: 3, is_closed: false });
    assert_eq!(versions(&mut *reader, "a"), [3], "what is truncated does not come back");
    assert_eq!(positions(&*journal, Filter::tags(["t"])), [4], "nor is it found in the log");
    assert_eq!(positions(&*journal, Filter::all()), [3, 4, 5, 6]);
    assert!(!done(&mut *journal, Append::events([named])).is_repeat, "its ids are forgotten");
    done(&mut *journal, cut(99));
    assert_eq!(versions(&mut *reader, "a"), [0u64; 0]);
    done(&mut *journal, Append::events([event("a", 9)]).expecting("a", ExpectedVersion::Exactly(4)));
    assert_eq!(versions(&mut *reader, "a"), [5], "versions count on");
    let close = Append::events([event("b", 1)]).changing(Stamp(1), StreamChange::Close { stream: "b".into() });
    done(&mut *journal, close.clone());
    assert_eq!(append(&mut *journal, close), Err(Refused::Closed { stream: "b".into() }));
    assert_eq!(reader.head("b").expect("head"), StreamHead { version: 2, first: 3, is_closed: true });
    assert_eq!(versions(&mut *reader, "b"), [0u64; 0]);
    let changes = reader.events(CHANGE_STREAM, 0, 9).expect("events");
    assert_eq!(changes[0].data.to_value(), json!({"change": "truncate", "stream": "a", "before": 3}));
    assert_eq!(changes[0].stamp, Stamp(9));
    assert_eq!(changes.len(), 4);
    let own = append(&mut *journal, Append::events([event(CHANGE_STREAM, 1)]));
    assert_eq!(own, Err(Refused::Reserved { stream: CHANGE_STREAM.into() }));
}

fn reads_start_and_end_where_they_are_told(mut journal: Box<dyn Journal>) {
    for n in 0..10 {
        done(&mut *journal, Append::events([event(if n % 3 == 0 { "x-1" } else { "x-2" }, n)]));
    }
    let mut reader = journal.reader().expect("reader");
    let mut places = |read: Read| -> Vec<u64> {
        let is_stream = matches!(read.of, ReadOf::Stream(_));
        let page = reader.read(&read).expect("page");
        assert_eq!(page.position, 10, "a page says how far the log went");
        page.events.iter().map(|e| if is_stream { e.version } else { e.position }).collect()
    };
    assert_eq!(places(Read::stream("x-1")), [1, 2, 3, 4]);
    assert_eq!(places(Read::stream("x-1").from(3)), [3, 4]);
    assert_eq!(places(Read::stream("x-1").limit(2)), [1, 2]);
    assert_eq!(places(Read::stream("x-1").backward().limit(2)), [4, 3]);
    assert_eq!(places(Read::stream("x-1").backward().from(2)), [2, 1]);
    assert_eq!(places(Read::stream("x-1").limit(0)), [0u64; 0]);
    assert_eq!(places(Read::stream("x-1").from(5)), [0u64; 0]);
    assert_eq!(places(Read::stream("x-1").backward().from(0)), [0u64; 0]);
    assert_eq!(places(Read::log(Filter::category("x")).from(8)), [8, 9, 10]);
    assert_eq!(places(Read::log(Filter::category("x")).backward().limit(3)), [10, 9, 8]);
    assert_eq!(places(Read::log(Filter::category("x-1"))), [0u64; 0]);
    let stream = Filter::from(Criteria { streams: vec!["x-1".into()], ..Criteria::default() });
    assert_eq!(places(Read::log(stream.clone()).backward().from(7)), [7, 4, 1]);
    assert_eq!(places(Read::log(stream.or(Filter::tags(["n:5"]))).from(4).limit(3)), [4, 6, 7]);
    assert_eq!(places(Read::log(Filter::all()).from(u64::MAX)), [0u64; 0]);
    assert_eq!(places(Read::log(Filter::all()).backward().from(0)), [0u64; 0]);
}

fn what_is_too_large_is_refused(mut journal: Box<dyn Journal>) {
    use csf_core::port::{
        APPEND_EVENTS_MAX, CRITERIA_MAX, CRITERIA_WORDS_MAX, STREAM_BYTES_MAX, TAGS_MAX, WORD_BYTES_MAX,
    };
    let long = "x".repeat(STREAM_BYTES_MAX);
    done(&mut *journal, Append::events([event(&long, 1)]));
    let tags: Vec<String> = (0..TAGS_MAX).map(|n| format!("{n}")).collect();
    done(&mut *journal, Append::events([NewEvent { tags: tags.clone(), ..event("a", 1) }]));
    let many = |count| Append::events((0..count).map(|n| event("many", n as u64)).collect::<Vec<_>>());
    assert_eq!(done(&mut *journal, many(APPEND_EVENTS_MAX)).version, APPEND_EVENTS_MAX as u64);
    let word = "x".repeat(WORD_BYTES_MAX + 1);
    for bad in [
        event(&format!("{long}x"), 1),
        event("a\n", 1),
        NewEvent { kind: String::new(), ..event("a", 1) },
        event("a", 1).with_tag(word),
    ] {
        let refused = append(&mut *journal, Append::events([bad]));
        assert!(matches!(refused, Err(Refused::BadName { .. })), "got {refused:?}");
    }
    let tags = NewEvent { tags: [tags, vec!["more".into()]].concat(), ..event("a", 1) };
    for bad in [many(APPEND_EVENTS_MAX + 1), Append::events([tags])] {
        let refused = append(&mut *journal, bad);
        assert!(matches!(refused, Err(Refused::TooLarge { .. })), "got {refused:?}");
    }
    let asks = |criteria: usize, words: usize| {
        let tags: Vec<String> = (0..words).map(|n| format!("t:{n}")).collect();
        let filter = Filter { any_of: vec![Criteria { tags, ..Criteria::default() }; criteria] };
        Append::events([event("asks", 1)]).unless(filter, 0)
    };
    done(&mut *journal, asks(CRITERIA_MAX, 4));
    done(&mut *journal, asks(1, CRITERIA_WORDS_MAX));
    for bad in [asks(CRITERIA_MAX + 1, 1), asks(1, CRITERIA_WORDS_MAX + 1)] {
        let refused = append(&mut *journal, bad);
        assert!(matches!(refused, Err(Refused::TooLarge { .. })), "got {refused:?}");
    }
}

/// Random commits to a journal and to the plainest one, whose answers and contents must be the same.
fn it_does_what_the_model_does(mut journal: Box<dyn Journal>, seed: u64) {
    let mut model = MemoryJournal::new();
    let mut rng = SeededRng::new(0x6576_656e_7473 + seed);
    for round in 0..60 {
        let appends: Vec<Append> = (0..rng.below(8)).map(|_| random_append(&mut rng, model.position())).collect();
        let batch = Batch { appends, ..Batch::default() };
        let plain = |receipt: csf_core::port::Receipt| -> Vec<Result<Appended, Refused>> {
            let same = |a: Appended| Appended { durability: csf_core::port::Durability::Memory, ..a };
            receipt.appends.into_iter().map(|outcome| outcome.map(same)).collect()
        };
        let wanted = plain(model.append(&batch).expect("the model takes it"));
        let got = plain(journal.append(&batch).expect("the journal takes it"));
        assert_eq!(got, wanted, "seed {seed}, round {round}: {batch:?}");
        assert_eq!(journal.position(), model.position(), "seed {seed}, round {round}");
    }
    let mut readers = (journal.reader().expect("reader"), model.reader().expect("reader"));
    for number in 0..STREAMS {
        let stream = format!("s{}-{number}", number % 3);
        assert_eq!(
            readers.0.head(&stream).expect("head"),
            readers.1.head(&stream).expect("head"),
            "seed {seed}, {stream}"
        );
    }
    for _ in 0..300 {
        let mut read = match rng.below(4) {
            0 => Read::named(EventId::from_u128(u128::from(rng.below(120)))),
            1 => Read::stream(random_stream(&mut rng)).from(rng.below(20)),
            _ => Read::log(random_filter(&mut rng)).from(rng.below(model.position() + 2)),
        };
        if rng.below(2) == 0 && !matches!(read.of, ReadOf::Named(_)) {
            let from = read.from;
            read = read.backward().from(if rng.below(4) == 0 { u64::MAX } else { from });
        }
        if rng.below(4) > 0 {
            read = read.limit(rng.below(12) as usize);
        }
        assert_eq!(readers.0.read(&read).expect("page"), readers.1.read(&read).expect("page"), "seed {seed}, {read:?}");
    }
}

const STREAMS: u64 = 9;

fn random_stream(rng: &mut SeededRng) -> String {
    let number = rng.below(STREAMS);
    format!("s{}-{number}", number % 3)
}

fn random_event(rng: &mut SeededRng) -> NewEvent {
    let mut event = NewEvent { kind: format!("k{}", rng.below(4)), ..event(&random_stream(rng), rng.below(100)) };
    (0..rng.below(3)).for_each(|_| event.tags.push(format!("t:{}", rng.below(5))));
    if rng.below(3) == 0 {
        event.id = Some(EventId::from_u128(u128::from(rng.below(120))));
    }
    event
}

fn random_filter(rng: &mut SeededRng) -> Filter {
    let mut list = |count: u64, of: &dyn Fn(u64) -> String| -> Vec<String> {
        let wanted = rng.below(6).saturating_sub(3);
        (0..wanted).map(|_| of(rng.below(count))).collect()
    };
    let mut criteria = || Criteria {
        streams: list(STREAMS, &|n| format!("s{}-{n}", n % 3)),
        categories: list(4, &|n| format!("s{n}")),
        kinds: list(5, &|n| format!("k{n}")),
        tags: list(6, &|n| format!("t:{n}")),
    };
    Filter {
        any_of: vec![criteria(), criteria(), criteria()].into_iter().filter(|c| *c != Criteria::default()).collect(),
    }
}

fn random_append(rng: &mut SeededRng, position: u64) -> Append {
    let mut append = Append::events((0..rng.below(4)).map(|_| random_event(rng)).collect::<Vec<_>>());
    if rng.below(3) == 0 {
        let expected = match rng.below(4) {
            0 => ExpectedVersion::Any,
            1 => ExpectedVersion::NoStream,
            2 => ExpectedVersion::Exists,
            _ => ExpectedVersion::Exactly(rng.below(12)),
        };
        append = append.expecting(random_stream(rng), expected);
    }
    if rng.below(4) == 0 {
        append = append.unless(random_filter(rng), position.saturating_sub(rng.below(10)));
    }
    if rng.below(6) == 0 {
        let (stream, before) = (random_stream(rng), rng.below(12));
        let change = match rng.below(12) {
            0 => StreamChange::Close { stream },
            _ => StreamChange::Truncate { stream, before },
        };
        append = append.changing(Stamp(rng.below(100)), change);
    }
    append
}

fn event(stream: &str, n: u64) -> NewEvent {
    NewEvent::new(stream, "happened", Stamp(n), json!({ "n": n })).with_tag(format!("n:{n}"))
}

fn append(journal: &mut dyn Journal, append: Append) -> Result<Appended, Refused> {
    let receipt = journal.append(&Batch { appends: vec![append], ..Batch::default() }).expect("the batch is committed");
    assert_eq!(receipt.position, journal.position(), "the receipt covers everything appended");
    receipt.appends.into_iter().next().expect("an answer for each append")
}

#[track_caller]
fn done(journal: &mut dyn Journal, wanted: Append) -> Appended {
    append(journal, wanted.clone()).unwrap_or_else(|refused| panic!("{wanted:?} is done, got {refused}"))
}

#[track_caller]
fn refused_version(journal: &mut dyn Journal, wanted: Append, version: u64) {
    match append(journal, wanted) {
        Err(Refused::WrongVersion { actual, .. }) => assert_eq!(actual, version),
        other => panic!("a stream of {version} events is not as expected, got {other:?}"),
    }
}

fn log(journal: &dyn Journal, filter: Filter) -> Vec<csf_core::port::StoredEvent> {
    journal.reader().and_then(|mut reader| reader.read(&Read::log(filter))).expect("a page").events
}

fn positions(journal: &dyn Journal, filter: Filter) -> Vec<u64> {
    log(journal, filter).iter().map(|event| event.position).collect()
}

fn versions(reader: &mut dyn JournalReader, stream: &str) -> Vec<u64> {
    reader.events(stream, 0, usize::MAX).expect("events").iter().map(|event| event.version).collect()
}
