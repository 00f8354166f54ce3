//! What a desk remembers: tasks that wait, agents that wait, and leases by the time at which they end. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use csf_core::port::Json;
use tokio::sync::oneshot;

use crate::fair::{FairQueue, Priority};

#[derive(Default)]
pub(super) struct Book {
    /// Tasks that wait, by kind, under numbers that order all of them.
    queues: BTreeMap<String, FairQueue<String>>,
    waiting: HashSet<String>,
    numbered: u64,
    agents: Agents,
    leases: HashMap<String, Held>,
    /// The leases by their ends.
    ends: BTreeSet<(Duration, String)>,
}

/// Agents that wait for tasks, by the order in which they came.
#[derive(Default)]
struct Agents {
    waiting: BTreeMap<u64, Agent>,
    by_kind: BTreeMap<String, BTreeSet<u64>>,
    numbered: u64,
}

struct Agent {
    kinds: Vec<String>,
    wake: oneshot::Sender<()>,
}

/// A task that an agent has.
pub(super) struct Held {
    pub(super) agent: String,
    pub(super) token: String,
    pub(super) lease: Duration,
    /// When the lease ends, on the timer.
    pub(super) until: Duration,
    pub(super) progress: Option<Json>,
}

impl Book {
    /// A task waits from now on; the agent that has waited longest for its kind is told.
    pub(super) fn enqueue(&mut self, id: &str, kind: &str, priority: &Priority) {
        if self.waiting.insert(id.to_owned()) {
            self.numbered += 1;
            self.queues.entry(kind.to_owned()).or_default().push(self.numbered, priority, id.to_owned());
            self.agents.wake(kind);
        }
    }

    /// Takes out what is next for an agent of these kinds: by priority, then by the order of fairness within a kind and by age between kinds.
    pub(super) fn dequeue(&mut self, kinds: &[String], most: usize) -> Vec<String> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let first = kinds.iter().filter_map(|kind| Some((self.queues.get(kind)?.first()?, kind))).min();
            let Some((_, kind)) = first else { break };
            let Some(queue) = self.queues.get_mut(kind) else { break };
            let Some(id) = queue.pop() else { break };
            if queue.is_empty() {
                self.queues.remove(kind);
            }
            self.waiting.remove(&id);
            taken.push(id);
        }
        taken
    }

    /// An agent waits from now on: under this number, until it is told.
    pub(super) fn wait(&mut self, kinds: &[String]) -> (u64, oneshot::Receiver<()>) {
        self.agents.wait(kinds)
    }

    /// An agent does not wait any more. When it had been told of a task and has not looked, another one is told.
    pub(super) fn leave(&mut self, agent: u64, kinds: &[String], has_looked: bool) {
        if self.agents.leave(agent).is_none() && !has_looked {
            kinds.iter().filter(|kind| self.queues.contains_key(*kind)).for_each(|kind| self.agents.wake(kind));
        }
    }

    /// Tells every agent that waits.
    pub(super) fn wake_all(&mut self) {
        self.agents = Agents { numbered: self.agents.numbered, ..Agents::default() };
    }

    pub(super) fn lease(&self, id: &str) -> Option<&Held> {
        self.leases.get(id)
    }

    pub(super) fn leases(&self) -> usize {
        self.leases.len()
    }

    /// A task is held from now on; whether its lease is the next one to end.
    pub(super) fn hold(&mut self, id: &str, held: Held) -> bool {
        self.drop_lease(id);
        let end = (held.until, id.to_owned());
        let is_next = self.ends.first().is_none_or(|first| end < *first);
        self.ends.insert(end);
        self.leases.insert(id.to_owned(), held);
        is_next
    }

    /// The lease of this token ends at another time; nothing when it is over.
    pub(super) fn prolong(&mut self, id: &str, token: &str, until: Duration) -> Option<&mut Held> {
        let held = self.leases.get_mut(id).filter(|held| held.token == token)?;
        self.ends.remove(&(held.until, id.to_owned()));
        held.until = until;
        self.ends.insert((until, id.to_owned()));
        Some(held)
    }

    pub(super) fn drop_lease(&mut self, id: &str) {
        if let Some(held) = self.leases.remove(id) {
            self.ends.remove(&(held.until, id.to_owned()));
        }
    }

    /// Ids, tokens and agents of leases that have ended by now, and when the next one does.
    pub(super) fn over(&self, now: Duration) -> (Vec<(String, String, String)>, Option<Duration>) {
        let ended = self.ends.iter().take_while(|(until, _)| *until <= now);
        let held = |(_, id): &(Duration, String)| {
            let held = self.leases.get(id)?;
            Some((id.clone(), held.token.clone(), held.agent.clone()))
        };
        let over: Vec<_> = ended.filter_map(held).collect();
        (over, self.ends.iter().map(|(until, _)| *until).find(|until| *until > now))
    }
}

impl Agents {
    fn wait(&mut self, kinds: &[String]) -> (u64, oneshot::Receiver<()>) {
        let (wake, woken) = oneshot::channel();
        self.numbered += 1;
        for kind in kinds {
            self.by_kind.entry(kind.clone()).or_default().insert(self.numbered);
        }
        self.waiting.insert(self.numbered, Agent { kinds: kinds.to_vec(), wake });
        (self.numbered, woken)
    }

    fn leave(&mut self, number: u64) -> Option<Agent> {
        let agent = self.waiting.remove(&number)?;
        for kind in &agent.kinds {
            if let Some(numbers) = self.by_kind.get_mut(kind) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    self.by_kind.remove(kind);
                }
            }
        }
        Some(agent)
    }

    /// Tells the agent that has waited longest for this kind.
    fn wake(&mut self, kind: &str) {
        while let Some(first) = self.by_kind.get(kind).and_then(BTreeSet::first).copied() {
            // One that has gone away is passed over.
            if self.leave(first).is_some_and(|agent| agent.wake.send(()).is_ok()) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn a_task_wakes_one_agent_and_one_that_goes_away_passes_it_on() {
        let mut book = Book::default();
        let (draw, print) = (kinds(&["draw"]), kinds(&["print", "draw"]));
        let (first, mut first_woken) = book.wait(&draw);
        let (_second, mut second_woken) = book.wait(&print);
        let (_third, mut third_woken) = book.wait(&draw);
        book.enqueue("a", "draw", &Priority::default());
        assert!(first_woken.try_recv().is_ok(), "who has waited longest");
        assert!(second_woken.try_recv().is_err() && third_woken.try_recv().is_err(), "and nobody else");
        book.enqueue("a", "draw", &Priority::default());
        assert!(second_woken.try_recv().is_err(), "it waits already");
        book.leave(first, &draw, false);
        assert!(second_woken.try_recv().is_ok() && third_woken.try_recv().is_err(), "it went away before it looked");
        assert_eq!(book.dequeue(&print, 2), ["a"]);
        drop(third_woken);
        book.enqueue("b", "draw", &Priority::default());
        assert_eq!(book.dequeue(&draw, 2), ["b"], "with nobody to be woken it stays");
    }

    #[test]
    fn leases_end_by_time_and_not_before_their_last_prolongation() {
        let mut book = Book::default();
        let at = Duration::from_secs;
        let held =
            |until| Held { agent: "x".into(), token: "t".into(), lease: at(9), until: at(until), progress: None };
        assert!(book.hold("a", held(5)) && !book.hold("b", held(7)) && book.hold("c", held(3)));
        assert!(book.prolong("c", "t", at(8)).is_some() && book.prolong("c", "other", at(9)).is_none());
        let over = |book: &Book, now| book.over(at(now)).0.into_iter().map(|(id, ..)| id).collect::<Vec<_>>();
        assert_eq!((over(&book, 7), book.over(at(7)).1), (kinds(&["a", "b"]), Some(at(8))));
        book.hold("a", held(20));
        book.drop_lease("b");
        assert_eq!((over(&book, 8), book.over(at(8)).1, book.leases()), (kinds(&["c"]), Some(at(20)), 2));
    }
}
