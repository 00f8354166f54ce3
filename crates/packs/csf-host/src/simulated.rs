//! A simulated machine: what the proc file system of a small, mostly idle computer would say. Counters grow with every look, levels
//! wander; both follow from the number of looks alone, so that a simulation repeats.

use std::io;
use std::path::Path;

use crate::source::{Filesystem, ProcSource};

/// Simulated proc file system.
#[derive(Debug, Default)]
pub(crate) struct SimulatedProc {
    looks: u64,
}

impl SimulatedProc {
    /// A level that wanders around `centre` by up to `swing`: a triangle of 64 looks with a ripple of 5.
    fn level(&self, centre: u64, swing: u64) -> u64 {
        let triangle = (self.looks % 64).abs_diff(32) * swing / 32;
        centre + triangle + self.looks % 5 * swing / 64 - swing / 2
    }
}

impl ProcSource for SimulatedProc {
    fn read(&mut self, file: &str, text: &mut String) -> io::Result<()> {
        self.looks += 1;
        let n = self.looks;
        let user = 14_000 + n * 3 + self.level(8, 8);
        let idle = 1_300_000 + n * 90;
        *text = match file {
            "stat" => format!(
                "cpu  {user} 0 {s} {idle} 14 0 9 0 0 0\ncpu0 {user} 0 {s} {idle} 14 0 9 0 0 0\nintr {i} 0\nctxt {c}\nbtime 1700000000\n\
                 processes {p}\nprocs_running 1\nprocs_blocked 0\nsoftirq {i} 0\n",
                i = 340_000 + n * 120,
                s = 7_000 + n,
                c = 600_000 + n * 250,
                p = 8_900 + n / 16,
            ),
            "loadavg" => format!("0.{:02} 0.30 0.20 1/90 {}\n", self.level(40, 30), 8_900 + n / 16),
            "meminfo" => format!(
                "MemTotal: 16000000 kB\nMemFree: {free} kB\nMemAvailable: {free} kB\nBuffers: 60000 kB\nCached: 500000 kB\n\
                 SwapCached: 0 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nDirty: {dirty} kB\n",
                free = self.level(12_000_000, 400_000),
                dirty = self.level(8_000, 8_000),
            ),
            "vmstat" => {
                format!("pgpgin {n}\npswpin 0\npswpout 0\npgfault {}\npgmajfault {}\n", 1_000_000 + n * 40, n / 8)
            }
            "diskstats" => format!(
                " 254 0 vda {r} 53000 {rs} 100000 {w} 25000 {ws} 13000 0 20000 110000 4500 60 490000 600 700 45\n",
                r = 97_000 + n,
                rs = 15_000_000 + n * 16,
                w = 9_000 + n * 2,
                ws = 2_500_000 + n * 48,
            ),
            "self/mountinfo" => "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n".to_owned(),
            "net/dev" => format!(
                "Inter-| Receive | Transmit\n face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop \
                 fifo colls carrier compressed\n  eth0: {rx} {rp} 0 0 0 0 0 0 {tx} {tp} 0 0 0 0 0 0\n",
                rx = 220_000_000 + n * 900,
                rp = 6_800 + n,
                tx = 420_000 + n * 300,
                tp = 4_100 + n,
            ),
            "pressure/cpu" | "pressure/memory" | "pressure/io" => format!(
                "some avg10=0.{a:02} avg60=0.20 avg300=0.10 total={t}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={n}\n",
                a = self.level(20, 20),
                t = 12_000_000 + n * 500,
            ),
            "self/stat" => format!(
                "77 (csf) S 1 77 77 0 -1 4194304 1000 0 7 0 {u} {s} 0 0 20 0 6 0 678116 90000000 9000 18446744073709551615 \
                 1 1 1 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 1 1 1 1 1 1 1 0\n",
                u = 300 + n,
                s = 100 + n / 2,
            ),
            "self/status" => format!(
                "Name:\tcsf\nVmHWM:\t 60000 kB\nVmRSS:\t {} kB\nThreads:\t6\nvoluntary_ctxt_switches:\t{}\n\
                 nonvoluntary_ctxt_switches:\t{n}\n",
                self.level(50_000, 4_000),
                1_000 + n * 20,
            ),
            other => {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("the simulated machine has no {other}")));
            }
        };
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        match directory {
            "self/fd" => Ok((0..24).map(|n| n.to_string()).collect()),
            // One thread, whose status is not looked into.
            _ => Ok(Vec::new()),
        }
    }

    fn filesystem(&mut self, _path: &Path) -> io::Result<Filesystem> {
        Ok(Filesystem { total_bytes: 200_000_000_000, free_bytes: self.level(90_000_000_000, 1_000_000_000) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc;

    #[test]
    fn every_file_of_the_simulated_machine_can_be_read_by_the_real_parsers() {
        let mut machine = SimulatedProc::default();
        let mut text = String::new();
        for _ in 0..200 {
            let mut read = |file: &str| {
                machine.read(file, &mut text).unwrap();
                text.clone()
            };
            proc::stat::parse(&read("stat")).unwrap();
            proc::loadavg::parse(&read("loadavg")).unwrap();
            proc::meminfo::parse(&read("meminfo")).unwrap();
            proc::vmstat::parse(&read("vmstat")).unwrap();
            proc::diskstats::parse(&read("diskstats")).unwrap();
            proc::mountinfo::parse(&read("self/mountinfo")).unwrap();
            proc::net_dev::parse(&read("net/dev")).unwrap();
            for file in ["pressure/cpu", "pressure/memory", "pressure/io"] {
                proc::pressure::parse(file, &read(file)).unwrap();
            }
            proc::process::parse_stat(&read("self/stat")).unwrap();
            proc::process::parse_status(&read("self/status")).unwrap();
        }
    }
}
