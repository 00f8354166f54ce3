use proptest::prelude::*;

use super::*;

fn ticks(user: u64, idle: u64, iowait: u64, steal: u64) -> CpuTicks {
    CpuTicks { user, idle, iowait, steal, ..CpuTicks::default() }
}

#[test]
fn processor_shares_are_parts_of_the_time_passed() {
    let old = StatSample {
        total: ticks(100, 1000, 10, 0),
        cores: vec![(0, ticks(100, 500, 10, 0)), (1, ticks(0, 500, 0, 0))],
        interrupts: 1000,
        context_switches: 5000,
    };
    let new = StatSample {
        total: ticks(120, 1010, 15, 5),
        cores: vec![(0, ticks(120, 500, 10, 0)), (2, ticks(7, 7, 7, 7))],
        interrupts: 1100,
        context_switches: 5400,
    };
    let cpu = cpu(&old, &new, &LoadSample::default(), 0.2).unwrap();
    assert_eq!((cpu.busy_share, cpu.iowait_share, cpu.steal_share), (0.5, 0.125, 0.125));
    assert_eq!(cpu.per_core_busy_share, [1.0, 0.0], "core 2 came on line since and has no share yet");
    assert_eq!((cpu.interrupts_per_s, cpu.context_switches_per_s), (500.0, 2000.0));
}

#[test]
fn falling_iowait_counts_as_standing_still() {
    let (old, new) = (ticks(10, 100, 50, 0), ticks(20, 110, 49, 0));
    let sample = |total| StatSample { total, ..StatSample::default() };
    let cpu = cpu(&sample(old), &sample(new), &LoadSample::default(), 0.2).unwrap();
    assert_eq!((cpu.busy_share, cpu.iowait_share), (0.5, 0.0));
}

#[test]
fn no_ticks_make_no_packet() {
    let sample = StatSample::default();
    assert_eq!(cpu(&sample, &sample, &LoadSample::default(), 0.001), None);
}

#[test]
fn a_disk_is_summed_in_sectors_of_512_bytes() {
    let old = DiskCounters { name: "vda".into(), reads: 10, read_sectors: 100, busy_ms: 5, ..DiskCounters::default() };
    let new = DiskCounters { reads: 20, read_sectors: 300, busy_ms: 255, ..old.clone() };
    let disk = disk(&[old], &[new], Filesystem { total_bytes: 9, free_bytes: 4 }, 0.5);
    assert_eq!((disk.read_bytes_per_s, disk.reads_per_s, disk.busy_share), (204_800.0, 20.0, 0.5));
    assert_eq!((disk.device.as_str(), disk.filesystem_free_bytes), ("vda", 4));
}

#[test]
fn an_interface_that_appeared_or_went_makes_no_rate() {
    let interface = |name: &str, bytes| InterfaceCounters {
        name: name.to_owned(),
        received_bytes: bytes,
        ..InterfaceCounters::default()
    };
    let old = [interface("lo", 1000), interface("gone", 1 << 40)];
    let new = [interface("lo", 1500), interface("new", 1 << 40)];
    let network = network(&old, &new, 0.5);
    assert_eq!((network.received_bytes_per_s, network.loopback_bytes_per_s), (1000.0, 1000.0));
    assert_eq!(network.interfaces, 2);
}

#[test]
fn pressure_since_the_previous_packet_comes_from_the_totals() {
    let old = [ResourcePressure::default(); 3];
    let mut new = old;
    new[2].some = Stall { share_10s: 0.02, total_us: 250_000 };
    let pressure = pressure(&old, &new, 1.0);
    assert_eq!((pressure.io_some_share, pressure.io_some_share_now), (0.02, 0.25));
}

#[test]
fn switches_count_over_the_threads_alive_at_both_ends() {
    let sample = |ids: &[(u32, u64)], user_ticks| ProcessSample {
        times: ProcessTimes { user_ticks, ..ProcessTimes::default() },
        switches: ids.iter().map(|(id, n)| (*id, TaskSwitches { voluntary: *n, involuntary: 0 })).collect(),
        ..ProcessSample::default()
    };
    let process = process(&sample(&[(1, 100), (2, 900)], 50), &sample(&[(1, 150), (3, 10_000)], 75), 0.5);
    assert_eq!(process.voluntary_switches_per_s, 100.0);
    assert_eq!(process.cpu_share, 0.5);
}

fn any_ticks() -> impl Strategy<Value = CpuTicks> {
    any::<[u64; 8]>().prop_map(|[user, nice, system, idle, iowait, irq, softirq, steal]| CpuTicks {
        user,
        nice,
        system,
        idle,
        iowait,
        irq,
        softirq,
        steal,
    })
}

proptest! {
    #[test]
    fn shares_are_shares_whatever_the_counters(a in any_ticks(), b in any_ticks(), seconds in 1e-9f64..1e6) {
        let sample = |total: CpuTicks| StatSample { total, cores: vec![(0, total)], interrupts: total.user, context_switches: total.idle };
        if let Some(cpu) = cpu(&sample(a), &sample(b), &LoadSample::default(), seconds) {
            let shares = [cpu.busy_share, cpu.user_share, cpu.system_share, cpu.iowait_share, cpu.steal_share, cpu.per_core_busy_share[0]];
            prop_assert!(shares.iter().all(|s| (0.0..=1.0).contains(s)), "{shares:?}");
            prop_assert!(cpu.interrupts_per_s.is_finite() && cpu.interrupts_per_s >= 0.0);
        }
    }
}
