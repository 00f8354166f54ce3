//! The pack on a real node: the demo's wiring on this machine's own proc file system, recorded and replayed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use csf_bus::{Interest, Policy, Subscriber};
use csf_core::port::{Journal, TimeSource};
use csf_core::{Message, Stamp};
use csf_host::{Clock, Cpu, DEMO_CONFIG, Disk, Host, Memory, Network, Process};
use csf_runtime::config::{Layers, Settings};
use csf_runtime::node::{BootOptions, Interrupt, Node, boot};
use csf_runtime::replay::replay;
use csf_runtime::topology::Topology;
use csf_runtime::{Catalogue, Pack};
use csf_sim::MemoryStore;
use csf_time::SystemClock;

/// Longer than any machine needs; a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Faster than the defaults, so that the test is short.
const FASTER: &str =
    "cpu_hz = 20\nmemory_hz = 20\ndisk_hz = 20\nnetwork_hz = 20\npressure_hz = 20\nprocess_hz = 20\nclock_hz = 20\n";

fn catalogue() -> Catalogue {
    Catalogue::of(&[Box::new(Host) as Box<dyn Pack>])
}

fn check(config: &str) -> Result<Topology, Vec<String>> {
    let (root, mut problems) = Layers::new(config).finish();
    let (settings, more) = Settings::read(&root);
    problems.extend(more);
    let words = |problems: Vec<csf_runtime::config::Problem>| problems.into_iter().map(|p| p.message).collect();
    if problems.is_empty() { Topology::check(settings, &catalogue()).map_err(words) } else { Err(words(problems)) }
}

/// The demo's wiring with `options` in the service's section.
fn demo(options: &str) -> String {
    DEMO_CONFIG.replace("type = \"host.telemetry\"\n", &format!("type = \"host.telemetry\"\n{options}"))
}

async fn start(config: &str, store: &MemoryStore) -> Arc<Node> {
    let clock = SystemClock::detect().expect("this machine has a clock");
    let (writer, reader) = (store.clone(), store.clone());
    let options = BootOptions {
        topology: check(config).expect("the configuration is sound"),
        catalogue: Arc::new(catalogue()),
        clock_report: None,
        process_start: Stamp(clock.now_ns().expect("it can be read").as_nanos()),
        clock,
        directory: std::env::temp_dir(),
        journal: "memory".to_owned(),
        open_journal: Box::new(move || Ok(Box::new(writer.open()?) as Box<dyn Journal>)),
        open_reader: Arc::new(move || Ok(reader.reader())),
        listen: None,
        build_id: "test".to_owned(),
        spin_ns: 0,
        world: csf_runtime::World::machine(),
        interrupt: Interrupt::default(),
        attachments: Vec::new(),
        on_phase: Box::new(|_| ()),
    };
    boot(options).await.expect("the node starts")
}

async fn next<T: Message>(node: &Node) -> T {
    let mut subscriber: Subscriber<T> =
        node.bus().subscriber(T::NAME, Interest::new().policy(Policy::DropOldest)).expect("it is declared");
    let (header, message) = tokio::time::timeout(PATIENCE, subscriber.recv()).await.expect(T::NAME);
    let measured_at = header.measured_at.expect("telemetry says when it was measured");
    assert_eq!(measured_at.clock.name(), "os");
    assert!(measured_at.ns <= header.stamp.as_nanos(), "it was measured before it was published");
    message
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn this_machine_is_published_and_its_recording_replays_bit_for_bit() {
    if !Path::new("/proc/stat").exists() {
        eprintln!("skipped: this machine has no /proc");
        return;
    }
    let config = demo(FASTER);
    let store = MemoryStore::default();
    let node = start(&config, &store).await;
    let cpu: Cpu = next(&node).await;
    let sum = cpu.busy_share + cpu.iowait_share + cpu.steal_share;
    assert!((0.0..=1.0 + 1e-9).contains(&sum) && !cpu.per_core_busy_share.is_empty(), "{cpu:?}");
    let memory: Memory = next(&node).await;
    assert!(memory.total_bytes >= memory.available_bytes && memory.available_bytes > 0, "{memory:?}");
    let network: Network = next(&node).await;
    assert!(network.received_bytes_per_s >= network.loopback_bytes_per_s, "{network:?}");
    let process: Process = next(&node).await;
    assert!(process.resident_bytes > 0 && process.threads > 1 && process.open_files > 0, "{process:?}");
    let clock: Clock = next(&node).await;
    assert_eq!(clock.source == "tsc", clock.tsc_hz.is_some(), "{clock:?}");
    // A machine may be without block devices or pressure figures; what it has is sane.
    if Path::new("/sys/block/vda").exists() {
        let disk: Disk = next(&node).await;
        assert!(disk.filesystem_total_bytes >= disk.filesystem_free_bytes && !disk.device.is_empty(), "{disk:?}");
    }
    node.shutdown().await;
    let report = replay(store.reader().as_mut(), node.catalogue(), None, &mut |_| ()).unwrap().report;
    assert!(report.deliveries >= 5, "{report:?}");
    assert_eq!((report.equal, report.first_difference), (report.compared, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_without_proc_still_has_its_clock() {
    let options = format!("proc_root = \"/nonexistent/proc\"\n{FASTER}");
    let node = start(&demo(&options), &MemoryStore::default()).await;
    let clock: Clock = next(&node).await;
    assert!(clock.uncertainty_ns.is_finite());
    let silent = |topic: &str| node.topics().iter().find(|t| t.name == topic).map(|t| t.packets);
    assert_eq!(silent("host.cpu"), Some(0));
    node.shutdown().await;
}

#[test]
fn the_demo_wiring_is_sound() {
    let topology = check(DEMO_CONFIG).unwrap();
    assert_eq!((topology.services.len(), topology.components.len(), topology.topics.len()), (1, 1, 8));
}

#[test]
fn bad_options_are_problems_of_the_configuration() {
    let problems = check(&demo("cpu_hz = 1000\nclock_hz = 0.01\n")).err().expect("both rates are outside");
    assert!(["cpu_hz", "clock_hz"].iter().all(|name| problems.iter().any(|p| p.contains(name))), "{problems:?}");
}
