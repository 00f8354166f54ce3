//! The `host` pack: this machine itself, live and without end.
//!
//! The service `host.telemetry` turns the kernel's counters into seven periodic streams; the component `host.watch` keeps a control
//! chart per field and publishes what leaves it. Parsers, rates and charts are pure; only `source` and `telemetry` touch the machine.
//! Reference: proc(5), Documentation/filesystems/proc.rst, Documentation/accounting/psi.rst, Documentation/admin-guide/iostats.rst.

mod clock;
mod figures;
mod message;
mod rate;
mod sampler;
mod schedule;
mod simulated;
mod source;
mod telemetry;

pub mod proc;
pub mod watch;

use csf_runtime::{Manifest, Pack, Registrar};

pub use message::{Anomaly, AnomalyPhase, Clock, Cpu, Direction, Disk, Memory, Network, Pressure, Process, Severity};
pub use source::{Filesystem, ProcFiles, ProcSource};
pub use telemetry::{Telemetry, TelemetryOptions};
pub use watch::{Watch, WatchOptions};

/// Wires the machine's streams and the watch over them: part of the configuration of `csf up --demo`.
pub const DEMO_CONFIG: &str = r#"
[service.machine]
type = "host.telemetry"
writes = { cpu = "host.cpu", memory = "host.memory", disk = "host.disk", network = "host.network", pressure = "host.pressure", process = "host.process", clock = "host.clock" }

[component.host-watch]
type = "host.watch"
reads = ["host.cpu", "host.memory", "host.disk", "host.network", "host.pressure", "host.process", "host.clock"]
writes = { anomaly = "host.anomaly" }
"#;

/// The pack.
#[derive(Clone, Copy, Debug, Default)]
pub struct Host;

impl Pack for Host {
    fn manifest(&self) -> Manifest {
        Manifest { name: "host", doc: "this machine itself: its figures as live streams, and a watch over them" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        registrar
            .service::<TelemetryOptions, _>(
                "telemetry",
                "publishes this machine's cpu, memory, disk, network, pressure, process and clock figures",
                Telemetry::new,
            )
            .writes::<Cpu>("cpu")
            .writes::<Memory>("memory")
            .writes::<Disk>("disk")
            .writes::<Network>("network")
            .writes::<Pressure>("pressure")
            .writes::<Process>("process")
            .writes::<Clock>("clock")
            .simulated::<TelemetryOptions, _>(Telemetry::simulated)
            .done();
        registrar
            .component::<WatchOptions, _>(
                "watch",
                "raises and clears an anomaly when a field of the machine's streams leaves its control chart",
                Watch::new,
            )
            .reads::<Cpu>()
            .reads::<Memory>()
            .reads::<Disk>()
            .reads::<Network>()
            .reads::<Pressure>()
            .reads::<Process>()
            .reads::<Clock>()
            .writes::<Anomaly>("anomaly")
            .done();
    }
}
