//! A recorded node replayed: every delivery through its component again, every output compared with the recorded one.

use std::sync::Arc;

use csf_core::Attributes;
use csf_core::port::TimeSource;
use csf_core::prelude::*;
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_runtime::config::{Item, Settings, Source};
use csf_runtime::node::{BootOptions, Interrupt, boot};
use csf_runtime::replay::replay;
use csf_runtime::topology::Topology;
use csf_runtime::{
    BoxFuture, Catalogue, Manifest, NoOptions, Pack, Registrar, Service, ServiceContext, ServiceError, World,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::clock::{ns_per_tick, ticks};
use crate::load::{Folder, Missing};
use crate::stats::{Figures, Metric};

/// A node whose meter has so many readings.
fn configuration(readings: u64) -> String {
    format!("[service.meter]\ntype = \"bench.meter\"\nreadings = {readings}\n{CONFIG}")
}

const CONFIG: &str = r#"
writes = { reading = "bench.reading" }

[component.watch]
type = "bench.watch"
reads = ["bench.reading"]
writes = { alarm = "bench.alarm" }
"#;

/// One reading in so many is beyond the limit.
const QUIET: u64 = 100;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Reading {
    number: u64,
    level: f64,
}

impl Message for Reading {
    const NAME: &'static str = "bench.reading";
    const VERSION: u16 = 1;
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Alarm {
    number: u64,
    mean: f64,
}

impl Message for Alarm {
    const NAME: &'static str = "bench.alarm";
    const VERSION: u16 = 1;
}

/// Keeps a mean and tells of readings far above it.
#[derive(Default, Serialize, Deserialize)]
struct Watch {
    mean: f64,
}

impl Component for Watch {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let Reading { number, level } = *event.get::<Reading>()?;
        self.mean += (level - self.mean) * 0.01;
        if level > self.mean + 50.0 {
            cx.publish("alarm", Alarm { number, mean: self.mean })?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.mean.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let bytes = snapshot.try_into().map_err(|_| Fault::Snapshot { reason: "eight bytes".to_owned() })?;
        self.mean = f64::from_le_bytes(bytes);
        Ok(())
    }
}

#[derive(Deserialize, JsonSchema)]
struct MeterOptions {
    readings: u64,
}

impl csf_runtime::Options for MeterOptions {}

/// Publishes readings, as fast as they are taken.
struct Meter(u64);

impl Service for Meter {
    fn run(self: Box<Self>, cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Some(mut publisher) = cx.publisher::<Reading>("reading")? else { return Ok(()) };
            for number in 0..self.0 {
                let level = if number % QUIET == QUIET - 1 { 200.0 } else { (number % 7) as f64 };
                publisher.publish(Reading { number, level }, Attributes::default()).await?;
            }
            Ok(())
        })
    }
}

struct House;

impl Pack for House {
    fn manifest(&self) -> Manifest {
        Manifest { name: "bench", doc: "a meter and who watches it" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let meter = registrar.service::<MeterOptions, _>("meter", "publishes readings", |o| Meter(o.readings));
        meter.writes::<Reading>("reading").done();
        let watch = registrar.component::<NoOptions, _>("watch", "tells of high readings", |_| Watch::default());
        watch.reads::<Reading>().writes::<Alarm>("alarm").done();
    }
}

fn missing(error: impl std::fmt::Display) -> Missing {
    Missing(error.to_string())
}

/// A node runs and records `readings`; then its journal is replayed. The figure is of the replay alone, its journal in the system's cache.
pub fn into_component(readings: u64) -> Result<Figures, Missing> {
    let folder = Folder::new("replay")?;
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(House)];
    let catalogue = Arc::new(Catalogue::of(&packs));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(missing)?;
    runtime.block_on(record(&catalogue, folder.path(), readings))?;
    let mut reader = SqliteReader::open_read_only(folder.path()).map_err(missing)?;
    let began = ticks();
    let report = replay(&mut reader, &catalogue, None, &mut |_| ()).map_err(missing)?.report;
    let took = (ticks() - began) as f64 * ns_per_tick();
    if report.deliveries < readings || report.equal != report.compared || report.compared < readings / QUIET {
        return Err(Missing(format!("the replay is not the run: {report:?}")));
    }
    Ok(Figures::from([(Metric::PerSecond, report.deliveries as f64 * 1e9 / took)]))
}

async fn record(catalogue: &Arc<Catalogue>, directory: &std::path::Path, readings: u64) -> Result<(), Missing> {
    let source = Arc::new(Source { name: "bench".to_owned(), text: configuration(readings) });
    let item = Item::parse(&source).map_err(|problems| Missing(problems[0].message.clone()))?;
    let (settings, _) = Settings::read(&item);
    let topology = Topology::check(settings, catalogue).map_err(|problems| Missing(problems[0].message.clone()))?;
    let clock: Arc<dyn TimeSource> = csf_time::SystemClock::detect().map_err(missing)?;
    let (write, read) = (directory.to_owned(), directory.to_owned());
    let options = BootOptions {
        topology,
        catalogue: catalogue.clone(),
        clock_report: None,
        process_start: Stamp(clock.now_ns().map_err(missing)?.as_nanos()),
        clock,
        directory: directory.to_owned(),
        journal: directory.display().to_string(),
        open_journal: Box::new(move || Ok(Box::new(SqliteJournal::open(&write, &JournalOptions::default())?))),
        open_reader: Arc::new(move || Ok(Box::new(SqliteReader::open_read_only(&read)?))),
        listen: None,
        build_id: "bench".to_owned(),
        spin_ns: 0,
        world: World::machine(),
        interrupt: Interrupt::default(),
        attachments: Vec::new(),
        on_phase: Box::new(|_| ()),
    };
    let node = boot(options).await.map_err(missing)?;
    let lane_is_full = || {
        let topics = node.bus().topics();
        let lanes = topics.iter().filter(|topic| topic.spec().name == "bench.reading");
        lanes.flat_map(|topic| topic.committed()).map(|(_, committed)| committed).sum::<u64>() >= readings
    };
    while !lane_is_full() {
        node.settle().await;
    }
    node.settle().await;
    node.shutdown().await;
    Ok(())
}
