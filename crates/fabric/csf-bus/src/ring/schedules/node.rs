//! A small node: a sensor's lane, a component that answers some of its packets on a lane of its own, and those who read both.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use csf_core::{Attributes, LaneId, MessageId, Stamp};
use csf_sim::SeededRng;
use shuttle::thread;

use super::machine::{Load, ScheduledBell, Slots, WORDS};
use crate::ring::{DropGlue, Policy, Reader, Ring, Start, Wants, Writer};

const CAPACITY: usize = 8;
const SENSOR: LaneId = LaneId { node: 1, incarnation: 1, lane: 0 };
/// Waits that end awake until a sleeper takes its mark back.
const AWAKE: u32 = 2;

/// What somebody does wrong.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// A reader gives its slot back before it has read.
    Hasty,
    /// A reader of an effect takes the usual look at the cause's lane, which may be at the count alone.
    OneLook,
    /// A sleeper that took its mark back sleeps without asking again.
    AsksOnce,
}

#[derive(Clone)]
pub(super) struct Node {
    pub(super) seed: u64,
    /// Of the sensor.
    pub(super) packets: u64,
    pub(super) fault: Option<Fault>,
}

/// A lane, and the values in it that live.
#[derive(Clone)]
struct Lane {
    ring: Arc<Ring<Slots>>,
    alive: Arc<AtomicI64>,
    /// The last packet is committed.
    is_over: Arc<AtomicBool>,
}

impl Lane {
    fn new(history: usize) -> Self {
        let ring = Ring::new(Slots::new(CAPACITY), DropGlue::of::<Load>(), history, Arc::default());
        Self { ring: Arc::new(ring), alive: Arc::default(), is_over: Arc::default() }
    }
}

fn targets(seq: u64) -> u64 {
    1 << (seq % 3)
}

/// Stages and commits as `Publisher` does, asleep while there is no room.
fn publish(writer: &mut Writer<Slots>, lane: &Lane, count: u64, causes: &[MessageId]) {
    while !writer.has_room(count) {
        lane.ring.fence_space();
        lane.ring.space().wait(|| writer.has_room(count));
    }
    for _ in 0..count {
        let seq = writer.next_seq();
        if writer.is_idle() {
            writer.skip();
            continue;
        }
        lane.alive.fetch_add(1, Ordering::Relaxed);
        let write = |payload: *mut u8| {
            let load = payload.cast::<Load>();
            // SAFETY: the slots are for such payloads. Others may run when half of it is written.
            unsafe {
                load.write(Load { words: [u64::MAX; WORDS], alive: lane.alive.clone() });
                thread::yield_now();
                (*load).words = [seq; WORDS];
            }
        };
        let attributes = Attributes::default().with_targets(targets(seq));
        if let [_, more @ ..] = causes
            && !more.is_empty()
        {
            lane.ring.add_causes(seq, more);
        }
        // SAFETY: there is room, and the payload fits the ring's drop glue.
        unsafe { writer.stage(write).fill(Stamp(seq), &attributes, causes) };
    }
    writer.commit();
}

struct Consumer {
    reader: Reader<Slots>,
    mask: u64,
    seen: Vec<u64>,
    fault: Option<Fault>,
}

impl Consumer {
    fn new(lane: &Lane, start: Start, policy: Policy, mask: u64, bell: &Arc<ScheduledBell>) -> Self {
        let reader = Reader::new(lane.ring.clone(), start, Wants::of(policy, mask), bell.clone());
        Self { reader, mask, seen: Vec::new(), fault: None }
    }

    /// Reads the held packet, as long as a handler would, and gives it back.
    fn read_held(&mut self) -> u64 {
        let seq = self.reader.seq();
        let (header, payload) = self.reader.packet();
        let header: *const _ = header;
        if self.fault == Some(Fault::Hasty) {
            self.reader.release();
        }
        for _ in 0..2 {
            // SAFETY: the packet is held, but for the fault, and then it still lies in memory that the lane owns.
            let (stamp, targeted, words) =
                unsafe { ((*header).stamp(), (*header).targets, (*payload.cast::<Load>()).words) };
            let expected = (Stamp(seq), targets(seq), [seq; WORDS]);
            assert_eq!((stamp, targeted, words), expected, "the slot of {seq} carries something else");
            thread::yield_now();
        }
        assert!(targets(seq) & self.mask != 0, "{seq} is somebody else's");
        assert!(self.seen.last().is_none_or(|last| *last < seq), "{seq} after {:?}", self.seen.last());
        self.reader.release();
        self.seen.push(seq);
        seq
    }

    fn read(&mut self) -> Option<u64> {
        self.reader.acquire().then(|| self.read_held())
    }

    /// Reads what comes until nothing does, and more of `lane` will not.
    fn read_to_the_end(&mut self, lane: &Lane) {
        loop {
            // Looked at first: what was published before is then seen.
            let is_over = lane.is_over.load(Ordering::Relaxed);
            if self.read().is_none() {
                if is_over {
                    return;
                }
                thread::yield_now();
            }
        }
    }
}

/// Reads lanes as a `Subscription` does, one bell for all; a single wait or two that end awake count as many.
struct Sleeper {
    lanes: Vec<Consumer>,
    bell: Arc<ScheduledBell>,
    fault: Option<Fault>,
    /// Looks before it sleeps.
    looks: u32,
    sleeps: bool,
    has_asked: bool,
    awake: u32,
}

impl Sleeper {
    fn new(lanes: &[&Lane], looks: u32, fault: Option<Fault>) -> Self {
        let bell = Arc::default();
        let lanes = lanes.iter().map(|lane| Consumer::new(lane, Start::Now, Policy::Block, u64::MAX, &bell)).collect();
        Self { lanes, bell, fault, looks, sleeps: false, has_asked: false, awake: 0 }
    }

    fn look(&mut self) -> Option<usize> {
        self.lanes.iter_mut().position(|lane| lane.reader.acquire())
    }

    /// Takes hold of a packet and says on which lane; asleep while there is none.
    fn next(&mut self) -> usize {
        let found = (0..self.looks).find_map(|look| {
            (0..look.min(1)).for_each(|_| thread::yield_now());
            self.look()
        });
        if let Some(lane) = found {
            self.awake += 1;
            if self.sleeps && self.awake >= AWAKE {
                self.sleeps = false;
                self.lanes.iter().for_each(|lane| lane.reader.unfence());
            }
            return lane;
        }
        self.awake = 0;
        if !self.sleeps {
            self.sleeps = true;
            if self.fault != Some(Fault::AsksOnce) || !self.has_asked {
                self.has_asked = true;
                self.lanes.iter().for_each(|lane| lane.reader.fence());
            }
        }
        loop {
            let (bell, mut found) = (self.bell.clone(), None);
            bell.wait(|| {
                found = self.look();
                found.is_some()
            });
            if let Some(lane) = found.or_else(|| self.look()) {
                return lane;
            }
        }
    }
}

impl Node {
    pub(super) fn run(&self) {
        let dice = SeededRng::new(self.seed);
        let history = 2 * (self.seed % 2) as usize;
        let (sensor, answers) = (Lane::new(history), Lane::new(history));

        let component = Sleeper::new(&[&sensor], 1 + dice.stream(4).below(40) as u32, None);
        let journal = Sleeper::new(&[&answers, &sensor], 1, self.fault);
        let lossy: Vec<_> = [Policy::DropOldest, Policy::DropNewest, Policy::Conflate]
            .into_iter()
            .flat_map(|policy| [(policy, &sensor), (policy, &answers)])
            .map(|(policy, lane)| {
                let mask = if policy == Policy::DropNewest { 0b011 } else { u64::MAX };
                let mut consumer = Consumer::new(lane, Start::Now, policy, mask, &Arc::default());
                // A parcel that was given back is freed; a slot stays, with something else in it.
                consumer.fault = self.fault.filter(|fault| *fault == Fault::Hasty && policy == Policy::DropOldest);
                (consumer, lane.clone())
            })
            .collect();

        let mut threads = vec![
            thread::spawn(measure(sensor.clone(), self.packets, dice.stream(1))),
            thread::spawn(answer(component, answers.clone(), self.packets, dice.stream(2))),
            thread::spawn({
                let packets = self.packets;
                move || write_down(journal, packets)
            }),
            thread::spawn(visit(sensor.clone(), dice.stream(3))),
        ];
        threads.extend(lossy.into_iter().map(|(mut consumer, lane)| {
            thread::spawn(move || {
                consumer.read_to_the_end(&lane);
                let reader = &consumer.reader;
                let accounted = consumer.seen.len() as u64 + reader.lost() + reader.rejected();
                assert_eq!(accounted, lane.ring.committed(), "the books of {:?}", consumer.seen);
            })
        }));
        for thread in threads {
            thread.join().unwrap();
        }
        for Lane { ring, alive, .. } in [sensor, answers] {
            assert!(Arc::try_unwrap(ring).is_ok(), "somebody has kept the lane");
            assert_eq!(alive.load(Ordering::Relaxed), 0, "values that were not dropped once");
        }
    }
}

/// The sensor, in batches of one to three.
fn measure(lane: Lane, packets: u64, mut dice: SeededRng) -> impl FnOnce() {
    move || {
        let mut writer = Writer::new(lane.ring.clone()).expect("its first producer");
        while writer.next_seq() < packets {
            let batch = (1 + dice.below(3)).min(packets - writer.next_seq());
            publish(&mut writer, &lane, batch, &[]);
        }
        lane.is_over.store(true, Ordering::Relaxed);
    }
}

/// The component answers every second packet or so, caused by it and sometimes by the one before it.
fn answer(mut component: Sleeper, lane: Lane, packets: u64, mut dice: SeededRng) -> impl FnOnce() {
    move || {
        let mut writer = Writer::new(lane.ring.clone()).expect("its first producer");
        for expected in 0..packets {
            component.next();
            let seq = component.lanes[0].read_held();
            assert_eq!(seq, expected, "a blocking reader misses nothing");
            // The last one always, so that everybody knows when it is over.
            if seq + 1 == packets || dice.below(2) == 0 {
                let causes = [SENSOR.message(seq), SENSOR.message(seq.saturating_sub(1))];
                let count = 1 + usize::from(seq > 0 && dice.below(2) == 0);
                publish(&mut writer, &lane, 1, &causes[..count]);
            }
        }
        lane.is_over.store(true, Ordering::Relaxed);
    }
}

/// The journal reads both lanes and hands no answer out before its causes: as the merge does, it holds the answer and follows its causes
/// through the sensor's lane.
fn write_down(mut journal: Sleeper, packets: u64) {
    let mut next = 0;
    loop {
        let lane = journal.next();
        let [answers, sensor] = &mut journal.lanes[..] else { unreachable!("it reads two lanes") };
        if lane == 1 {
            assert_eq!(sensor.read_held(), next, "a blocking reader misses nothing");
            next += 1;
            continue;
        }
        let first = answers.reader.header().cause().expect("an answer has a cause");
        let more = if answers.reader.header().has_more_causes() { answers.reader.more_causes() } else { None };
        for cause in more.iter().flat_map(|more| more.iter().copied()).chain([first]) {
            while next <= cause.seq {
                let is_there = match journal.fault {
                    Some(Fault::OneLook) => sensor.reader.acquire(),
                    _ => sensor.reader.acquire_seen(),
                };
                assert!(is_there, "an answer without its cause {cause}");
                assert_eq!(sensor.read_held(), next, "a blocking reader misses nothing");
                next += 1;
            }
        }
        assert!(more.is_none_or(|more| *more == [SENSOR.message(first.seq - 1)]), "the causes of {first}");
        answers.read_held();
        if first.seq + 1 == packets {
            return;
        }
    }
}

/// Readers that come, look at some packets and go.
fn visit(lane: Lane, mut dice: SeededRng) -> impl FnOnce() {
    move || {
        while !lane.is_over.load(Ordering::Relaxed) {
            let start = [Start::Now, Start::Last(1), Start::Earliest][dice.below(3) as usize];
            let policy = [Policy::Block, Policy::DropNewest, Policy::Conflate][dice.below(3) as usize];
            let mask = [u64::MAX, 0b100][dice.below(2) as usize];
            let mut visitor = Consumer::new(&lane, start, policy, mask, &Arc::default());
            for _ in 0..dice.below(8) {
                visitor.read();
                thread::yield_now();
            }
        }
    }
}
