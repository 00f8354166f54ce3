use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::*;
use crate::proc::recorded;
use crate::source::Filesystem;

/// A machine made of texts, changed while it is read.
#[derive(Clone, Default)]
struct ScriptedProc(Arc<Mutex<BTreeMap<String, String>>>);

impl ScriptedProc {
    fn recorded() -> Self {
        let proc = Self::default();
        proc.write("stat", recorded::STAT);
        proc.write("loadavg", recorded::LOADAVG);
        proc.write("meminfo", recorded::MEMINFO);
        proc.write("vmstat", recorded::VMSTAT);
        proc.write("diskstats", recorded::DISKSTATS);
        proc.write("self/mountinfo", recorded::MOUNTINFO);
        proc.write("net/dev", recorded::NET_DEV);
        proc.write("self/stat", recorded::SELF_STAT);
        proc.write("self/status", recorded::SELF_STATUS);
        proc.write("self/fd/0", "");
        proc.write("self/fd/1", "");
        proc.write("self/task/8936/status", recorded::SELF_STATUS);
        proc
    }

    fn write(&self, file: &str, text: &str) {
        self.0.lock().unwrap().insert(file.to_owned(), text.to_owned());
    }

    fn sampler(&self, device: Option<&str>) -> Sampler {
        let disk = DiskChoice { path: PathBuf::from("/var/lib/csf"), device: device.map(str::to_owned) };
        Sampler::new(Box::new(self.clone()), disk)
    }
}

impl ProcSource for ScriptedProc {
    fn read(&mut self, file: &str, text: &mut String) -> io::Result<()> {
        *text = self.0.lock().unwrap().get(file).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn list(&mut self, directory: &str) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        let below = files.keys().filter_map(|file| file.strip_prefix(directory)?.strip_prefix('/'));
        Ok(below.map(|rest| rest.split('/').next().unwrap_or_default().to_owned()).collect())
    }

    fn filesystem(&mut self, _path: &Path) -> io::Result<Filesystem> {
        Ok(Filesystem { total_bytes: 1000, free_bytes: 400 })
    }
}

#[test]
fn the_first_sample_is_the_base_and_the_second_a_reading() {
    let proc = ScriptedProc::recorded();
    let mut sampler = proc.sampler(None);
    assert_eq!(sampler.network(0).unwrap(), None);
    proc.write("net/dev", &recorded::NET_DEV.replace("223664189", "223665189"));
    let network = sampler.network(500_000_000).unwrap().unwrap();
    assert_eq!(network.received_bytes_per_s, 2000.0);
    assert_eq!(sampler.network(500_000_000).unwrap(), None, "no time has passed");
}

#[test]
fn a_reading_without_ticks_leaves_its_time_to_the_next() {
    let proc = ScriptedProc::recorded();
    let mut sampler = proc.sampler(None);
    assert_eq!(sampler.cpu(0).unwrap(), None);
    assert_eq!(sampler.cpu(1_000_000_000).unwrap(), None);
    let later = recorded::STAT.replace("cpu  14327", "cpu  14377").replace("1329784", "1329834");
    proc.write("stat", &later.replace("ctxt 616243", "ctxt 616443"));
    let cpu = sampler.cpu(2_000_000_000).unwrap().unwrap();
    assert_eq!((cpu.busy_share, cpu.context_switches_per_s), (0.5, 100.0));
}

#[test]
fn the_disk_is_the_one_under_the_path_or_the_one_named() {
    let proc = ScriptedProc::recorded();
    for (device, expected) in [(None, "vda"), (Some("zram0"), "zram0")] {
        let mut sampler = proc.sampler(device);
        assert_eq!(sampler.disk(0).unwrap(), None);
        let disk = sampler.disk(1).unwrap().unwrap();
        assert_eq!((disk.device.as_str(), disk.filesystem_free_bytes), (expected, 400));
    }
    let error = proc.sampler(Some("sdz")).disk(0).unwrap_err();
    assert!(error.is_final() && error.to_string().contains("`sdz`"), "{error}");
}

#[test]
fn a_file_system_on_no_one_device_counts_every_whole_disk() {
    let proc = ScriptedProc::recorded();
    proc.write("self/mountinfo", "27 1 0:30 / / rw,relatime - overlay overlay rw\n");
    proc.write(
        "diskstats",
        "8 0 sda 1 2 3 4 5 6 7 8 9 10 11\n8 1 sda1 1 2 3 4 5 6 7 8 9 10 11\n8 16 sdb 1 2 3 4 5 6 7 8 9 10 11\n",
    );
    let mut sampler = proc.sampler(None);
    assert_eq!(sampler.disk(0).unwrap(), None);
    assert_eq!(sampler.disk(1).unwrap().unwrap().device, "sda+sdb");
}

#[test]
fn a_kernel_without_a_file_is_told_from_a_file_that_is_damaged() {
    let proc = ScriptedProc::recorded();
    let mut sampler = proc.sampler(None);
    let absent = sampler.pressure(0).unwrap_err();
    assert!(absent.is_final() && absent.to_string().contains("`pressure/cpu`"), "{absent}");
    proc.write("meminfo", "MemTotal: much kB\n");
    let damaged = sampler.memory(0).unwrap_err();
    assert!(!damaged.is_final() && damaged.to_string().contains("line 1"), "{damaged}");
}

#[test]
fn a_process_has_its_files_and_threads() {
    let proc = ScriptedProc::recorded();
    let mut sampler = proc.sampler(None);
    assert_eq!(sampler.process(0).unwrap(), None);
    proc.write("self/task/8936/status", &recorded::SELF_STATUS.replace(":	12", ":	22"));
    let process = sampler.process(1_000_000_000).unwrap().unwrap();
    assert_eq!((process.open_files, process.threads), (2, 1));
    assert_eq!((process.voluntary_switches_per_s, process.cpu_share), (10.0, 0.0));
}
