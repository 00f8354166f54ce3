//! What a demo run amounts to: figures of the filter, the fabric and the journal, as a table and as one JSON object.

use std::path::Path;

use csf_core::Stamp;
use csf_runtime::exec::LatencySummary;
use csf_runtime::node::{Node, ShutdownReport};
use serde_json::{Map, Value, json};

use crate::commands::{bytes, nanos};
use crate::diagnostic::Failure;
use crate::paths;

/// How a flight ended.
pub(crate) struct Flown {
    /// The recording was played to its end.
    pub(crate) is_complete: bool,
    /// Somebody asked for the end meanwhile.
    pub(crate) is_interrupted: bool,
    /// Why not, when the source or the journal failed.
    pub(crate) failure: Option<String>,
    /// When everything of it was handled and durable.
    pub(crate) settled_at: Stamp,
}

/// The figures of a run.
pub(crate) struct Summary {
    fields: Map<String, Value>,
    factors: Vec<f64>,
}

impl Summary {
    /// Figures of the main run.
    pub(crate) fn new(node: &Node, flown: &Flown) -> Self {
        let mut fields = Map::new();
        let topology = node.topology();
        let options = topology.service("flight");
        let path = options.and_then(|s| s.settings.options.at(["path"])?.text()).unwrap_or_default();
        fields.insert("flight".to_owned(), json!(Path::new(path).file_name().map(|n| n.to_string_lossy())));
        fields.insert("complete".to_owned(), json!(flown.is_complete));
        if let Some(Value::Object(score)) = last_payload(node, "nav.score") {
            fields.extend(score);
        }
        // A recording that cannot be opened has failed the flight already, with its own words.
        let faults = csf_avionics::recording_faults(Path::new(path)).unwrap_or_default();
        fields.insert("sensor_faults".to_owned(), json!(faults));
        let mut summary = Self { fields, factors: Vec::new() };
        let saturated = path_latency(node);
        summary.latency("latency_ns", saturated);
        summary.add_timed(node, flown);
        summary
    }

    fn latency(&mut self, name: &str, latency: LatencySummary) {
        for (point, value) in [("p50", latency.p50), ("p99", latency.p99), ("p999", latency.p999), ("max", latency.max)]
        {
            self.fields.insert(format!("{name}_{point}"), json!(value));
        }
        self.fields.insert(format!("{name}_count"), json!(latency.count));
    }

    /// Adds a run's flight seconds per wall second, first packet to last durable watermark.
    pub(crate) fn add_timed(&mut self, node: &Node, flown: &Flown) {
        if let Some((first, seconds)) = flight_span(node) {
            let wall = flown.settled_at.since(first).max(1) as f64 / 1e9;
            self.factors.push(seconds / wall);
        }
        let mut sorted = self.factors.clone();
        sorted.sort_by(f64::total_cmp);
        self.fields.insert("speed_factor".to_owned(), json!(sorted.get(sorted.len() / 2)));
        self.fields.insert("speed_factor_runs".to_owned(), json!(self.factors));
    }

    /// Takes the latency from a paced run; what was there is the saturated one.
    pub(crate) fn add_paced(&mut self, node: &Node) {
        for point in ["p50", "p99", "p999", "max", "count"] {
            if let Some(value) = self.fields.remove(&format!("latency_ns_{point}")) {
                self.fields.insert(format!("latency_saturated_ns_{point}"), value);
            }
        }
        self.latency("latency_ns", path_latency(node));
    }

    /// Adds the figures that take many flights: errors averaged over noise seeds 1 to `seeds`, and drifts while fixes fail.
    pub(crate) fn add_seeds(&mut self, recording: &Path, fix_sigma: f64, seeds: u64) -> Result<(), Failure> {
        let scores =
            csf_avionics::monte_carlo_file(recording, fix_sigma, seeds).map_err(|e| Failure::new("CSF-0401", e))?;
        self.fields.insert("seeds".to_owned(), json!(seeds));
        for (key, value) in scores {
            self.fields.insert(key, json!(value));
        }
        Ok(())
    }

    /// Adds what is known only at the end.
    pub(crate) fn finish(&mut self, node: &Node) {
        let topics = node.topics();
        let samples = topics.iter().find(|t| t.name == "nav.imu").map_or(0, |t| t.packets);
        self.fields.insert("samples".to_owned(), json!(samples));
        self.fields.insert("packets".to_owned(), json!(topics.iter().map(|t| t.packets).sum::<u64>()));
        let report = node.report();
        self.fields.insert("journal".to_owned(), json!(report.journal.place));
        self.fields.insert("journal_bytes".to_owned(), json!(report.journal.bytes));
        self.fields.insert("journal_position".to_owned(), json!(report.journal.durable_position));
        self.fields.insert("boot_ms".to_owned(), json!(report.boot_ms));
        self.fields.insert("peak_memory_bytes".to_owned(), json!(paths::peak_memory_bytes()));
        self.fields.insert("build_id".to_owned(), json!(report.build_id));
    }

    /// Adds how the node stopped.
    pub(crate) fn add_shutdown(&mut self, report: &ShutdownReport) {
        self.fields.insert("shutdown".to_owned(), json!(report));
    }

    /// The whole object.
    pub(crate) fn json(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.fields.get(key).and_then(Value::as_f64)
    }

    /// The table people read.
    pub(crate) fn print(&self) {
        let text = |key: &str| self.fields.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
        let metres = |key: &str| self.number(key).map_or("–".to_owned(), |v| format!("{v:.3} m"));
        let count = |key: &str| self.number(key).map_or("–".to_owned(), |v| format!("{v:.0}"));
        let share = |key: &str| self.number(key).map_or("–".to_owned(), |v| format!("{:.1} %", 100.0 * v));
        let time = |key: &str| self.number(key).map_or("–".to_owned(), |v| nanos(v as u64));
        println!("flight          {}, {} samples, {} packets", text("flight"), count("samples"), count("packets"));
        for fault in self.fields.get("sensor_faults").and_then(Value::as_array).into_iter().flatten() {
            println!("  sensor        {}  [CSF-0405]", fault.as_str().unwrap_or_default());
        }
        let reference = text("reference");
        let until = self.number("reference_valid_until_s").map_or(String::new(), |t| {
            format!(" (until {t:.1} s, where it resets its own heading and is no reference any more)")
        });
        println!("against         {reference}{until}");
        println!(
            "position        {} rms{}, {} max",
            metres("position_error_rms_m"),
            self.number("seeds").map_or(String::new(), |n| format!(" (mean of {n:.0} noise seeds)")),
            metres("position_error_max_m")
        );
        println!(
            "  baselines     {} holding the last fix, {} with a tuned constant-velocity filter",
            metres("held_fix_rms_m"),
            metres("constant_velocity_rms_m")
        );
        for length_s in [5, 10] {
            if let Some(median) = self.number(&format!("outage_{length_s}s_median_m")) {
                println!(
                    "  {length_s:>2} s no fix   {median:.1} m median, {:.1} m at most over {} windows",
                    self.number(&format!("outage_{length_s}s_max_m")).unwrap_or(f64::NAN),
                    count(&format!("outage_{length_s}s_windows"))
                );
            }
        }
        let tilt = self.number("tilt_error_rms_deg").map_or("–".to_owned(), |v| format!("{v:.2}°"));
        println!("height, tilt    {} rms, {tilt} rms", metres("height_error_rms_m"));
        println!(
            "innovations     {} in the 95 % band, {} below its upper bound, mean {} per degree of freedom",
            share("nis_in_band_share"),
            share("nis_below_upper_share"),
            self.number("nis_mean_per_dof").map_or("–".to_owned(), |v| format!("{v:.2}"))
        );
        for (word, key) in [("take-off", "takeoff_difference_s"), ("landing", "landing_difference_s")] {
            if let Some(difference) = self.number(key) {
                println!("{word:<15} found {difference:+.2} s from the autopilot's own");
            }
        }
        println!(
            "latency         p50 {}, p99 {} (IMU commit to state commit)",
            time("latency_ns_p50"),
            time("latency_ns_p99")
        );
        if self.fields.contains_key("latency_saturated_ns_p50") {
            println!(
                "  saturated     p50 {}, p99 {}",
                time("latency_saturated_ns_p50"),
                time("latency_saturated_ns_p99")
            );
        }
        println!("speed           {:.1} × real time", self.number("speed_factor").unwrap_or(0.0));
        println!(
            "journal         {} in {}",
            bytes(self.number("journal_bytes").unwrap_or(0.0) as u64),
            text("journal")
        );
        println!(
            "boot, memory    {:.0} ms, {} at most",
            self.number("boot_ms").unwrap_or(0.0),
            bytes(self.number("peak_memory_bytes").unwrap_or(0.0) as u64)
        );
        println!("prove it        csf replay {}", text("journal"));
    }
}

/// What the newest durable packet of a topic says.
pub(crate) fn last_payload(node: &Node, topic: &str) -> Option<Value> {
    let last = node.feed().last_values().remove(topic)?;
    let message = node.catalogue().messages.get(&last.lane.message)?;
    let payload = (message.decode)(&last.packet.payload).ok()?;
    (message.to_json)(payload.as_ref()).ok()
}

fn path_latency(node: &Node) -> LatencySummary {
    let paths = node.latencies();
    paths
        .iter()
        .find(|p| p.from == "nav.imu" && p.to == "nav.state")
        .map_or_else(LatencySummary::default, |p| p.latency)
}

/// Stamp of the first IMU packet and the seconds of flight in this run's IMU packets.
fn flight_span(node: &Node) -> Option<(Stamp, f64)> {
    let mut reader = node.reader().ok()?;
    let incarnation = node.bus().config().incarnation;
    let lane = reader.lanes().ok()?.into_iter().find(|l| l.topic == "nav.imu" && l.id.incarnation == incarnation)?;
    let first = reader.lane(lane.id, 0, 1).ok()?.pop()?;
    let last = reader.lane_tail(lane.id, 1).ok()?.pop()?;
    let measured = |p: &csf_core::port::StoredPacket| p.header.measured_at.as_ref().map(|m| m.ns);
    Some((first.header.stamp, measured(&last)?.saturating_sub(measured(&first)?) as f64 / 1e9))
}
