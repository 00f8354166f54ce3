//! What goes wrong in a simulated run, drawn from its seed.

use std::collections::BTreeSet;
use std::time::Duration;

use csf_core::port::Timer;
use csf_sim::{NextWrite, SeededRng};

use super::{Machine, Scenario};

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Messages between clients and node are lost.
    Loss,
    /// They take their time, up to half a second.
    Delay,
    /// Later ones arrive earlier.
    Reorder,
    /// For a while nothing gets through.
    Partition,
    /// The machine crashes between any two steps, and starts again.
    Crash,
    /// It crashes in the middle of a write.
    TornWrite,
    /// For a while the disk is full.
    DiskFull,
    /// For a while every commit takes long, up to a second.
    SlowDisk,
    /// The clock is set forward or back, up to five seconds.
    ClockJump,
    /// The clock runs too fast or too slow, up to 500 ppm.
    Skew,
    /// Services end with an error or a panic.
    ServiceCrash,
    /// The configuration of the running node is changed, and changes it must refuse are tried.
    Reload,
}

/// The faults of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults(pub(crate) BTreeSet<Fault>);

const NAMES: [(&str, Fault); 12] = [
    ("loss", Fault::Loss),
    ("delay", Fault::Delay),
    ("reorder", Fault::Reorder),
    ("partition", Fault::Partition),
    ("crash", Fault::Crash),
    ("torn-write", Fault::TornWrite),
    ("disk-full", Fault::DiskFull),
    ("slow-disk", Fault::SlowDisk),
    ("clock-jump", Fault::ClockJump),
    ("skew", Fault::Skew),
    ("service-crash", Fault::ServiceCrash),
    ("reload", Fault::Reload),
];

/// Steps between two crashes, at most: a life of the demo takes some 1,100 a second.
const STEPS_BETWEEN_CRASHES: u64 = 24_000;
/// Steps after a disk became slow within which a crash may be aimed at it.
const CRASH_WITHIN: u64 = 2_000;
pub(super) const MOST_CRASHES: u64 = 3;

pub(super) fn milliseconds(rng: &mut SeededRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(from + rng.below(to - from))
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let names: Vec<&str> = NAMES.iter().filter(|(_, fault)| self.has(*fault)).map(|(name, _)| *name).collect();
        f.write_str(&names.join(","))
    }
}

impl Faults {
    /// A list of names, `all` or `none`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "all" => return Ok(Self(NAMES.iter().map(|(_, fault)| *fault).collect())),
            "none" | "" => return Ok(Self::default()),
            _ => {}
        }
        let one = |name: &str| {
            let fault = NAMES.iter().find(|(known, _)| *known == name.trim()).map(|(_, fault)| *fault);
            fault.ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
                format!("there is no fault `{name}`; known are {}, all and none", known.join(", "))
            })
        };
        text.split(',').map(one).collect::<Result<_, _>>().map(Self)
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    pub(super) fn drift_ppb(&self, rng: &SeededRng) -> i64 {
        if !self.has(Fault::Skew) {
            return 0;
        }
        rng.stream(2).below(1_000_001) as i64 - 500_000
    }

    /// Steps of each life until its crash; lives beyond the last go on to the end.
    pub(super) fn crashes(&self, rng: &SeededRng) -> impl Iterator<Item = u64> + use<> {
        let mut rng = rng.stream(3);
        let count = if self.has(Fault::Crash) { rng.below(MOST_CRASHES + 1) } else { 0 };
        // Early crashes are as likely as late ones: the start has the more delicate steps.
        (0..count).map(move |_| {
            let magnitude = 1 + rng.below(STEPS_BETWEEN_CRASHES);
            if rng.below(3) == 0 { magnitude % 200 } else { magnitude }
        })
    }

    pub(super) fn downtime(&self, rng: &SeededRng, crash: u64) -> Duration {
        milliseconds(&mut rng.stream(10_000 + crash), 1, 2_000)
    }

    /// Whether a message is lost.
    pub(super) fn loses(&self, rng: &mut SeededRng) -> bool {
        self.has(Fault::Loss) && rng.below(10) == 0
    }

    /// How long a message takes.
    pub(super) fn latency(&self, rng: &mut SeededRng) -> Duration {
        let usual = Duration::from_micros(200);
        if self.has(Fault::Delay) && rng.below(5) == 0 {
            return milliseconds(rng, 1, 500);
        }
        if self.has(Fault::Reorder) { usual + Duration::from_micros(rng.below(2_000)) } else { usual }
    }
}

/// Changes the world at random moments, for ever.
pub(super) async fn weather(machine: &Machine, scenario: &Scenario, life: u64) {
    let mut rng = machine.rng.stream(100 + life);
    let kinds = [Fault::Partition, Fault::TornWrite, Fault::DiskFull, Fault::SlowDisk, Fault::ClockJump];
    let kinds: Vec<Fault> = kinds.into_iter().filter(|f| scenario.faults.has(*f)).collect();
    if kinds.is_empty() {
        return std::future::pending().await;
    }
    loop {
        machine.world.sleep(milliseconds(&mut rng, 200, 8_000)).await;
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        match kind {
            Fault::Partition => {
                machine.notebook.line("partition");
                machine.notebook.books().is_partitioned = true;
                machine.world.sleep(milliseconds(&mut rng, 10, 3_000)).await;
                machine.notebook.books().is_partitioned = false;
                machine.notebook.line("partition over");
            }
            Fault::TornWrite if machine.notebook.books().run.torn < MOST_CRASHES => {
                let is_kept = rng.below(2) == 0;
                machine.notebook.line(format_args!("the next write is torn, kept: {is_kept}"));
                machine.disk.set_next(NextWrite::Torn { is_kept });
            }
            Fault::DiskFull => {
                machine.notebook.line("disk full");
                machine.disk.set_next(NextWrite::Full);
                machine.world.sleep(milliseconds(&mut rng, 10, 2_000)).await;
                machine.disk.set_next(NextWrite::Works);
                machine.notebook.line("disk has room");
            }
            Fault::SlowDisk => {
                let takes = milliseconds(&mut rng, 5, 1_000);
                machine.notebook.line(format_args!("a commit takes {} ms", takes.as_millis()));
                machine.disk.set_commit_time(takes);
                if scenario.faults.has(Fault::Crash) && rng.below(4) == 0 {
                    machine.notebook.crash_within(rng.below(CRASH_WITHIN));
                }
                machine.world.sleep(milliseconds(&mut rng, 100, 4_000)).await;
                machine.disk.set_commit_time(Duration::ZERO);
                machine.notebook.line("the disk is fast");
            }
            Fault::ClockJump => {
                let by_ms = rng.below(10_001) as i64 - 5_000;
                machine.notebook.line(format_args!("clock jumps by {by_ms} ms"));
                machine.clock.jump(by_ms * 1_000_000);
            }
            _ => {}
        }
    }
}
