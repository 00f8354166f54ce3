//! A component in a node with a journal: it is configured, run, recorded, replayed and asked why.
//!
//! Run it: `cargo run -p csf-examples --bin 02_component_and_replay`. You will see:
//!
//! > alarm 1.1.1-0 at 31.0 °C
//! > because of 1.1.2-2 by api
//! > replayed 3 deliveries, 1 of 1 outputs equal bit for bit
#![expect(clippy::print_stdout, reason = "an example talks")]

use std::sync::Arc;

use csf_core::port::TimeSource;
use csf_core::prelude::*;
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_runtime::config::{Item, Settings, Source};
use csf_runtime::node::{BootOptions, Interrupt, Node, boot};
use csf_runtime::provenance::Provenance;
use csf_runtime::replay::replay;
use csf_runtime::topology::Topology;
use csf_runtime::{Catalogue, Manifest, NoOptions, Pack, Registrar, Service, ServiceContext, ServiceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const CONFIG: &str = r#"
[service.door]
type = "house.thermometer"
writes = { temperature = "house.temperature" }

[component.guard]
type = "house.guard"
reads = ["house.temperature"]
writes = { alarm = "house.alarm" }
"#;

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Temperature {
    celsius: f64,
}

impl Message for Temperature {
    const NAME: &'static str = "house.temperature";
    const VERSION: u16 = 1;
}

#[derive(Clone, Serialize, Deserialize, JsonSchema)]
struct Alarm {
    celsius: f64,
}

impl Message for Alarm {
    const NAME: &'static str = "house.alarm";
    const VERSION: u16 = 1;
}

/// Alarms once when it gets hot. No clock, no I/O: its outputs follow from its inputs.
#[derive(Default, Serialize, Deserialize)]
struct Guard {
    is_hot: bool,
}

impl Component for Guard {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let celsius = event.get::<Temperature>()?.celsius;
        if celsius > 30.0 && !self.is_hot {
            cx.publish("alarm", Alarm { celsius })?;
        }
        self.is_hot = celsius > 30.0;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data always encodes")
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        *self = postcard::from_bytes(snapshot).map_err(|e| Fault::Snapshot { reason: e.to_string() })?;
        Ok(())
    }
}

/// Stands at the door and waits; the readings of this example come through the API's way instead.
struct Thermometer;

impl Service for Thermometer {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> csf_runtime::BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            cx.stopping().await;
            Ok(())
        })
    }
}

struct House;

impl Pack for House {
    fn manifest(&self) -> Manifest {
        Manifest { name: "house", doc: "a house with a thermometer" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let thermometer = registrar.service::<NoOptions, _>("thermometer", "waits at the door", |_| Thermometer);
        thermometer.writes::<Temperature>("temperature").done();
        let guard = registrar.component::<NoOptions, _>("guard", "alarms when it gets hot", |_| Guard::default());
        guard.reads::<Temperature>().writes::<Alarm>("alarm").done();
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(House)];
    let catalogue = Arc::new(Catalogue::of(&packs));
    let directory = std::env::temp_dir().join(format!("csf-example-{}", std::process::id()));
    let node = start(&catalogue, directory.clone()).await?;

    for celsius in [21.0, 29.0, 31.0] {
        node.publish_json("house.temperature", serde_json::json!({ "celsius": celsius }))?;
    }
    node.settle().await;
    let alarm = node.feed().last_values().remove("house.alarm").ok_or("no alarm")?;
    let id = alarm.packet.header.id;
    let mut reader = node.reader()?;
    let why = Provenance::new(reader.as_mut(), &catalogue)?.why(id, 1)?.ok_or("not recorded")?;
    println!("alarm {id} at {:.1} °C", why.packet.payload["celsius"].as_f64().unwrap_or(f64::NAN));
    println!("because of {} by {}", why.causes[0].packet.id, why.causes[0].packet.author);
    node.shutdown().await;

    let report = replay(reader.as_mut(), &catalogue, None, &mut |_| ())?.report;
    println!(
        "replayed {} deliveries, {} of {} outputs equal bit for bit",
        report.deliveries, report.equal, report.compared
    );
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

async fn start(
    catalogue: &Arc<Catalogue>,
    directory: std::path::PathBuf,
) -> Result<Arc<Node>, Box<dyn std::error::Error>> {
    let source = Arc::new(Source { name: "example".to_owned(), text: CONFIG.to_owned() });
    let item = Item::parse(&source).map_err(|problems| problems[0].message.clone())?;
    let (settings, _) = Settings::read(&item);
    let topology = Topology::check(settings, catalogue).map_err(|problems| problems[0].message.clone())?;
    let clock: Arc<dyn TimeSource> = csf_time::SystemClock::detect()?;
    let (write, read) = (directory.clone(), directory.clone());
    let options = BootOptions {
        topology,
        catalogue: catalogue.clone(),
        clock_report: None,
        process_start: Stamp(clock.now_ns()?.as_nanos()),
        clock,
        journal: directory.display().to_string(),
        directory,
        open_journal: Box::new(move || Ok(Box::new(SqliteJournal::open(&write, &JournalOptions::default())?))),
        open_reader: Arc::new(move || Ok(Box::new(SqliteReader::open_read_only(&read)?))),
        listen: None,
        build_id: "example".to_owned(),
        spin_ns: 0,
        world: csf_runtime::World::machine(),
        interrupt: Interrupt::default(),
        attachments: Vec::new(),
        on_phase: Box::new(|_| ()),
    };
    Ok(boot(options).await?)
}
