//! FAB-111 and FAB-112: events that are stored and then told on the bus, commands that lead to them, queries that ask nobody else.

use std::convert::Infallible;
use std::sync::Arc;

use csf_bus::{BusConfig, Interest, PhaseCoherenceBus};
use csf_core::port::{EventBusRx, EventId, EventLog, ExpectedVersion, Filter, Json, LogError, Refused, StoredEvent};
use csf_core::{ComponentId, Priority, Stamp};
use csf_data::aggregate::{Aggregate, CommandError, Request};
use csf_data::cqrs::{CommandHandler, Query, QueryHandler, ReadModelStore};
use csf_data::event_store::{DomainEvent, EventStore, EventStoreError, TARGETS};
use csf_data::model::{ModelError, Projection, ReadModel, Rows, SqliteModels};
use csf_data::{JournalOptions, SharedLog, SqliteJournal};
use csf_runtime::TokioWorld;
use csf_tests::{Backing, IntegrationTestHarness};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Counter {
    sum: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Counted {
    Added { amount: u64 },
}

impl Aggregate for Counter {
    const CATEGORY: &'static str = "counter";
    type Command = u64;
    type Event = Counted;
    type Refusal = Infallible;

    fn decide(&self, amount: u64) -> Result<Vec<Counted>, Infallible> {
        Ok(vec![Counted::Added { amount }])
    }

    fn apply(&mut self, event: Counted) {
        let Counted::Added { amount } = event;
        self.sum += amount;
    }
}

struct Sums;

impl ReadModel for Sums {
    fn name(&self) -> &'static str {
        "sums"
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter::category(Counter::CATEGORY)
    }

    fn apply(&mut self, event: &StoredEvent, rows: &mut dyn Rows) -> Result<(), ModelError> {
        let Counted::Added { amount } = event
            .parse()
            .map_err(|e: serde_json::Error| ModelError::Event { position: event.position, reason: e.to_string() })?;
        let sum: u64 = rows.value("sum", &event.stream)?.unwrap_or_default();
        rows.set("sum", &event.stream, &(sum + amount))
    }
}

struct SumOf(&'static str);

impl Query for SumOf {
    type Result = Option<u64>;

    fn run(&self, rows: &mut dyn Rows) -> Result<Option<u64>, ModelError> {
        rows.value("sum", self.0)
    }
}

struct Parts {
    bus: PhaseCoherenceBus,
    log: Arc<dyn EventLog>,
    store: EventStore,
    harness: IntegrationTestHarness,
}

async fn parts() -> Parts {
    let harness = IntegrationTestHarness::start(Backing::Embedded).await.unwrap();
    let journal = SqliteJournal::open(&harness.folder().join("journal"), &JournalOptions::default()).unwrap();
    let log: Arc<dyn EventLog> = Arc::new(SharedLog::start(Box::new(journal)).unwrap());
    let bus = PhaseCoherenceBus::new(BusConfig::default());
    let filter = Filter::category(Counter::CATEGORY);
    let store = EventStore::start(bus.clone(), log.clone(), filter, &TokioWorld::current());
    Parts { bus, log, store, harness }
}

fn added(amount: u64) -> DomainEvent {
    let data = Json::of(&json!({ "type": "added", "amount": amount })).unwrap();
    DomainEvent::new("a", "added", data, Stamp(amount))
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_events_are_told_on_the_bus_in_order_and_a_stale_version_is_rejected() {
    let Parts { bus, log, store, harness: _harness } = parts().await;
    let mut told = bus.subscribe::<DomainEvent>().await.unwrap();
    let mut others = bus.receiver::<DomainEvent>(Interest::new().mask(1 << 9)).unwrap();
    let first = store.append_events("counter-a", ExpectedVersion::NoStream, vec![added(1), added(2)]).await.unwrap();
    let refused = store.append_events("counter-a", ExpectedVersion::Exactly(1), vec![added(9)]).await.unwrap_err();
    let EventStoreError::Log(LogError::Refused(Refused::WrongVersion { actual, .. })) = refused else {
        panic!("{refused}")
    };
    assert_eq!(actual, 2);
    let foreign = store.append_events("counter-b", ExpectedVersion::Any, vec![added(9)]).await.unwrap_err();
    assert!(matches!(foreign, EventStoreError::OtherAggregate { .. }), "{foreign}");
    let last = store.append_events("counter-a", ExpectedVersion::Exactly(2), vec![added(3)]).await.unwrap();
    assert_eq!((first.version, last.version), (2, 3));

    for version in 1..=3 {
        let packet = told.recv().await.unwrap();
        assert_eq!((packet.payload.version, packet.payload.timestamp), (version, Stamp(version)));
        assert_eq!(packet.payload.aggregate_id, "a");
        let routing = &packet.routing_metadata;
        assert_eq!((routing.source_id, routing.priority), (ComponentId::EventStore, Priority::High));
        assert_eq!(routing.target_component_mask, TARGETS);
        // What is told is in the log.
        let stored = store.read_events("counter-a", version, 1).await.unwrap();
        assert_eq!(stored, std::slice::from_ref(&packet.payload));
    }
    assert!(store.told(last.last).await && store.untold() == 0);
    assert!(others.try_recv().is_none(), "component 9 is none of the first eight");

    // A replay rebuilds the same state, whoever reads.
    let by_events = store.read_events("counter-a", 1, usize::MAX).await.unwrap();
    let mut rebuilt = Counter::default();
    by_events.iter().for_each(|event| rebuilt.apply(event.event_data.parse().unwrap()));
    let handler = CommandHandler::<Counter>::new(log);
    assert_eq!(handler.aggregates().load("a").await.unwrap().state, rebuilt);
    assert_eq!(rebuilt.sum, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_models_follow_commands_and_ten_thousand_queries_add_no_subscription() {
    let Parts { bus, log, store, harness } = parts().await;
    let models = SqliteModels::open(&harness.folder().join("journal")).unwrap();
    let projection = Projection::start(log.clone(), Box::new(models), Sums, &TokioWorld::current()).unwrap();
    let read_models = Arc::new(ReadModelStore::new(projection));
    let (commands, queries) = (CommandHandler::<Counter>::new(log), QueryHandler::new(read_models.clone()));
    assert_eq!(queries.handle_query(&SumOf("counter-a")).unwrap(), None);

    let request = |n: u128| Request { id: Some(EventId::from_u128(n)), ..Request::default() };
    let first = commands.handle_command(5, "a", ExpectedVersion::NoStream, &request(1)).await.unwrap();
    let again = commands.handle_command(5, "a", ExpectedVersion::NoStream, &request(1)).await.unwrap();
    assert_eq!((again.position, again.receipt), (first.position, None), "the same request");
    let stale = commands.handle_command(5, "a", ExpectedVersion::Exactly(0), &request(2)).await.unwrap_err();
    let CommandError::Log(LogError::Refused(Refused::WrongVersion { actual: 1, .. })) = stale else {
        panic!("{stale}")
    };
    let second = commands.handle_command(7, "a", ExpectedVersion::Exactly(1), &request(3)).await.unwrap();
    assert!(read_models.update_from_event(second.position).await && store.told(second.position).await);

    let before = (bus.subscription_count(), bus.get_stats().packets_published);
    for _ in 0..10_000 {
        assert_eq!(queries.handle_query(&SumOf("counter-a")).unwrap(), Some(12));
    }
    assert_eq!((bus.subscription_count(), bus.get_stats().packets_published), before);
}
