//! Linearizability of histories: whether calls that overlapped could have been done one after the other, each between its beginning and its
//! end, by an object whose rules are known.
//!
//! The search is Wing and Gong's with Lowe's memory: a set of calls that led to a state is tried once. Calls without an answer may
//! have been done at any later time, or never. Time is exponential in the calls that overlap, not in the length of a history.
//! Reference: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for Linearizability" (2017), section 4.

mod models;

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

pub use models::{FencedLock, LockAnswer, LockCall, StreamAnswer, StreamCall, VersionedStream};

/// An object that does one call after the other.
pub trait Sequential: Clone + Eq + Hash {
    /// What it may be asked.
    type Call;
    /// What it may answer.
    type Answer;

    /// The object after the call, if it can give this answer now. `None` in place of the answer: nobody has heard it.
    fn after(&self, call: &Self::Call, answer: Option<&Self::Answer>) -> Option<Self>;
}

/// A call of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded<C, A> {
    /// What was asked.
    pub call: C,
    /// The answer and when it was heard; `None` when it was not.
    pub answer: Option<(A, u64)>,
    /// When it was asked. Moments of beginnings and ends all differ.
    pub begun: u64,
}

/// Calls as they happen, from any thread.
#[derive(Debug)]
pub struct History<C, A> {
    inner: Mutex<Inner<C, A>>,
}

#[derive(Debug)]
struct Inner<C, A> {
    moment: u64,
    calls: Vec<Recorded<C, A>>,
}

impl<C, A> Default for History<C, A> {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { moment: 0, calls: Vec::new() }) }
    }
}

impl<C, A> History<C, A> {
    fn lock(&self) -> MutexGuard<'_, Inner<C, A>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call begins; its number.
    pub fn begin(&self, call: C) -> usize {
        let mut inner = self.lock();
        inner.moment += 1;
        let begun = inner.moment;
        inner.calls.push(Recorded { call, answer: None, begun });
        inner.calls.len() - 1
    }

    /// The call of this number was answered.
    pub fn end(&self, number: usize, answer: A) {
        let mut inner = self.lock();
        inner.moment += 1;
        let moment = inner.moment;
        inner.calls[number].answer = Some((answer, moment));
    }

    /// A call that begins and ends with nothing between.
    pub fn note(&self, call: C, answer: A) {
        let number = self.begin(call);
        self.end(number, answer);
    }

    /// What has happened so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Recorded<C, A>>
    where
        C: Clone,
        A: Clone,
    {
        self.lock().calls.clone()
    }
}

/// A history that no order explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inexplicable {
    /// The longest order that was found, as numbers of calls.
    pub order: Vec<usize>,
    /// Number of an answer that fits nowhere after it.
    pub stuck_at: usize,
}

/// Beginnings and ends of calls, as a list from which calls are lifted.
struct Line {
    /// The number of the call, and whether this is its end.
    marks: Vec<(usize, bool)>,
    /// By place in `marks`, 1 more than that; 0 is the head, and `marks.len() + 1` the end.
    next: Vec<usize>,
    previous: Vec<usize>,
    /// By call: the places of its beginning and its end.
    places: Vec<(usize, Option<usize>)>,
}

impl Line {
    fn new<C, A>(history: &[Recorded<C, A>]) -> Self {
        let mut marks: Vec<(u64, usize, bool)> = Vec::new();
        for (number, recorded) in history.iter().enumerate() {
            marks.push((recorded.begun, number, false));
            marks.extend(recorded.answer.as_ref().map(|(_, ended)| (*ended, number, true)));
        }
        marks.sort_unstable();
        let mut places = vec![(0, None); history.len()];
        for (at, (_, number, is_end)) in marks.iter().enumerate() {
            if *is_end { places[*number].1 = Some(at + 1) } else { places[*number].0 = at + 1 }
        }
        let len = marks.len();
        Self {
            marks: marks.into_iter().map(|(_, number, is_end)| (number, is_end)).collect(),
            next: (1..=len + 2).collect(),
            previous: (0..=len + 1).map(|at| at.saturating_sub(1)).collect(),
            places,
        }
    }

    fn first(&self) -> usize {
        self.next[0]
    }

    fn mark(&self, place: usize) -> Option<(usize, bool)> {
        self.marks.get(place - 1).copied()
    }

    fn lift(&mut self, number: usize) {
        let (begin, end) = self.places[number];
        for place in [Some(begin), end].into_iter().flatten() {
            let (previous, next) = (self.previous[place], self.next[place]);
            self.next[previous] = next;
            self.previous[next] = previous;
        }
    }

    /// The reverse of the lift before, which was of this call.
    fn put_back(&mut self, number: usize) {
        let (begin, end) = self.places[number];
        for place in [end, Some(begin)].into_iter().flatten() {
            let (previous, next) = (self.previous[place], self.next[place]);
            self.next[previous] = place;
            self.previous[next] = place;
        }
    }
}

/// Looks for an order of the calls that the object could have done, beginning as `object`.
///
/// # Errors
/// [`Inexplicable`] when there is none.
pub fn explain<S: Sequential>(object: S, history: &[Recorded<S::Call, S::Answer>]) -> Result<Vec<usize>, Inexplicable> {
    let mut line = Line::new(history);
    let mut answered = history.iter().filter(|recorded| recorded.answer.is_some()).count();
    let (mut state, mut done) = (object, vec![0u64; history.len().div_ceil(64)]);
    let mut tried: HashSet<(Vec<u64>, S)> = HashSet::new();
    let mut order: Vec<(usize, S)> = Vec::new();
    let mut best = Inexplicable { order: Vec::new(), stuck_at: 0 };
    let mut place = line.first();
    while answered > 0 {
        let Some((number, is_end)) = line.mark(place) else { unreachable!("an answered call has an end") };
        if !is_end {
            let recorded = &history[number];
            let after = state.after(&recorded.call, recorded.answer.as_ref().map(|(answer, _)| answer));
            if let Some(after) = after {
                done[number / 64] |= 1 << (number % 64);
                if tried.insert((done.clone(), after.clone())) {
                    order.push((number, std::mem::replace(&mut state, after)));
                    answered -= usize::from(recorded.answer.is_some());
                    line.lift(number);
                    place = line.first();
                    continue;
                }
                done[number / 64] &= !(1 << (number % 64));
            }
            place = line.next[place];
            continue;
        }
        // This answer was heard before anything that is left could have begun: one of the choices before was wrong.
        if order.len() >= best.order.len() {
            best = Inexplicable { order: order.iter().map(|(number, _)| *number).collect(), stuck_at: number };
        }
        let Some((last, before)) = order.pop() else { return Err(best) };
        state = before;
        done[last / 64] &= !(1 << (last % 64));
        answered += usize::from(history[last].answer.is_some());
        line.put_back(last);
        place = line.next[line.places[last].0];
    }
    Ok(order.into_iter().map(|(number, _)| number).collect())
}

/// Fails with the calls around the first that fits nowhere.
///
/// # Panics
/// When the history cannot be explained. `seed` repeats it.
pub fn assert_linearizable<S: Sequential>(object: S, history: &[Recorded<S::Call, S::Answer>], seed: u64)
where
    S::Call: Debug,
    S::Answer: Debug,
{
    let Err(Inexplicable { order, stuck_at }) = explain(object, history) else { return };
    let tail: Vec<_> = order.iter().rev().take(8).rev().map(|number| &history[*number]).collect();
    panic!("seed {seed}: {:?} fits nowhere after {tail:#?}", history[stuck_at]);
}

#[cfg(test)]
mod tests;
