//! How much of the machine others took while the bench ran: figures of a crowded machine are to be read as ratios.

use std::fs;

use serde_json::{Value, json};

/// Processor time so far, in the kernel's ticks.
#[derive(Clone, Copy)]
struct Spent {
    /// By everybody, on all cores.
    busy: u64,
    /// On all cores, busy or not.
    all: u64,
    /// By this process and those it has started and seen end.
    ours: u64,
}

impl Spent {
    /// `None` where the kernel does not say.
    fn now() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        // user nice system idle iowait irq softirq steal; guests are counted in the first two.
        let cpu: Vec<u64> =
            stat.lines().next()?.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let all: u64 = cpu.iter().sum();
        let busy = all - cpu.get(3)? - cpu.get(4)?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        // The command's name may hold spaces; user and system time are the 12th and 13th field after it, those of children the next two.
        let fields: Vec<&str> = own.rsplit_once(") ")?.1.split(' ').collect();
        let spent: Vec<u64> = fields.get(11..15)?.iter().filter_map(|n| n.parse().ok()).collect();
        let ours = spent.iter().sum();
        Some(Self { busy, all, ours })
    }
}

/// Watches the neighbours from its making on.
pub struct Neighbours(Option<Spent>);

impl Neighbours {
    /// From now on.
    pub fn watch() -> Self {
        Self(Spent::now())
    }

    /// Share of all cores that others have taken since.
    fn share(&self) -> Option<f64> {
        let (then, now) = (self.0?, Spent::now()?);
        let others = (now.busy - then.busy).saturating_sub(now.ours - then.ours);
        Some(others as f64 / (now.all - then.all).max(1) as f64)
    }

    /// For people.
    pub fn text(&self) -> String {
        let share = self.share().map_or_else(|| "unknown".to_owned(), |share| format!("{:.0} %", share * 100.0));
        format!("others took {share} of all cores during the run\n")
    }

    /// For scripts: the last line of `--json`.
    pub fn json(&self) -> Value {
        json!({ "id": "neighbours", "share": self.share().map(|share| (share * 1000.0).round() / 1000.0) })
    }
}
