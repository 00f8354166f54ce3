//! The pack of the storm: sources that count, relays that hand on, all of it checkable afterwards.

use std::time::Duration;

use csf_core::{Attributes, Component, Context, Event, Fault, Message};
use csf_runtime::{BoxFuture, Manifest, Options, Pack, Registrar, Service, ServiceContext, ServiceError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Time between two bursts of a source.
const BURST_EVERY: Duration = Duration::from_millis(1);

/// What a source counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Number {
    pub(crate) value: u64,
}

impl Message for Number {
    const NAME: &'static str = "storm.number";
    const VERSION: u16 = 1;
}

/// What a relay made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Relayed {
    pub(crate) topic: String,
    pub(crate) value: u64,
    /// How many this relay handed on before, over all its instances that took over from each other.
    pub(crate) count: u64,
    pub(crate) tag: u64,
}

impl Message for Relayed {
    const NAME: &'static str = "storm.relayed";
    const VERSION: u16 = 1;
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SourceOptions {
    rate_hz: u64,
}

impl Options for SourceOptions {}

struct Source(SourceOptions);

impl Service for Source {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let Some(mut numbers) = cx.publisher::<Number>("number")? else { return Ok(()) };
            let first = cx.recorded("number");
            let (begun, mut next) = (cx.now(), first);
            while !cx.is_stopping() {
                let due = first + cx.now().since(begun) * self.0.rate_hz / 1_000_000_000;
                while next < due {
                    numbers.publish(Number { value: next }, Attributes::default()).await?;
                    next += 1;
                }
                cx.pause(u64::try_from(BURST_EVERY.as_nanos()).unwrap_or(u64::MAX)).await;
            }
            Ok(())
        })
    }
}

#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RelayOptions {
    #[serde(default)]
    tag: u64,
}

impl Options for RelayOptions {}

struct Relay {
    tag: u64,
    count: u64,
}

impl Component for Relay {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        let value = match event.try_get::<Number>() {
            Some(number) => number.value,
            None => event.get::<Relayed>()?.value,
        };
        cx.publish("out", Relayed { topic: event.topic.to_owned(), value, count: self.count, tag: self.tag })?;
        self.count += 1;
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        self.count.to_le_bytes().to_vec()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), Fault> {
        let bytes = snapshot.try_into().map_err(|_| Fault::Snapshot { reason: "not eight bytes".to_owned() })?;
        self.count = u64::from_le_bytes(bytes);
        Ok(())
    }

    fn take_over(&mut self, snapshot: &[u8]) -> bool {
        self.restore(snapshot).is_ok()
    }
}

/// The pack.
pub(crate) struct Storm;

impl Pack for Storm {
    fn manifest(&self) -> Manifest {
        Manifest { name: "storm", doc: "load for the reload storm" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        let source = registrar.service::<SourceOptions, _>("source", "counts", |o| Source(o.clone()));
        source.writes::<Number>("number").done();
        let relay = registrar.component::<RelayOptions, _>("relay", "hands on", |o| Relay { tag: o.tag, count: 0 });
        relay.reads::<Number>().reads::<Relayed>().writes::<Relayed>("out").done();
    }
}
