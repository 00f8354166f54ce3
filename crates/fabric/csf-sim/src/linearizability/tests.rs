use std::collections::BTreeSet;

use csf_core::port::ExpectedVersion::{Any, Exactly};

use super::*;
use crate::SeededRng;

fn call(begun: u64, call: StreamCall, answer: StreamAnswer, ended: u64) -> Recorded<StreamCall, StreamAnswer> {
    Recorded { call, answer: Some((answer, ended)), begun }
}

fn append(n: u64) -> StreamCall {
    StreamCall::Append(n, Any)
}

fn events(events: &[u64]) -> StreamAnswer {
    StreamAnswer::Events(events.to_vec())
}

#[test]
fn calls_that_overlap_may_be_in_any_order_and_others_may_not() {
    let overlapping = [
        call(1, append(7), StreamAnswer::Appended(1), 4),
        call(2, StreamCall::Read, events(&[]), 3),
        call(5, StreamCall::Read, events(&[7]), 6),
    ];
    assert_eq!(explain(VersionedStream::default(), &overlapping), Ok(vec![1, 0, 2]));
    let stale = [call(1, append(7), StreamAnswer::Appended(1), 2), call(3, StreamCall::Read, events(&[]), 4)];
    let found = explain(VersionedStream::default(), &stale);
    assert_eq!(found, Err(Inexplicable { order: vec![0], stuck_at: 1 }));
}

#[test]
fn a_call_without_an_answer_may_be_done_late_or_never() {
    let unanswered = Recorded { call: append(7), answer: None, begun: 1 };
    let never = [unanswered.clone(), call(2, StreamCall::Read, events(&[]), 3)];
    assert!(explain(VersionedStream::default(), &never).is_ok());
    let late =
        [unanswered.clone(), call(2, StreamCall::Read, events(&[]), 3), call(4, StreamCall::Read, events(&[7]), 5)];
    assert!(explain(VersionedStream::default(), &late).is_ok());
    let undone = [unanswered, call(2, StreamCall::Read, events(&[7]), 3), call(4, StreamCall::Read, events(&[]), 5)];
    assert!(explain(VersionedStream::default(), &undone).is_err());
}

#[test]
fn a_version_is_given_once() {
    let twice = |versions: [u64; 2]| {
        let calls = [0, 1].map(|n| {
            let answer = StreamAnswer::Appended(versions[n as usize]);
            call(1 + n, StreamCall::Append(n, Exactly(0)), answer, 3 + n)
        });
        explain(VersionedStream::default(), &calls).is_ok()
    };
    assert!(!twice([1, 1]) && !twice([1, 2]));
    let refused = [
        call(1, StreamCall::Append(1, Exactly(0)), StreamAnswer::Refused(1), 4),
        call(2, StreamCall::Append(2, Exactly(0)), StreamAnswer::Appended(1), 3),
    ];
    assert!(explain(VersionedStream::default(), &refused).is_ok());
}

#[test]
fn two_that_are_certain_at_once_are_found() {
    let history = History::default();
    history.note(LockCall::Acquire, LockAnswer::Token(3));
    history.note(LockCall::IsValid(3), LockAnswer::Yes);
    history.note(LockCall::Acquire, LockAnswer::Token(5));
    history.note(LockCall::IsValid(5), LockAnswer::Yes);
    history.note(LockCall::Pass(5), LockAnswer::Yes);
    history.note(LockCall::Pass(3), LockAnswer::No);
    assert!(explain(FencedLock::default(), &history.calls()).is_ok());
    for (call, answer) in [
        (LockCall::IsValid(3), LockAnswer::Yes),
        (LockCall::Pass(3), LockAnswer::Yes),
        (LockCall::Acquire, LockAnswer::Token(4)),
    ] {
        let mut calls = history.calls();
        calls.push(Recorded { call, answer: Some((answer, 101)), begun: 100 });
        assert!(explain(FencedLock::default(), &calls).is_err(), "{:?}", calls.last());
    }
}

/// Every order of the calls, one by one: what the search must agree with.
fn by_hand(state: &VersionedStream, history: &[Recorded<StreamCall, StreamAnswer>], left: &BTreeSet<usize>) -> bool {
    let earliest_end = left.iter().filter_map(|n| Some(history[*n].answer.as_ref()?.1)).min();
    let Some(earliest_end) = earliest_end else { return true };
    left.iter().any(|n| {
        let recorded = &history[*n];
        let mut rest = left.clone();
        rest.remove(n);
        recorded.begun < earliest_end
            && state
                .after(&recorded.call, recorded.answer.as_ref().map(|(answer, _)| answer))
                .is_some_and(|after| by_hand(&after, history, &rest))
    })
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let (mut fine, mut wrong) = (0, 0);
    for seed in 0..10_000 {
        let mut rng = SeededRng::new(seed);
        let mut moments: Vec<u64> = (0..12).collect();
        // A random order of six beginnings and six ends.
        (1..12).rev().for_each(|at| moments.swap(at, rng.below(at as u64 + 1) as usize));
        let history: Vec<_> = moments
            .chunks(2)
            .map(|pair| {
                let (begun, ended) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                let (asked, answer) = match rng.below(3) {
                    0 => (StreamCall::Append(1, Exactly(rng.below(3))), StreamAnswer::Appended(1 + rng.below(3))),
                    1 => (StreamCall::Append(1, Any), StreamAnswer::Appended(1 + rng.below(4))),
                    _ => (StreamCall::Read, StreamAnswer::Events(vec![1; rng.below(4) as usize])),
                };
                let is_heard = rng.below(4) > 0;
                Recorded { call: asked, answer: is_heard.then_some((answer, ended)), begun }
            })
            .collect();
        let expected = by_hand(&VersionedStream::default(), &history, &(0..history.len()).collect());
        let found = explain(VersionedStream::default(), &history);
        assert_eq!(found.is_ok(), expected, "seed {seed}: {history:#?}");
        if expected { fine += 1 } else { wrong += 1 }
    }
    assert!(fine > 200 && wrong > 200, "{fine} fine, {wrong} wrong");
}
