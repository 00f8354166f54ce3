use std::path::Path;

use proptest::prelude::*;

use super::recorded::*;
use super::*;

#[test]
fn stat_has_the_processors_and_the_counters() {
    let sample = stat::parse(STAT).unwrap();
    assert_eq!((sample.total.user, sample.total.system, sample.total.steal), (14327, 7455, 75));
    assert_eq!(sample.cores.len(), 2);
    assert_eq!((sample.cores[1].0, sample.cores[1].1.iowait), (1, 1260));
    assert_eq!((sample.interrupts, sample.context_switches), (371_058, 616_243));
}

#[test]
fn the_other_files_have_what_this_machine_wrote() {
    assert_eq!(loadavg::parse(LOADAVG).unwrap().five_min, 0.36);
    let memory = meminfo::parse(MEMINFO).unwrap();
    assert_eq!(memory.total_bytes, 24_684_084 * 1024);
    assert_eq!(memory.cached_bytes, (68_572 + 582_988) * 1024);
    assert_eq!(vmstat::parse(VMSTAT).unwrap().major_faults, 6723);
    let interfaces = net_dev::parse(NET_DEV).unwrap();
    assert_eq!((interfaces[1].name.as_str(), interfaces[1].received_bytes), ("eth0", 223_664_189));
    assert_eq!((interfaces[1].sent_bytes, interfaces[1].sent_packets), (420_237, 4151));
    let io = pressure::parse("pressure/io", PRESSURE).unwrap();
    assert_eq!((io.some.share_10s, io.full.total_us), (0.0179, 11_379_710));
}

#[test]
fn the_disk_under_a_path_is_found_by_its_mount() {
    let disks = diskstats::parse(DISKSTATS).unwrap();
    assert_eq!((disks[1].name.as_str(), disks[1].read_sectors), ("vda", 15_091_146));
    assert_eq!((disks[1].written_sectors, disks[1].busy_ms), (2_573_808, 20_136));
    let mounts = mountinfo::parse(MOUNTINFO).unwrap();
    let root = mountinfo::under(&mounts, Path::new("/var/lib/csf")).unwrap();
    assert_eq!((root.major, root.source.as_str()), (254, "/dev/vda"));
    let hidden_below = mountinfo::under(&mounts, Path::new("/dev/shm/x")).unwrap();
    assert_eq!(hidden_below.minor, 27, "the later mount on the same point hides the earlier");
}

#[test]
fn mount_points_are_unescaped() {
    let line = r"40 1 8:1 / /mnt/my\040disk\134x rw shared:1 master:2 - ext4 /dev/sda1 rw";
    let mounts = mountinfo::parse(line).unwrap();
    assert_eq!(mounts[0].mount_point, Path::new(r"/mnt/my disk\x"));
}

#[test]
fn only_disks_of_their_own_are_whole() {
    let text: String = ["sda", "sda1", "nvme0n1", "nvme0n1p2", "dm-0", "loop3", "vdb"]
        .iter()
        .map(|name| format!("8 0 {name} 1 2 3 4 5 6 7 8 9 10 11\n"))
        .collect();
    let devices = diskstats::parse(&text).unwrap();
    let names: Vec<&str> = diskstats::whole_disks(&devices).iter().map(|d| d.name.as_str()).collect();
    assert_eq!(names, ["sda", "nvme0n1", "vdb"]);
}

#[test]
fn a_program_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
    let times = process::parse_stat(SELF_STAT).unwrap();
    assert_eq!((times.major_faults, times.user_ticks, times.system_ticks), (7, 31, 20));
    let status = process::parse_status(SELF_STATUS).unwrap();
    assert_eq!((status.resident_bytes, status.threads), (1600 * 1024, 1));
    assert_eq!(process::parse_task(SELF_STATUS).unwrap().voluntary, 12);
}

#[test]
fn kernels_without_later_columns_are_read() {
    let sample = stat::parse("cpu 1 2 3 4\ncpu0 1 2 3 4\nintr 5\nctxt 6\n").unwrap();
    assert_eq!((sample.total.idle, sample.total.steal), (4, 0));
    let cpu = pressure::parse("pressure/cpu", "some avg10=0.50 avg60=0.00 avg300=0.00 total=7\n").unwrap();
    assert_eq!(cpu.full, pressure::Stall::default());
}

#[test]
fn an_error_names_file_line_and_field() {
    let error = stat::parse("cpu 1 2 3 4\ncpu0 1 x 3 4\n").unwrap_err();
    assert_eq!(error.to_string(), "`stat` line 2: field `nice` should be a number, found `x`");
    let error = meminfo::parse("MemTotal: 5 kB\n").unwrap_err();
    assert_eq!(error.to_string(), "`meminfo` has no line `MemAvailable` in its 1 lines");
    let error = diskstats::parse("8 0 sda 1 2").unwrap_err();
    assert_eq!(error.to_string(), "`diskstats` line 1: field `sectors read` should be a number, found ``");
}

/// Every parser on one text.
fn parse_all(text: &str) -> [bool; 11] {
    [
        stat::parse(text).is_ok(),
        loadavg::parse(text).is_ok(),
        meminfo::parse(text).is_ok(),
        vmstat::parse(text).is_ok(),
        diskstats::parse(text).is_ok(),
        mountinfo::parse(text).is_ok(),
        net_dev::parse(text).is_ok(),
        pressure::parse("pressure/cpu", text).is_ok(),
        process::parse_stat(text).is_ok(),
        process::parse_status(text).is_ok(),
        process::parse_task(text).is_ok(),
    ]
}

proptest! {
    #[test]
    fn no_parser_panics_on_any_text(text in any::<String>()) {
        parse_all(&text);
    }

    /// Real texts with one piece replaced: closer to the parsers' inner branches than noise.
    #[test]
    fn no_parser_panics_on_damaged_files(which in 0usize..10, from in 0.0f64..1.0, to in 0.0f64..1.0, piece in "[ -~\n]{0,12}|[0-9]{1,24}|\\PC{0,4}") {
        let text = [STAT, LOADAVG, MEMINFO, VMSTAT, DISKSTATS, MOUNTINFO, NET_DEV, PRESSURE, SELF_STAT, SELF_STATUS][which];
        let (a, b) = ((from * text.len() as f64) as usize, (to * text.len() as f64) as usize);
        let damaged = format!("{}{piece}{}", &text[..a.min(b)], &text[a.max(b)..]);
        parse_all(&damaged);
    }
}
