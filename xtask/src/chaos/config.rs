//! The configurations of the nodes under test.

use std::path::{Path, PathBuf};

use super::client::TOPIC;
use crate::exec;

/// A recorded flight.
pub(super) fn recording() -> PathBuf {
    exec::root().join("data/px4_hover_fmu_v5.ulg")
}

/// A topic for clients beside this machine's own streams. The topic's type is brought by a flight that ends after its first millisecond.
pub(super) fn plain() -> String {
    format!(
        "[node]\nname = \"chaos\"\n\n\
         [source.flight]\ntype = \"avionics.flight\"\npath = \"{}\"\nduration_s = 0.001\nwrites = {{ land = \"{TOPIC}\" }}\n\n\
         [service.machine]\ntype = \"host.telemetry\"\nwrites = {{ cpu = \"host.cpu\", memory = \"host.memory\" }}\n\n\
         [component.watch]\ntype = \"host.watch\"\nreads = [\"host.cpu\", \"host.memory\"]\nwrites = {{ anomaly = \"host.anomaly\" }}\n",
        recording().display()
    )
}

/// A group with a part that fails again and again, beside a group and a service that have nothing to do with it.
pub(super) struct Cascade<'a> {
    /// A recording that breaks off.
    pub(super) broken: &'a Path,
    pub(super) strategy: &'a str,
    pub(super) at_most: u64,
    pub(super) steady_hz: f64,
}

impl Cascade<'_> {
    pub(super) fn text(&self) -> String {
        let Self { broken, strategy, at_most, steady_hz } = self;
        let group = format!(
            "[supervisor.flaky]\nstrategy = \"{strategy}\"\nat_most = {at_most}\nwithin = \"60s\"\n\
             backoff = {{ min = \"20ms\", max = \"60ms\" }}\nwhen_spent = \"give_up\"\n\n\
             [service.a-before]\ntype = \"host.telemetry\"\nsupervisor = \"flaky\"\nrestart = {{ policy = \"permanent\" }}\n\
             cpu_hz = 10.0\nwrites = {{ cpu = \"flaky.before\" }}\n\n\
             [service.b-broken]\ntype = \"avionics.flight\"\nsupervisor = \"flaky\"\nrestart = {{ policy = \"permanent\" }}\n\
             after = [\"a-before\"]\npath = \"{}\"\nspeed = 8.0\nwrites = {{ imu = \"flaky.imu\" }}\n\n\
             [service.c-behind]\ntype = \"host.telemetry\"\nsupervisor = \"flaky\"\nrestart = {{ policy = \"permanent\" }}\n\
             after = [\"b-broken\"]\ncpu_hz = 10.0\nwrites = {{ cpu = \"flaky.behind\" }}\n\n",
            broken.display()
        );
        let others = format!(
            "[supervisor.calm]\nstrategy = \"one_for_all\"\n\n\
             [service.steady]\ntype = \"host.telemetry\"\nsupervisor = \"calm\"\ncpu_hz = {steady_hz:.1}\nwrites = {{ cpu = \"steady.cpu\" }}\n\n\
             [service.alone]\ntype = \"host.telemetry\"\ncpu_hz = {steady_hz:.1}\nwrites = {{ cpu = \"alone.cpu\" }}\n\n"
        );
        format!("{}\n{group}{others}", plain())
    }
}
