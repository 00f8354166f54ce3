//! Who is next: by priority first, and among equals by shares. Pure.
//!
//! Within a priority each fairness key is a flow with a virtual time of its own: serving one of its items moves it on by the item's stride, the inverse
//! of its weight, and the flow that is furthest behind is served next. So flows that always wait are served in proportion to their weights, however many
//! items each has. A flow that comes, or comes back, begins where the service is: it saves nothing up while it waits for nothing.
//! Reference: Goyal, Vin, Cheng, "Start-time Fair Queueing" (1996), section 2, with items of length 1; the words are those of Temporal's task queue priority
//! and fairness (docs.temporal.io, "Task Queue Priority and Fairness").

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest fairness key, bytes.
pub const FAIRNESS_KEY_BYTES_MAX: usize = 64;
/// Smallest and largest weight of a fairness key.
pub const FAIRNESS_WEIGHT: std::ops::RangeInclusive<f64> = 0.001..=1000.0;
/// Most urgent and least urgent priority.
pub const PRIORITY: std::ops::RangeInclusive<u8> = 1..=5;
/// Stride of weight 1. Weight 1000 has a thousandth of it, which is still a whole number.
const STRIDE: f64 = 1_000_000.0;

/// How urgent work is, and whose share of the service it takes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Priority {
    /// 1 to 5; the lower goes first.
    pub priority: u8,
    /// Work of one key shares with that of others by weight, such as a tenant's name; at most [`FAIRNESS_KEY_BYTES_MAX`] bytes.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fairness_key: String,
    /// The key's share beside others of its priority: 0.001 to 1000.
    #[serde(skip_serializing_if = "is_one")]
    pub fairness_weight: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde asks for")]
pub(crate) fn is_one(weight: &f64) -> bool {
    *weight == 1.0
}

impl Default for Priority {
    fn default() -> Self {
        Self { priority: 3, fairness_key: String::new(), fairness_weight: 1.0 }
    }
}

impl Priority {
    /// Checks the limits.
    ///
    /// # Errors
    /// The value that is outside, and what it may be.
    pub fn check(&self) -> Result<(), String> {
        let Self { priority, fairness_key, fairness_weight } = self;
        let (first, last) = PRIORITY.into_inner();
        if !PRIORITY.contains(priority) {
            return Err(format!("`priority` = {priority} is outside {first}..={last}; {first} goes first"));
        }
        if fairness_key.len() > FAIRNESS_KEY_BYTES_MAX || fairness_key.chars().any(char::is_control) {
            let key: String = fairness_key.chars().take(FAIRNESS_KEY_BYTES_MAX).collect();
            return Err(format!(
                "`fairness_key` has at most {FAIRNESS_KEY_BYTES_MAX} bytes without control characters, not `{key}`"
            ));
        }
        if !FAIRNESS_WEIGHT.contains(fairness_weight) {
            let (least, most) = FAIRNESS_WEIGHT.into_inner();
            return Err(format!("`fairness_weight` = {fairness_weight} is outside {least}..={most}"));
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1e3 and 1e9 by the limits")]
    fn stride(&self) -> u64 {
        let weight = if self.fairness_weight.is_finite() { self.fairness_weight } else { 1.0 };
        (STRIDE / weight.clamp(*FAIRNESS_WEIGHT.start(), *FAIRNESS_WEIGHT.end())) as u64
    }
}

/// A queue in the order of [`Priority`]. Items of one key and priority are served in the order of their numbers when they come in that order.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    levels: BTreeMap<u8, Level<T>>,
    len: usize,
}

#[derive(Debug)]
struct Level<T> {
    flows: HashMap<Arc<str>, Flow<T>>,
    /// Flows that have items: virtual time, number of the first item, key.
    ready: BTreeSet<(u64, u64, Arc<str>)>,
    /// Flows that have none and are ahead of the service.
    ahead: BTreeSet<(u64, Arc<str>)>,
    /// Virtual time of the item that was served last.
    now: u64,
}

#[derive(Debug)]
struct Flow<T> {
    at: u64,
    /// Number, stride and item.
    items: VecDeque<(u64, u64, T)>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { levels: BTreeMap::new(), len: 0 }
    }
}

impl<T> Default for Level<T> {
    fn default() -> Self {
        Self { flows: HashMap::new(), ready: BTreeSet::new(), ahead: BTreeSet::new(), now: 0 }
    }
}

impl<T> FairQueue<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an item under a number that orders it among others.
    pub(crate) fn push(&mut self, number: u64, priority: &Priority, item: T) {
        self.levels.entry(priority.priority).or_default().push(number, priority, item);
        self.len += 1;
    }

    /// Priority and number of the item that is next.
    pub(crate) fn first(&self) -> Option<(u8, u64)> {
        let (priority, level) = self.levels.first_key_value()?;
        level.ready.first().map(|(_, number, _)| (*priority, *number))
    }

    /// Takes the next item out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let mut level = self.levels.first_entry()?;
        let item = level.get_mut().pop();
        if level.get().ready.is_empty() {
            // Nobody waits, so nobody has to wait for whoever is ahead.
            level.remove();
        }
        self.len -= usize::from(item.is_some());
        item
    }
}

impl<T> Level<T> {
    fn push(&mut self, number: u64, priority: &Priority, item: T) {
        let key = match self.flows.get_key_value(&*priority.fairness_key) {
            Some((key, _)) => key.clone(),
            None => {
                let key: Arc<str> = priority.fairness_key.as_str().into();
                self.flows.insert(key.clone(), Flow { at: self.now, items: VecDeque::new() });
                key
            }
        };
        let Some(flow) = self.flows.get_mut(&key) else { return };
        if flow.items.is_empty() {
            self.ahead.remove(&(flow.at, key.clone()));
            flow.at = flow.at.max(self.now);
            self.ready.insert((flow.at, number, key));
        }
        flow.items.push_back((number, priority.stride(), item));
    }

    fn pop(&mut self) -> Option<T> {
        let (at, _, key) = self.ready.pop_first()?;
        self.now = at;
        let flow = self.flows.get_mut(&key)?;
        let (_, stride, item) = flow.items.pop_front()?;
        flow.at = at.saturating_add(stride);
        match flow.items.front() {
            Some((number, ..)) => _ = self.ready.insert((flow.at, *number, key)),
            None => _ = self.ahead.insert((flow.at, key)),
        }
        // Those the service has caught up with begin where it is anyway.
        while let Some((_, key)) = self.ahead.first().filter(|(at, _)| *at <= self.now) {
            self.flows.remove(key);
            self.ahead.pop_first();
        }
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use csf_sim::SeededRng;

    use super::*;

    fn of(priority: u8, key: &str, weight: f64) -> Priority {
        Priority { priority, fairness_key: key.into(), fairness_weight: weight }
    }

    fn drain<T>(queue: &mut FairQueue<T>, most: usize) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).take(most).collect()
    }

    #[test]
    fn the_urgent_goes_first_and_one_key_is_first_in_first_out() {
        let mut queue = FairQueue::default();
        for (number, (priority, item)) in [(3, "c"), (5, "e"), (1, "a"), (3, "d"), (1, "b")].into_iter().enumerate() {
            queue.push(number as u64, &of(priority, "", 1.0), item);
        }
        assert_eq!(queue.first(), Some((1, 2)));
        assert_eq!(drain(&mut queue, 9), ["a", "b", "c", "d", "e"]);
        assert!(queue.is_empty() && queue.levels.is_empty());
    }

    /// Theorem of the paper for items of length 1: over any span in which two flows wait, their service divided by weight differs by at most
    /// the sum of one item of each, divided by weight.
    #[test]
    fn flows_that_wait_are_served_by_weight_whatever_they_bring() {
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let weights: Vec<f64> =
                (0..2 + rng.below(4)).map(|_| 2f64.powi(i32::try_from(rng.below(6)).unwrap() - 2)).collect();
            let mut queue = FairQueue::default();
            let mut number = 0;
            let mut add = |queue: &mut FairQueue<usize>, flow: usize, items: u64| {
                for _ in 0..items {
                    number += 1;
                    queue.push(number, &of(3, &format!("key-{flow}"), weights[flow]), flow);
                }
            };
            (0..weights.len()).for_each(|flow| add(&mut queue, flow, 3000));
            let mut served = vec![0u32; weights.len()];
            for _ in 0..2000 {
                served[queue.pop().unwrap()] += 1;
                // Bringing more does not bring more service.
                if rng.below(4) == 0 {
                    add(&mut queue, 0, 5);
                }
                for (one, weight) in weights.iter().enumerate() {
                    for (other, beside) in weights.iter().enumerate() {
                        let gap = f64::from(served[one]) / weight - f64::from(served[other]) / beside;
                        let bound = 1.0 / weight + 1.0 / beside;
                        assert!(gap.abs() <= bound + 1e-3, "seed {seed}: {served:?} by {weights:?}");
                    }
                }
            }
        }
    }

    /// One item at a time, each added as soon as the last was served: without a memory of its service the key would always be the next.
    #[test]
    fn who_comes_back_at_once_does_not_overtake_who_waits() {
        let mut queue = FairQueue::default();
        (0..100).for_each(|number| queue.push(number, &of(3, "many", 1.0), "many"));
        queue.push(100, &of(3, "one", 1.0), "one");
        let mut served = Vec::new();
        for number in 101..121 {
            let item = queue.pop().unwrap();
            served.push(item);
            if item == "one" {
                queue.push(number, &of(3, "one", 1.0), "one");
            }
        }
        assert_eq!(served.iter().filter(|item| **item == "one").count(), 10, "{served:?}");
    }

    #[test]
    fn keys_that_are_gone_take_no_room() {
        let mut queue = FairQueue::default();
        queue.push(0, &of(3, "stays", 1.0), 0);
        for number in 1..10_000 {
            queue.push(number, &of(3, &format!("tenant-{number}"), 1.0), number);
            queue.push(number, &of(3, "stays", 1.0), number);
            queue.pop();
            queue.pop();
        }
        assert!(queue.levels[&3].flows.len() < 10, "{}", queue.levels[&3].flows.len());
    }

    #[test]
    fn what_is_outside_the_limits_is_named() {
        let bad = |priority: Priority| priority.check().unwrap_err();
        assert!(bad(of(0, "", 1.0)).contains("`priority` = 0 is outside 1..=5"));
        assert!(bad(of(6, "", 1.0)).contains("1..=5"));
        assert!(bad(of(3, &"x".repeat(65), 1.0)).contains("64 bytes"));
        for weight in [0.0, -1.0, 1000.1, f64::NAN, f64::INFINITY] {
            assert!(bad(of(3, "", weight)).contains("0.001..=1000"), "{weight}");
        }
        assert_eq!(Priority::default().check(), Ok(()));
    }
}
