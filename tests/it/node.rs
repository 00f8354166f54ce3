//! A whole node for a test: a small pack, a journal on disk, the API on a free port.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use csf_core::port::{Journal, JournalReader, TimeSource};
use csf_core::prelude::*;
use csf_data::{JournalOptions, SqliteJournal, SqliteReader};
use csf_gateway::{Access, Gateway};
use csf_runtime::config::{Item, Settings, Source};
use csf_runtime::node::{BootError, BootOptions, Interrupt, Node, Phase, boot};
use csf_runtime::topology::Topology;
use csf_runtime::{
    BoxFuture, Catalogue, Manifest, NoOptions, Pack, Registrar, Service, ServiceContext, ServiceError, World,
};
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Number {
    value: i64,
}

impl Message for Number {
    const NAME: &'static str = "test.number";
    const VERSION: u16 = 1;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sum {
    sum: i64,
}

impl Message for Sum {
    const NAME: &'static str = "test.sum";
    const VERSION: u16 = 1;
}

#[derive(Default)]
struct Adder(i64);

impl Component for Adder {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        if let Some(number) = event.try_get::<Number>() {
            self.0 += number.value;
            cx.publish("sum", Sum { sum: self.0 })?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let bytes = snapshot.try_into().map_err(|_| Fault::Snapshot { reason: "8 bytes expected".to_owned() })?;
        self.0 = i64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Brings nothing by itself; others publish on its topic.
struct Quiet;

impl Service for Quiet {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            cx.stopping().await;
            Ok(())
        })
    }
}

struct SmallPack;

impl Pack for SmallPack {
    fn manifest(&self) -> Manifest {
        Manifest { name: "test", doc: "for tests" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let quiet = registrar.service::<NoOptions, _>("quiet", "waits", |_| Quiet);
        quiet.writes::<Number>("number").done();
        let adder = registrar.component::<NoOptions, _>("adder", "adds", |_| Adder::default());
        adder.reads::<Number>().writes::<Sum>("sum").done();
    }
}

const CONFIG: &str = r#"
[source.numbers]
type = "test.quiet"
writes = { number = "n" }

[component.adder]
type = "test.adder"
reads = ["n"]
writes = { sum = "s" }
"#;

/// Names of the start's phases, as they ended.
pub(crate) type Told = Arc<Mutex<Vec<(u8, String)>>>;

/// Everything a start needs, with its journal in `directory`; no address is taken.
pub(crate) fn options(directory: &Path) -> (BootOptions, Told) {
    options_of(directory, Box::new(SmallPack), CONFIG)
}

/// The same with a pack and a configuration of one's own.
fn options_of(directory: &Path, pack: Box<dyn Pack>, configuration: &str) -> (BootOptions, Told) {
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text: configuration.to_owned() });
    let (settings, problems) = Settings::read(&Item::parse(&source).unwrap());
    assert!(problems.is_empty());
    let packs = vec![pack];
    let catalogue = Arc::new(Catalogue::of(&packs));
    let clock: Arc<dyn TimeSource> = SystemClock::detect().unwrap();
    let (write, read): (PathBuf, PathBuf) = (directory.into(), directory.into());
    let told = Told::default();
    let tell = told.clone();
    let options = BootOptions {
        world: World::machine(),
        topology: Topology::check(settings, &catalogue).unwrap(),
        catalogue,
        clock_report: None,
        process_start: Stamp(clock.now_ns().unwrap().as_nanos()),
        clock,
        directory: directory.into(),
        journal: directory.display().to_string(),
        open_journal: Box::new(move || {
            Ok(Box::new(SqliteJournal::open(&write, &JournalOptions::default())?) as Box<dyn Journal>)
        }),
        open_reader: Arc::new(move || Ok(Box::new(SqliteReader::open_read_only(&read)?) as Box<dyn JournalReader>)),
        listen: None,
        build_id: "test".to_owned(),
        spin_ns: 0,
        interrupt: Interrupt::default(),
        attachments: Vec::new(),
        on_phase: Box::new(move |phase: &Phase| tell.lock().unwrap().push((phase.number, phase.name.clone()))),
    };
    (options, told)
}

/// A running node with its API.
pub(crate) struct Running {
    pub(crate) node: Arc<Node>,
    pub(crate) told: Told,
    address: SocketAddr,
    token: String,
}

impl Running {
    pub(crate) async fn start(directory: &Path) -> Result<Self, BootError> {
        Self::start_with(options(directory)).await
    }

    /// A node of another pack.
    pub(crate) async fn of(directory: &Path, pack: Box<dyn Pack>, configuration: &str) -> Result<Self, BootError> {
        Self::start_with(options_of(directory, pack, configuration)).await
    }

    async fn start_with((mut options, told): (BootOptions, Told)) -> Result<Self, BootError> {
        let access = Access::new().unwrap();
        let bound = Gateway::bind("127.0.0.1:0".parse().unwrap(), access.clone()).unwrap();
        let address = bound.address();
        options.attachments.push(Box::new(move |node| bound.attach(node)));
        Ok(Self { node: boot(options).await?, told, address, token: access.token().to_owned() })
    }

    /// Status and body of a request with the node's token.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        self.ask_as(&format!("authorization: Bearer {}\r\n", self.token), method, path, body).await
    }

    /// The same with a head of one's own.
    pub(crate) async fn ask_as(&self, who: &str, method: &str, path: &str, body: &str) -> (u16, serde_json::Value) {
        let mut stream = tokio::net::TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} /api/v1{path} HTTP/1.1\r\nhost: {}\r\n{who}content-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split_whitespace().nth(1).unwrap().parse().unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}
