//! INT-003: an order starts a component, which asks a service and waits for its answer under a deadline, and tells others without waiting. What
//! came of it is one trace, in the order of its causes.

use std::sync::Arc;
use std::time::Duration;

use csf_bus::Interest;
use csf_core::Attributes;
use csf_core::port::{Append, Json, NewEvent};
use csf_core::prelude::*;
use csf_data::SqliteReader;
use csf_runtime::integrate::{ServiceInfo, ServiceRequest, ServiceResponse, ServiceStatus};
use csf_runtime::node::Node;
use csf_runtime::provenance::{Relation, WhyNode};
use csf_runtime::replay::replay;
use csf_runtime::{BoxFuture, Catalogue, Manifest, NoOptions, Pack, Registrar, Service, ServiceContext, ServiceError};
use csf_tests::{Backing, IntegrationTestHarness};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::node::Running;

/// How long the answer of the stock is of use.
const TIMEOUT_MS: u32 = 30_000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Order {
    item: String,
}

impl Message for Order {
    const NAME: &'static str = "shop.order";
    const VERSION: u16 = 1;
}

/// What the desk tells others, who need not answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
struct Progress {
    state: String,
}

impl Message for Progress {
    const NAME: &'static str = "shop.progress";
    const VERSION: u16 = 1;
}

/// Takes orders: tells that they are there, asks the stock, tells how it ended.
struct Desk;

impl Component for Desk {
    fn on_event(&mut self, cx: &mut Context<'_>, event: &Event<'_>) -> Result<(), Fault> {
        if let Some(order) = event.try_get::<Order>() {
            cx.publish("progress", Progress { state: "received".to_owned() })?;
            let request = ServiceRequest {
                service_id: "stock".to_owned(),
                operation: "reserve".to_owned(),
                payload: order.item.clone().into_bytes(),
                timeout_ms: TIMEOUT_MS,
            };
            let deadline = cx.now().after(u64::from(TIMEOUT_MS) * 1_000_000);
            cx.publish_with("request", request, Attributes::default().with_deadline(deadline))?;
        }
        if let Some(response) = event.try_get::<ServiceResponse>() {
            let state = if response.status == ServiceStatus::Success { "reserved" } else { "refused" };
            cx.publish("progress", Progress { state: state.to_owned() })?;
        }
        Ok(())
    }

    fn snapshot(&self) -> Vec<u8> {
        Vec::new()
    }

    fn restore(&mut self, _snapshot: &[u8]) -> Result<(), Fault> {
        Ok(())
    }
}

/// Brings orders; the test publishes them.
struct Shop;

impl Service for Shop {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            cx.stopping().await;
            Ok(())
        })
    }
}

/// Has lamps and nothing else.
struct Stock;

impl Service for Stock {
    fn run(self: Box<Self>, mut cx: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        let service = ServiceInfo::new("stock", |request: &ServiceRequest| {
            let has = request.payload == b"lamp";
            Box::pin(async move { if has { Ok(b"shelf 7".to_vec()) } else { Err("not in stock".to_owned()) } })
        });
        Box::pin(async move { cx.answer("requests", "response", service).await })
    }
}

struct ShopPack;

impl Pack for ShopPack {
    fn manifest(&self) -> Manifest {
        Manifest { name: "shop", doc: "for tests" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        registrar.service::<NoOptions, _>("shop", "orders", |_| Shop).writes::<Order>("order").done();
        let stock = registrar.service::<NoOptions, _>("stock", "answers", |_| Stock);
        stock.writes::<ServiceResponse>("response").done();
        let desk = registrar.component::<NoOptions, _>("desk", "takes orders", |_| Desk);
        desk.reads::<Order>()
            .reads::<ServiceResponse>()
            .writes::<ServiceRequest>("request")
            .writes::<Progress>("progress")
            .done();
    }
}

const CONFIG: &str = r#"
[source.shop]
type = "shop.shop"
writes = { order = "orders" }

[service.stock]
type = "shop.stock"
writes = { response = "responses" }

[component.desk]
type = "shop.desk"
reads = ["orders", "responses"]
writes = { request = "requests", progress = "progress" }
"#;

/// Writes into the log how orders ended, each time because of the packet that said so. Ends with the second state.
async fn keep_books(node: Arc<Node>) -> u64 {
    let mut progress =
        node.bus().subscriber::<Progress>("progress", Interest::new().label("books")).expect("it was declared");
    let log = node.log();
    let mut last = 0;
    for _ in 0..2 {
        let (header, progress) = progress.recv().await;
        let now = Stamp(node.bus().config().time_source.now_ns().unwrap().as_nanos());
        let data = Json::of(&json!({ "state": progress.state })).unwrap();
        let event = NewEvent::new("order-17", progress.state, now, data).caused_by(&header);
        last = log.append(Append::from(event)).await.unwrap().last;
    }
    last
}

/// From the newest back to the first cause, along the triggers.
fn chain(node: &WhyNode) -> Vec<&WhyNode> {
    let trigger = node.causes.iter().find(|cause| cause.relation == Relation::Trigger);
    let mut chain = vec![node];
    chain.extend(trigger.into_iter().flat_map(self::chain));
    chain
}

fn stamp(node: &WhyNode) -> u64 {
    node.packet.stamp.parse().unwrap()
}

/// Every effect is later than its cause, all the way down. Returns what there is, as `topic`.
fn ordered(effects: &[WhyNode], cause: u64, found: &mut Vec<String>) {
    for effect in effects {
        assert!(stamp(effect) > cause, "{} is not later than its cause", effect.packet.id);
        found.push(effect.packet.topic.clone());
        ordered(&effect.causes, stamp(effect), found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mixed_workflow_is_one_trace_in_causal_order() {
    let harness = IntegrationTestHarness::start(Backing::Embedded).await.unwrap();
    let running = Running::of(harness.folder(), Box::new(ShopPack), CONFIG).await.unwrap();
    let node = running.node.clone();
    let books = tokio::spawn(keep_books(node.clone()));
    // The books are open before the first order comes.
    while node.bus().topic("progress").unwrap().subscriber_count() < 2 {
        tokio::task::yield_now().await;
    }
    let (order, _) = node.publish_json("orders", json!({ "item": "lamp" })).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), books).await.expect("the order ended").unwrap();
    node.feed().durable(order).await.unwrap();
    node.settle().await;

    let (status, answer) = running.ask("GET", &format!("/packets/@{ended}/why"), "").await;
    assert_eq!(status, 200, "{answer}");
    let why: WhyNode = serde_json::from_value(answer).unwrap();
    let chain = chain(&why);
    let topics: Vec<&str> = chain.iter().map(|node| node.packet.topic.as_str()).collect();
    assert_eq!(topics, ["order-17", "progress", "responses", "requests", "orders"]);
    assert!(chain.windows(2).all(|pair| stamp(pair[0]) > stamp(pair[1])), "{why:?}");
    let [event, progress, response, request, root] = chain[..] else { unreachable!() };
    assert_eq!(root.packet.id, order.to_string());
    assert_eq!(event.packet.payload, json!({ "state": "reserved" }));
    // The call, and until when its answer was of use.
    let deadline: u64 = request.packet.deadline.as_ref().unwrap().parse().unwrap();
    assert!(stamp(response) < deadline && deadline - stamp(request) <= u64::from(TIMEOUT_MS) * 1_000_000);
    assert_eq!(
        (&*request.packet.author, &*response.packet.author, &*progress.packet.author),
        ("desk", "stock", "desk")
    );
    assert_eq!(response.packet.payload["status"], "success");

    // The same forward: what was waited for, what was not, and what is in the log.
    let (_, answer) = running.ask("GET", &format!("/packets/{order}/trace"), "").await;
    let effects: Vec<WhyNode> = serde_json::from_value(answer["effects"].clone()).unwrap();
    let mut found = Vec::new();
    ordered(&effects, stamp(root), &mut found);
    found.sort_unstable();
    assert_eq!(found, ["order-17", "order-17", "progress", "progress", "requests", "responses"]);
    node.shutdown().await;

    // What a service answered was recorded: the component does the same again without it.
    let catalogue = Catalogue::of(&[Box::new(ShopPack) as Box<dyn Pack>]);
    let mut reader = SqliteReader::open_read_only(harness.folder()).unwrap();
    let resumed = replay(&mut reader, &catalogue, None, &mut |_| {}).unwrap();
    let report = resumed.report;
    assert_eq!((report.deliveries, report.first_difference), (2, None));
}
