//! The ring against a list of what was published: random operations on one thread, every policy, mask and start.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use csf_core::{Attributes, Stamp};
use proptest::prelude::*;

use super::{HeapMemory, Policy, Reader, Ring, Start, Wants, Writer};

const ALL: u64 = u64::MAX;

#[derive(Clone, Debug)]
enum Step {
    /// Asks for room for all, stages as far as there is, and commits.
    Publish {
        targets: Vec<u64>,
        elapsed: u64,
    },
    Stage {
        targets: u64,
    },
    Commit,
    Rollback,
    /// Asks for room and does nothing with it.
    Ask {
        count: u64,
    },
    NextProducer,
    Attach {
        start: Start,
        policy: Policy,
        mask: u64,
    },
    Detach {
        reader: usize,
    },
    Acquire {
        reader: usize,
    },
    Release {
        reader: usize,
    },
    /// Reads what is known to be there with one acknowledgement.
    Drain {
        reader: usize,
        max: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let targets = prop::sample::select(vec![1, 2, 3, ALL]);
    let start = prop_oneof![Just(Start::Now), (0..5u64).prop_map(Start::Last), Just(Start::Earliest)];
    let policy = prop::sample::select(vec![
        Policy::Block,
        Policy::DropOldest,
        Policy::DropNewest,
        Policy::Conflate,
        Policy::Sample { interval_ns: 3 },
    ]);
    let mask = prop::sample::select(vec![ALL, ALL, 1, 2]);
    let reader = 0..4usize;
    let step = prop_oneof![
        6 => (prop::collection::vec(targets.clone(), 1..5), 0..5u64)
            .prop_map(|(targets, elapsed)| Step::Publish { targets, elapsed }),
        2 => targets.prop_map(|targets| Step::Stage { targets }),
        1 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        1 => (1..9u64).prop_map(|count| Step::Ask { count }),
        1 => Just(Step::NextProducer),
        2 => (start, policy, mask).prop_map(|(start, policy, mask)| Step::Attach { start, policy, mask }),
        1 => reader.clone().prop_map(|reader| Step::Detach { reader }),
        5 => reader.clone().prop_map(|reader| Step::Acquire { reader }),
        4 => reader.clone().prop_map(|reader| Step::Release { reader }),
        3 => (reader, 1..6usize).prop_map(|(reader, max)| Step::Drain { reader, max }),
    ];
    prop::collection::vec(step, 1..80)
}

/// A payload: its packet's number, and how often it was dropped.
struct Token {
    seq: u64,
    drops: Rc<Cell<u32>>,
}

impl Drop for Token {
    fn drop(&mut self) {
        self.drops.set(self.drops.get() + 1);
    }
}

#[derive(Clone, Copy)]
struct Packet {
    targets: u64,
    stamp: u64,
}

/// A reader, and what is known about it.
struct Known {
    reader: Reader<HeapMemory>,
    policy: Policy,
    mask: u64,
    start: u64,
    held: Option<u64>,
    seen: Vec<u64>,
    /// For each packet from `start` on, how many were seen when it was committed.
    seen_before: Vec<usize>,
}

impl Known {
    /// Packets whose fate is known.
    fn accounted(&self) -> u64 {
        self.seen.len() as u64 + self.reader.lost() + self.reader.rejected()
    }

    /// What comes after everything it has seen.
    fn next(&self) -> u64 {
        self.seen.last().map_or(self.start, |last| last + 1)
    }

    /// What lies between everything it has seen and `seq` was lost for want of room: when the first of it was committed, or later, as
    /// many packets as the lane has slots were waiting.
    fn keeps_the_oldest(&self, packets: &[Packet], seq: u64, capacity: u64) {
        let is_own = |seq: &u64| packets[*seq as usize].targets & self.mask != 0;
        if let Some(lost) = (self.next()..seq).find(is_own) {
            let before = self.seen_before[(lost - self.start) as usize];
            assert!(self.seen.len() >= before + capacity as usize, "{lost} was lost with room for it");
        }
        let lost = (self.start..seq).filter(|seq| is_own(seq) && !self.seen.contains(seq)).count();
        assert_eq!(self.reader.lost(), lost as u64, "its own that it did not see, and no others");
    }

    /// Everything from here on must be kept for it.
    fn needs(&self, packets: &[Packet]) -> u64 {
        let committed = packets.len() as u64;
        let first = |from: u64| (from..committed).find(|seq| packets[*seq as usize].targets & self.mask != 0);
        match (self.held, self.policy) {
            (Some(held), _) if self.reader.holds_slot() => held,
            (_, Policy::Block) if self.mask == ALL => self.next(),
            (_, Policy::Block) => first(self.next()).unwrap_or(committed),
            _ => committed,
        }
    }
}

struct Bench {
    ring: Arc<Ring<HeapMemory>>,
    writer: Option<Writer<HeapMemory>>,
    history: u64,
    /// What was committed, from the first packet on.
    packets: Vec<Packet>,
    staged: Vec<Packet>,
    now: u64,
    readers: Vec<Known>,
    drops: Vec<Rc<Cell<u32>>>,
}

impl Bench {
    fn new(capacity: usize, history: usize) -> Self {
        let ring = Arc::new(Ring::on_heap::<Token>(capacity, history).expect("a small lane"));
        Self {
            writer: Writer::new(ring.clone()),
            history: (history as u64).min(ring.capacity() / 2),
            ring,
            packets: Vec::new(),
            staged: Vec::new(),
            now: 0,
            readers: Vec::new(),
            drops: Vec::new(),
        }
    }

    fn writer(&mut self) -> &mut Writer<HeapMemory> {
        self.writer.as_mut().expect("between two steps there is a producer")
    }

    /// Asks for room: refused exactly when somebody needs what would be overwritten.
    fn has_room(&mut self, count: u64) -> bool {
        let committed = self.packets.len() as u64;
        let kept = self.readers.iter().map(|r| r.needs(&self.packets)).min().unwrap_or(committed);
        let end = committed + self.staged.len() as u64 + count;
        let fits = end <= kept.min(committed.saturating_sub(self.history)) + self.ring.capacity();
        let has_room = self.writer().has_room(count);
        assert!(has_room == fits || self.writer().is_idle(), "room for {count}: {has_room}, by the list {fits}");
        has_room
    }

    fn stage(&mut self, targets: u64) {
        let packet = Packet { targets, stamp: self.now };
        let seq = (self.packets.len() + self.staged.len()) as u64;
        assert_eq!(self.writer().next_seq(), seq);
        self.staged.push(packet);
        if self.writer().is_idle() {
            self.writer().skip();
            return;
        }
        let drops = Rc::default();
        self.drops.push(Rc::clone(&drops));
        let attributes = Attributes::default().with_targets(targets);
        // SAFETY: callers have asked for room, and the lane carries tokens.
        unsafe {
            self.writer().stage(|payload| payload.cast::<Token>().write(Token { seq, drops })).fill(
                Stamp(packet.stamp),
                &attributes,
                &[],
            );
        }
    }

    fn commit(&mut self) {
        self.writer().commit();
        for known in &mut self.readers {
            known.seen_before.extend(self.staged.iter().map(|_| known.seen.len()));
        }
        self.packets.append(&mut self.staged);
        assert_eq!(self.ring.committed(), self.packets.len() as u64);
    }

    fn rollback(&mut self) {
        self.writer().rollback();
        self.staged.clear();
    }

    fn attach(&mut self, start: Start, policy: Policy, mask: u64) {
        // Where a reader starts that comes between idle packets has a test of its own.
        if self.readers.len() == 4 || (!self.staged.is_empty() && self.writer().is_idle()) {
            return;
        }
        let committed = self.packets.len() as u64;
        let is_idle = self.writer().is_idle();
        let reader = Reader::new(self.ring.clone(), start, Wants::of(policy, mask), Arc::default());
        let begin = reader.seq();
        let kept = self.history.min(committed);
        let is_right = match start {
            Start::Now => begin == committed,
            Start::Last(count) => (committed.saturating_sub(count)..=committed - count.min(kept)).contains(&begin),
            Start::Earliest => begin <= committed - kept,
        };
        assert!(is_right || is_idle, "{start:?} at {begin} of {committed}");
        let seen_before = vec![0; (committed - begin) as usize];
        self.readers.push(Known { reader, policy, mask, start: begin, held: None, seen: Vec::new(), seen_before });
    }

    /// Looks at the held packet; it is the one that the list has there.
    fn check(packets: &[Packet], known: &Known) {
        let seq = known.reader.seq();
        let packet = packets[usize::try_from(seq).expect("small")];
        let header = known.reader.header();
        assert_eq!((header.stamp().0, header.targets), (packet.stamp, packet.targets));
        // SAFETY: a packet is held, and the lane carries tokens.
        let token = unsafe { &*known.reader.payload().cast::<Token>() };
        assert_eq!((token.seq, token.drops.get()), (seq, 0));
    }

    /// The reader has just taken hold of a packet.
    fn took(packets: &[Packet], known: &mut Known, capacity: u64) {
        Self::check(packets, known);
        let (seq, next) = (known.reader.seq(), known.next());
        let is_own = |packet: &Packet| packet.targets & known.mask != 0;
        assert!(is_own(&packets[seq as usize]), "{seq} is addressed to others");
        match known.policy {
            Policy::Block if known.mask == ALL => assert_eq!(seq, next, "a blocking reader misses nothing"),
            Policy::Block => {
                let skipped = &packets[next as usize..seq as usize];
                assert!(!skipped.iter().any(is_own), "{seq} after {next} skips its own");
            }
            Policy::DropOldest => assert!(seq >= next),
            Policy::DropNewest => known.keeps_the_oldest(packets, seq, capacity),
            Policy::Conflate => assert_eq!(Some(seq as usize), packets.iter().rposition(is_own)),
            Policy::Sample { interval_ns } => {
                let stamp = |seq: u64| packets[seq as usize].stamp;
                assert!(known.seen.last().is_none_or(|last| stamp(*last) + interval_ns <= stamp(seq)));
            }
        }
        known.held = Some(seq);
    }

    fn acquire(&mut self, index: usize) {
        let capacity = self.ring.capacity();
        let Some(known) = self.readers.get_mut(index) else { return };
        let is_held = known.held.is_some();
        if known.reader.acquire() {
            if is_held {
                Self::check(&self.packets, known);
                assert_eq!(known.held, Some(known.reader.seq()));
            } else {
                Self::took(&self.packets, known, capacity);
            }
            return;
        }
        assert!(!is_held);
        assert_eq!(known.reader.lag(), 0);
        let committed = self.packets.len() as u64;
        match known.policy {
            Policy::Block => {
                let rest = &self.packets[known.next().min(committed) as usize..];
                assert!(rest.iter().all(|p| p.targets & known.mask == 0), "{} packets are not found", rest.len());
            }
            Policy::DropNewest => {
                known.keeps_the_oldest(&self.packets, committed, capacity);
                assert_eq!(known.accounted(), committed - known.start);
            }
            // Thinned out, or given up for a producer that asked for room; and counted.
            _ => assert_eq!(known.accounted(), committed - known.start),
        }
    }

    fn release(&mut self, index: usize) {
        let Some(known) = self.readers.get_mut(index) else { return };
        known.seen.extend(known.held.take());
        known.reader.release();
    }

    fn drain(&mut self, index: usize, max: usize) {
        self.acquire(index);
        let capacity = self.ring.capacity();
        let Some(known) = self.readers.get_mut(index) else { return };
        if known.held.is_none() || known.reader.is_movable() {
            return self.release(index);
        }
        for _ in 0..max {
            known.seen.extend(known.held.take());
            known.reader.pass();
            if !known.reader.acquire_known() {
                break;
            }
            Self::took(&self.packets, known, capacity);
        }
        known.reader.acknowledge();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { targets, elapsed } => {
                self.now += elapsed;
                self.has_room(targets.len() as u64);
                for targets in targets {
                    if !self.has_room(1) {
                        break;
                    }
                    self.stage(targets);
                }
                self.commit();
            }
            Step::Stage { targets } => {
                if self.has_room(1) {
                    self.stage(targets);
                }
            }
            Step::Commit => self.commit(),
            Step::Rollback => self.rollback(),
            Step::Ask { count } => {
                self.has_room(count);
            }
            Step::NextProducer => {
                self.staged.clear();
                self.writer = None;
                self.writer = Writer::new(self.ring.clone());
            }
            Step::Attach { start, policy, mask } => self.attach(start, policy, mask),
            Step::Detach { reader } => {
                if reader < self.readers.len() {
                    self.readers.swap_remove(reader);
                }
            }
            Step::Acquire { reader } => self.acquire(reader),
            Step::Release { reader } => self.release(reader),
            Step::Drain { reader, max } => self.drain(reader, max),
        }
        for known in self.readers.iter().filter(|known| known.held.is_some()) {
            Self::check(&self.packets, known);
        }
        assert!(self.drops.iter().all(|drops| drops.get() <= 1), "dropped twice");
    }

    /// Everybody reads to the end; nothing is missing in the books.
    fn close(mut self) {
        self.rollback();
        for index in 0..self.readers.len() {
            loop {
                self.release(index);
                self.acquire(index);
                if self.readers[index].held.is_none() {
                    break;
                }
            }
            let known = &self.readers[index];
            let (accounted, due) = (known.accounted(), self.packets.len() as u64 - known.start);
            assert_eq!(accounted, due, "{:?}: seen, lost and rejected ones are all", known.policy);
            assert!(known.policy != Policy::Block || known.reader.lost() == 0);
        }
        let drops = std::mem::take(&mut self.drops);
        drop(self);
        assert!(drops.iter().all(|drops| drops.get() == 1), "every payload is dropped once");
    }
}

proptest! {
    #[test]
    fn the_ring_keeps_its_books(capacity in 1..9usize, history in 0..4usize, steps in steps()) {
        let mut bench = Bench::new(capacity, history);
        for step in steps {
            bench.step(step);
        }
        bench.close();
    }
}
