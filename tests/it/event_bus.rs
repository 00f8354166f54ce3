//! FRM-093: a hundred events, all of them, in order, within a second.

use std::time::Duration;

use csf_core::port::within;
use csf_runtime::TokioWorld;
use csf_tests::{IntegrationTestHarness, TestEvent, TestEventConsumer, TestEventProducer};

use crate::{backings, say};

const EVENTS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_event_bus_integration() {
    for backing in backings() {
        let harness = IntegrationTestHarness::start(backing).await.unwrap();
        say(&format!("events on {}", harness.describe()));
        let consumer = TestEventConsumer::attach_subscription(&harness.test_event_bus).await.unwrap();
        let producer = TestEventProducer::new(&harness.test_event_bus).await.unwrap();
        let sent: Vec<TestEvent> =
            (0..EVENTS).map(|id| TestEvent { id, payload: format!("test_event_{id}") }).collect();
        let all = async {
            for event in &sent {
                producer.emit_event(event.clone()).await.unwrap();
            }
            consumer.until_received(sent.len()).await.unwrap();
        };
        let in_time = within(&TokioWorld::current(), Duration::from_secs(1), all).await;
        assert!(in_time.is_some(), "{} of {EVENTS} in a second on {backing:?}", consumer.received_count());
        assert_eq!(consumer.get_received_events(), sent);
    }
}
