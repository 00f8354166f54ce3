//! A small world for the tests: a pack with a source that is fed by hand and components that misbehave on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use csf_core::port::{Journal, TimeSource};
use csf_core::prelude::*;
use csf_runtime::config::{Item, Problem, Promises, Settings, Source};
use csf_runtime::node::{BootError, BootOptions, Interrupt, Node, boot};
use csf_runtime::topology::Topology;
use csf_runtime::{
    BoxFuture, Catalogue, Manifest, NoOptions, Options, Pack, Registrar, Service, ServiceContext, ServiceError,
};
use csf_sim::MemoryStore;
use csf_time::SystemClock;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Number {
    #[serde(serialize_with = "speak")]
    pub(crate) value: i64,
}

/// A number that cannot be encoded.
pub(crate) const UNSPEAKABLE: i64 = -13;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form serde wants")]
fn speak<S: serde::Serializer>(value: &i64, to: S) -> Result<S::Ok, S::Error> {
    if *value == UNSPEAKABLE {
        return Err(serde::ser::Error::custom("unspeakable"));
    }
    to.serialize_i64(*value)
}

impl Message for Number {
    const NAME: &'static str = "test.number";
    const VERSION: u16 = 1;
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Sum {
    pub(crate) sum: i64,
}

impl Message for Sum {
    const NAME: &'static str = "test.sum";
    const VERSION: u16 = 1;
}

/// Adds up; fails on -1, panics on -2, sets a timer on -3 that publishes when it is due.
#[derive(Default, Serialize, Deserialize)]
struct Adder {
    sum: i64,
}

impl Component for Adder {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let value = match (event.try_get::<Number>(), event.try_get::<Sum>()) {
            (Some(number), _) => number.value,
            (_, Some(sum)) => sum.sum,
            _ => return Err(Fault::Failed("neither number nor sum".to_owned())),
        };
        match value {
            -1 => {
                cx.publish("sum", Sum { sum: i64::MAX })?;
                return Err(Fault::Failed("minus one".to_owned()));
            }
            -2 => panic!("minus two"),
            -3 => cx.set_timer(TimerId(7), cx.now()),
            value => {
                self.sum += value;
                cx.publish("sum", Sum { sum: self.sum })?;
            }
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, timer: TimerId) -> Result<(), Fault> {
        cx.publish("sum", Sum { sum: 1000 + i64::from(timer.0) })?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.sum.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let bytes = snapshot.try_into().map_err(|_| Fault::Snapshot { reason: "8 bytes expected".to_owned() })?;
        self.sum = i64::from_le_bytes(bytes);
        Ok(())
    }
}

/// Gives other outputs on every run: what replay must find.
struct Liar;

static LIES: AtomicU64 = AtomicU64::new(0);

impl Component for Liar {
    fn on_event(&mut self, cx: &mut Context<'_>, _event: &Event<'_>) -> Result<(), Fault> {
        let lie = LIES.fetch_add(1, Ordering::SeqCst);
        cx.publish("sum", Sum { sum: i64::try_from(lie).unwrap_or(0) })?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Adds up like the adder, but its snapshot forgets the sum.
#[derive(Default)]
struct Forgetful(Adder);

impl Component for Forgetful {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        self.0.on_event(cx, event)
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Whose handler hangs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct HangOptions {
    /// The door it waits at: of one test.
    pub(crate) door: String,
}

impl Options for HangOptions {}

/// Where handlers hang until a test lets them go.
#[derive(Default)]
pub(crate) struct Door {
    is_open: std::sync::Mutex<bool>,
    opens: std::sync::Condvar,
    /// Components that are gone.
    pub(crate) gone: AtomicU64,
}

impl Door {
    pub(crate) fn of(test: &str) -> Arc<Self> {
        static DOORS: std::sync::Mutex<std::collections::BTreeMap<String, Arc<Door>>> =
            std::sync::Mutex::new(std::collections::BTreeMap::new());
        DOORS.lock().unwrap().entry(test.to_owned()).or_default().clone()
    }

    pub(crate) fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opens.notify_all();
    }

    fn pass(&self) {
        drop(self.opens.wait_while(self.is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }
}

/// Repeats numbers; hangs at -9 until its door is opened.
struct Hanger(Arc<Door>);

impl Component for Hanger {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let number = event.get::<Number>()?;
        if number.value == -9 {
            self.0.pass();
        }
        cx.publish("sum", Sum { sum: number.value }).map(drop)
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

impl Drop for Hanger {
    fn drop(&mut self) {
        self.0.gone.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CountOptions {
    /// Numbers published at the start.
    pub(crate) count: i64,
}

impl Options for CountOptions {
    fn validate(&self) -> Vec<String> {
        if self.count < 0 { vec![format!("`count` = {} is negative", self.count)] } else { Vec::new() }
    }
}

/// Publishes `0..count`, going on where the journal ends, then waits for the stop.
struct Counter(i64);

impl Service for Counter {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Some(mut out) = cx.publisher::<Number>("number")? else { return Ok(()) };
            for value in i64::try_from(cx.recorded("number")).unwrap_or(0)..self.0 {
                out.publish(Number { value }, csf_core::Attributes::default()).await?;
            }
            cx.stopping().await;
            Ok(())
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LeaverOptions {
    last: i64,
}

impl Options for LeaverOptions {}

/// Asked to stop, it publishes a last number, and goes when a keeper panicked over it, if it is one for that.
struct Leaver(i64);

/// Panics of keepers that a [`Leaver`] waits for.
static PANICS: AtomicU64 = AtomicU64::new(0);

impl Service for Leaver {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Some(mut out) = cx.publisher::<Number>("number")? else { return Ok(()) };
            cx.stopping().await;
            let before = PANICS.load(Ordering::SeqCst);
            out.publish(Number { value: self.0 }, csf_core::Attributes::default()).await?;
            while self.0 == -2 && PANICS.load(Ordering::SeqCst) == before {
                tokio::task::yield_now().await;
            }
            Ok(())
        })
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeeperOptions {
    /// What a number counts for.
    times: i64,
    /// Whether it goes on from an instance with other options.
    #[serde(default)]
    takes_over: bool,
}

impl Options for KeeperOptions {}

/// Adds up numbers times what its options say; panics on -2, sets a timer of a minute on -4.
struct Keeper {
    options: KeeperOptions,
    adder: Adder,
}

impl Component for Keeper {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let value = event.get::<Number>()?.value;
        if value == -2 {
            PANICS.fetch_add(1, Ordering::SeqCst);
            panic!("minus two");
        }
        if value == -4 {
            cx.set_timer(TimerId(1), cx.now().after(60_000_000_000));
        }
        self.adder.sum += value * self.options.times;
        cx.publish("sum", Sum { sum: self.adder.sum })?;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.adder.snapshot()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        self.adder.restore(snapshot)
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, _timer: TimerId) -> Result<(), Fault> {
        cx.publish("sum", Sum { sum: 1000 + self.adder.sum })?;
        Ok(())
    }

    fn take_over(&mut self, snapshot: &[u8]) -> bool {
        self.options.takes_over && self.restore(snapshot).is_ok()
    }
}

/// How a service goes wrong.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FlakyOptions {
    /// Whose failures are counted: of one test.
    pub(crate) test: String,
    /// Runs that fail before one goes on.
    pub(crate) failures: u32,
    /// Whether it panics instead.
    pub(crate) panics: bool,
    /// Whether it ignores being asked to stop.
    pub(crate) is_stubborn: bool,
}

impl Options for FlakyOptions {}

/// Fails so many times over all its instances, then waits for the stop.
struct Flaky(FlakyOptions);

/// Runs so far, by test.
static RUNS: std::sync::Mutex<std::collections::BTreeMap<String, u32>> =
    std::sync::Mutex::new(std::collections::BTreeMap::new());

impl FlakyOptions {
    fn runs(&self) -> u32 {
        let mut runs = RUNS.lock().unwrap();
        let runs = runs.entry(self.test.clone()).or_default();
        *runs += 1;
        *runs
    }
}

impl Service for Flaky {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            if self.0.runs() <= self.0.failures {
                assert!(!self.0.panics, "on purpose");
                return Err(ServiceError::Failed { code: "CSF-0299", message: "on purpose".to_owned() });
            }
            cx.stopping().await;
            if self.0.is_stubborn {
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

struct TestPack;

impl Pack for TestPack {
    fn manifest(&self) -> Manifest {
        Manifest { name: "test", doc: "for tests" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let counter = registrar.service::<CountOptions, _>("counter", "counts", |o| Counter(o.count));
        counter.writes::<Number>("number").done();
        let recounter = registrar.service::<CountOptions, _>("recounter", "counts too", |o| Counter(o.count));
        recounter.writes::<Number>("number").done();
        let leaver = registrar.service::<LeaverOptions, _>("leaver", "goes with a number", |o| Leaver(o.last));
        leaver.writes::<Number>("number").done();
        let flaky = registrar.service::<FlakyOptions, _>("flaky", "goes wrong", |o| Flaky(o.clone()));
        let promises = Promises { latency: Some(std::time::Duration::from_millis(50)), ..Promises::default() };
        flaky.offers("wobble", "does what it can").promises(promises).done();
        let adder = registrar.component::<NoOptions, _>("adder", "adds", |_| Adder::default());
        adder.reads::<Number>().reads::<Sum>().writes::<Sum>("sum").done();
        let keeper = |o: &KeeperOptions| Keeper { options: o.clone(), adder: Adder::default() };
        registrar
            .component::<KeeperOptions, _>("keeper", "keeps", keeper)
            .reads::<Number>()
            .writes::<Sum>("sum")
            .done();
        let hanger = registrar.component::<HangOptions, _>("hanger", "hangs", |o| Hanger(Door::of(&o.door)));
        hanger.reads::<Number>().writes::<Sum>("sum").done();
        let forgetful = registrar.component::<NoOptions, _>("forgetful", "forgets", |_| Forgetful::default());
        forgetful.reads::<Number>().writes::<Sum>("sum").done();
        let liar = registrar.component::<NoOptions, _>("liar", "lies", |_| Liar);
        liar.reads::<Number>().writes::<Sum>("sum").done();
    }
}

pub(crate) fn catalogue() -> Arc<Catalogue> {
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(TestPack)];
    Arc::new(Catalogue::of(&packs))
}

pub(crate) fn check(text: &str) -> Result<Topology, Vec<Problem>> {
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() });
    let item = Item::parse(&source)?;
    let (settings, mut problems) = Settings::read(&item);
    match Topology::check(settings, &catalogue()) {
        Ok(topology) if problems.is_empty() => Ok(topology),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

pub(crate) const SMALL: &str = r#"
[source.numbers]
type = "test.counter"
writes = { number = "n" }

[component.adder]
type = "test.adder"
reads = ["n"]
writes = { sum = "s" }
"#;

pub(crate) fn options(text: &str, store: &MemoryStore) -> BootOptions {
    options_in(csf_runtime::World::machine(), text, store)
}

pub(crate) fn options_in(world: csf_runtime::World, text: &str, store: &MemoryStore) -> BootOptions {
    let clock: Arc<dyn TimeSource> = SystemClock::detect().unwrap();
    let (write, read) = (store.clone(), store.clone());
    BootOptions {
        topology: check(text).unwrap(),
        catalogue: catalogue(),
        clock_report: None,
        process_start: Stamp(clock.now_ns().unwrap().as_nanos()),
        clock,
        directory: std::env::temp_dir(),
        journal: "memory".to_owned(),
        open_journal: Box::new(move || Ok(Box::new(write.open()?) as Box<dyn Journal>)),
        open_reader: Arc::new(move || Ok(read.reader())),
        listen: None,
        build_id: "test".to_owned(),
        spin_ns: 0,
        world,
        interrupt: Interrupt::default(),
        attachments: Vec::new(),
        on_phase: Box::new(|_| ()),
    }
}

pub(crate) async fn start(text: &str, store: &MemoryStore) -> Result<Arc<Node>, BootError> {
    boot(options(text, store)).await
}
