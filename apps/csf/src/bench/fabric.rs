//! The bench `fabric`: every headline goal of FAB-001 and the five rows of FAB-100.

use super::channel::{self, Batches, CAPACITY, LANE, LANE_BATCH, PACKET, STD, TOKIO, lane, tokio};
use super::clock::{INSTANT, OURS, UNCERTAINTY};
use super::experiment::{Experiment, Load};
use super::floor::{CLOCK, LINE, clock_reading, counter_reading, instant_reading, one_way, ordered_reading};
use super::latency::{Placing, one_task, two_threads, whole_packets};
use super::routing::{BEST, LOOP, MASKS};
use super::row::{Bound, Goal, Spec, Unit};
use super::stopwatch::Stopwatch;
use super::{clock, cpu, memory, routing, throughput};

/// All of them, in the order of the report.
pub(crate) fn experiments() -> Vec<Experiment> {
    vec![
        in_one_task(),
        between_threads(Placing::Pinned),
        between_threads(Placing::Free),
        throughput(),
        memory(),
        at_peak(),
        clock_error(),
        clock_cost(),
        matching(),
        not_yet(),
    ]
}

const PEERS: [&str; 2] = [STD, TOKIO];
const WHOLE_MICROSECOND: Goal = Goal::Value(Bound::Below(1_000.0));
const LINE_WHAT: &str = "a cache line's way between two cores, half a round trip";

fn new_lane(
    capacity: usize,
) -> Result<(csf_bus::Publisher<channel::Probe>, csf_bus::Subscriber<channel::Probe>), String> {
    lane(&Stopwatch::get()?, capacity)
}

fn in_one_task() -> Experiment {
    let loads = vec![
        Load::new(LANE, |effort| one_task(new_lane(CAPACITY)?, effort)),
        Load::new(PACKET, whole_packets),
        Load::new(STD, |effort| one_task(std::sync::mpsc::sync_channel(CAPACITY), effort)),
        Load::new(TOKIO, |effort| one_task(tokio(CAPACITY), effort)),
        Load::new(CLOCK, clock_reading),
    ];
    let spec = |id, what, side| {
        let note = "each sample holds one reading of the clock, on every side";
        let spec = Spec::new(id, what, Unit::Ns, side).peers(&PEERS).goal(WHOLE_MICROSECOND).note(note);
        spec.floor(CLOCK, "one reading of the clock, for the stamp")
    };
    let specs = vec![
        spec("latency.task", "publish to receive, 64 B, one task", LANE),
        spec("latency.packet", "the same with a whole packet (subscribe, publish, receive)", PACKET),
    ];
    Experiment::new("latency in one task", loads, specs)
}

fn between_threads(placing: Placing) -> Experiment {
    let loads = vec![
        Load::new(LANE, move |effort| two_threads(new_lane(CAPACITY)?, placing, effort)),
        Load::new(STD, move |effort| two_threads(std::sync::mpsc::sync_channel(CAPACITY), placing, effort)),
        Load::new(TOKIO, move |effort| two_threads(tokio(CAPACITY), placing, effort)),
        Load::new(LINE, one_way),
    ];
    let (name, id, what) = match placing {
        Placing::Pinned => (
            "latency between pinned threads",
            "latency.pinned",
            "publish to receive, 64 B, to a waiting thread, pinned",
        ),
        Placing::Free => {
            ("latency between free threads", "latency.free", "publish to receive, 64 B, to a waiting thread, unpinned")
        }
    };
    let spec = Spec::new(id, what, Unit::Ns, LANE).peers(&PEERS).goal(WHOLE_MICROSECOND).floor(LINE, LINE_WHAT);
    Experiment::new(name, loads, vec![spec])
}

fn throughput() -> Experiment {
    const BLOCKS: &str = "blocks";
    let loads = vec![
        Load::new(LANE, |effort| throughput::full_speed(new_lane(CAPACITY)?, effort)),
        Load::new(LANE_BATCH, |effort| {
            let (publisher, subscriber) = new_lane(CAPACITY)?;
            throughput::full_speed((Batches(publisher), subscriber), effort)
        }),
        Load::new(STD, |effort| throughput::full_speed(std::sync::mpsc::sync_channel(CAPACITY), effort)),
        Load::new(TOKIO, |effort| throughput::full_speed(tokio(CAPACITY), effort)),
        Load::new(BLOCKS, throughput::blocks),
    ];
    let spec = |id, what, side| {
        let spec = Spec::new(id, what, Unit::MessagesPerUs, side).peers(&PEERS).goal(Goal::Value(Bound::Above(1.0)));
        spec.floor(BLOCKS, "blocks of the same messages, written and read once, one flag for 256")
    };
    let specs = vec![
        spec("throughput.single", "one publisher to one thread, 64 B, a stamp each", LANE),
        spec("throughput.batch", "the same in batches of 16", LANE_BATCH),
    ];
    Experiment::new("throughput", loads, specs)
}

fn memory() -> Experiment {
    const SHARED: &str = "std mpsc, Arc";
    const VALUE: &str = "std mpsc, by value";
    const ONCE: &str = "written once";
    let loads = vec![
        Load::new(LANE, memory::lane),
        Load::new(PACKET, memory::packets),
        Load::new(SHARED, memory::shared),
        Load::new(VALUE, memory::by_value),
        Load::new(ONCE, |_| Ok(vec![memory::BYTES])),
    ];
    let spec = |id, what, side| {
        let spec =
            Spec::new(id, what, Unit::Bytes, side).peers(&[SHARED, VALUE]).floor(ONCE, "the payload written once");
        spec.goal(Goal::Value(Bound::AtMost(memory::BYTES)))
    };
    let specs = vec![
        spec("memory.lane", "bytes written for a 4,096 B message read by two threads", LANE).note(
            "from the slot on, which the publisher writes: both threads read it where the bus later drops it, and no clone was called",
        ),
        spec("memory.packet", "the same for a whole packet", PACKET)
            .note(
            "a whole packet owns its payload and is moved into its slot when it is published: the second place; both threads read it there, \
             and what lies behind a `Box`, `Vec` or `Arc` stays where it is",
        ),
        Spec::unavailable(
            "memory.allocated",
            "bytes allocated for a message",
            "a count of allocations needs an allocator that counts, which the product does not carry; `cargo test -p csf-bus alloc` \
             asserts that publishing and reading on lanes allocate nothing",
        ),
    ];
    Experiment::new("memory", loads, specs)
}

fn at_peak() -> Experiment {
    const NOBODY: &str = "handed to nobody";
    let loads = vec![
        Load::new(LANE, |effort| cpu::at_peak(new_lane(cpu::CAPACITY)?, effort)),
        Load::new(STD, |effort| cpu::at_peak(std::sync::mpsc::sync_channel(cpu::CAPACITY), effort)),
        Load::new(TOKIO, |effort| cpu::at_peak(tokio(cpu::CAPACITY), effort)),
        Load::new(NOBODY, cpu::nobody),
    ];
    let spec = Spec::new(
        "cpu.peak",
        "share of all cores used at 1.2 million messages per second, two threads",
        Unit::Percent,
        LANE,
    )
    .peers(&PEERS)
    .goal(Goal::Value(Bound::Below(80.0)))
    .floor(NOBODY, "the same pacing, each message written and handed to nobody");
    Experiment::new("processor at peak", loads, vec![spec])
}

fn clock_error() -> Experiment {
    let loads = vec![Load::together(&[OURS, INSTANT, UNCERTAINTY], clock::errors)];
    let spec = Spec::new("clock.error", "error against CLOCK_MONOTONIC_RAW, 99 of 100 readings", Unit::Ns, OURS)
        .peers(&[INSTANT])
        .goal(Goal::Value(Bound::AtMost(10.0)))
        .share(0.99)
        .floor(UNCERTAINTY, "half of the narrowest interval between two readings of the reference")
        .note("a reading is known to the limit beside it only; `Instant` is steered by NTP, which is part of its distance");
    Experiment::new("clock error", loads, vec![spec])
}

fn clock_cost() -> Experiment {
    const COUNTER: &str = "counter";
    let loads = vec![
        Load::new(OURS, ordered_reading),
        Load::new(INSTANT, instant_reading),
        Load::new(COUNTER, counter_reading),
    ];
    let spec = Spec::new("clock.cost", "reading the clock after every earlier load", Unit::Ns, OURS).peers(&[INSTANT]);
    Experiment::new(
        "clock cost",
        loads,
        vec![spec.floor(COUNTER, "the processor's counter, read after every earlier load")],
    )
}

fn matching() -> Experiment {
    let loads =
        vec![Load::new(BEST, routing::best), Load::new(LOOP, routing::scalar_loop), Load::new(MASKS, routing::reading)];
    let spec = Spec::new("routing.match", "a packet's targets matched against 4,096 subscribers", Unit::Ns, BEST)
        .peers(&[LOOP])
        .goal(Goal::Ratio(Bound::AtMost(0.25)))
        .floor(MASKS, "every mask read once");
    Experiment::new("routing", loads, vec![spec])
}

/// Headline goals that nothing in the binary serves.
fn not_yet() -> Experiment {
    let specs = vec![
        Spec::unavailable(
            "scheduling.predictive",
            "predictive scheduling from fitted oscillators",
            "no stream is fitted yet: phase tracking (FAB-016) and the Quantum Time Oracle (FAB-050 to FAB-054) are open",
        ),
        Spec::unavailable(
            "cognitive.modules",
            "cognitive modules (C-LOGIC)",
            "the modules DRPP, ADP, EGC and EMS (FAB-070 to FAB-086) are not built yet",
        ),
    ];
    Experiment::new("not yet", Vec::new(), specs)
}
