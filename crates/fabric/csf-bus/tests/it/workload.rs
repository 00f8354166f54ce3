//! What is logged of a workload (FAB-102): a slow batch is a warning, any other one a report.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use csf_bus::{BusConfig, PhaseCoherenceBus, WORKLOAD_WARN_NS, WorkloadData, process_high_performance_workload};
use csf_core::port::{EventBusRx, TimeCheckpoint, TimeSource};
use csf_core::{BusError, ComponentId, NanoTime, PhasePacket, TimeResult};
use csf_time::SimulatedClock;
use futures_util::FutureExt;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber, span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A simulated clock that moves by `step` whenever somebody looks at it.
struct Ticking {
    clock: Arc<SimulatedClock>,
    step: Duration,
}

impl TimeSource for Ticking {
    fn now_ns(&self) -> TimeResult<NanoTime> {
        Ok(self.clock.advance(self.step))
    }

    fn has_hardware_timing(&self) -> bool {
        false
    }

    fn create_checkpoint(&self, name: &str) -> TimeResult<TimeCheckpoint> {
        self.clock.create_checkpoint(name)
    }
}

/// Level and fields of an event or span, in their order.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    level: Level,
    fields: Vec<(&'static str, String)>,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() != "message" {
            self.fields.push((field.name(), format!("{value:?}")));
        }
    }
}

#[derive(Clone, Default)]
struct Log {
    events: Arc<Mutex<Vec<Seen>>>,
    spans: Arc<Mutex<Vec<(&'static str, Seen)>>>,
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, _: &span::Id, _: Context<'_, S>) {
        let mut seen = Seen { level: *attributes.metadata().level(), fields: Vec::new() };
        attributes.record(&mut seen);
        self.spans.lock().unwrap().push((attributes.metadata().name(), seen));
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut seen = Seen { level: *event.metadata().level(), fields: Vec::new() };
        event.record(&mut seen);
        self.events.lock().unwrap().push(seen);
    }
}

fn packets(count: u64) -> Vec<PhasePacket<WorkloadData>> {
    let data = |item| WorkloadData { item, bytes: vec![7; 16] };
    (0..count).map(|item| PhasePacket::new(data(item), ComponentId::custom(1))).collect()
}

/// Publishes four packets while every look at the clock takes `step`.
fn logged_with(step: Duration) -> (Log, u64) {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000_000));
    let bus = PhaseCoherenceBus::new(BusConfig::new(Arc::new(Ticking { clock, step })));
    let mut receiver = bus.subscribe::<WorkloadData>().now_or_never().unwrap().unwrap();
    let log = Log::default();
    let report = tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
        process_high_performance_workload(&bus, packets(4)).now_or_never().unwrap().unwrap()
    });
    for (item, id) in report.ids.iter().enumerate() {
        let delivery = receiver.try_recv().unwrap();
        assert_eq!((&delivery.id, delivery.payload.item), (id, item as u64));
    }
    assert!(receiver.try_recv().is_none());
    (log, report.duration_ns)
}

#[test]
fn a_fast_workload_is_reported_with_duration_count_and_throughput() {
    let (log, duration_ns) = logged_with(Duration::from_micros(1));
    assert!((1..=WORKLOAD_WARN_NS).contains(&duration_ns), "{duration_ns}");
    let throughput = 4.0 * 1e9 / duration_ns as f64;
    let fields = vec![
        ("duration_ns", duration_ns.to_string()),
        ("message_count", "4".to_owned()),
        ("throughput", format!("{throughput:?}")),
    ];
    assert_eq!(*log.events.lock().unwrap(), [Seen { level: Level::INFO, fields }]);
}

#[test]
fn a_slow_workload_is_a_warning_with_duration_and_count() {
    let (log, duration_ns) = logged_with(Duration::from_millis(1));
    assert!(duration_ns > WORKLOAD_WARN_NS, "{duration_ns}");
    let fields = vec![("duration_ns", duration_ns.to_string()), ("message_count", "4".to_owned())];
    assert_eq!(*log.events.lock().unwrap(), [Seen { level: Level::WARN, fields }]);
}

/// The limit itself is still fast: the two looks at the clock are one step apart when nothing is published between them.
#[test]
fn exactly_the_limit_is_not_slow() {
    for (step_ns, level) in [(WORKLOAD_WARN_NS, Level::INFO), (WORKLOAD_WARN_NS + 1, Level::WARN)] {
        let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000_000));
        let step = Duration::from_nanos(step_ns);
        let bus = PhaseCoherenceBus::new(BusConfig::new(Arc::new(Ticking { clock, step })));
        let log = Log::default();
        let report = tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
            process_high_performance_workload(&bus, Vec::new()).now_or_never().unwrap().unwrap()
        });
        assert_eq!((report.duration_ns, report.message_count()), (step_ns, 0));
        assert_eq!(log.events.lock().unwrap()[0].level, level);
    }
}

#[test]
fn a_workload_runs_in_a_span_of_level_trace() {
    let (log, _) = logged_with(Duration::from_micros(1));
    let seen = Seen { level: Level::TRACE, fields: vec![("message_count", "4".to_owned())] };
    assert_eq!(*log.spans.lock().unwrap(), [("process_high_performance_workload", seen)]);
}

#[test]
fn a_workload_without_room_is_refused_whole_and_logs_nothing() {
    let clock = SimulatedClock::starting_at(NanoTime::from_nanos(1_000_000));
    let bus = PhaseCoherenceBus::new(BusConfig { channel_buffer_size: 4, ..BusConfig::new(clock) });
    let mut receiver = bus.subscribe::<WorkloadData>().now_or_never().unwrap().unwrap();
    let log = Log::default();
    let outcome = tracing::subscriber::with_default(tracing_subscriber::registry().with(log.clone()), || {
        process_high_performance_workload(&bus, packets(1_000)).now_or_never().unwrap()
    });
    assert!(matches!(outcome, Err(BusError::ResourceExhausted { .. })), "{outcome:?}");
    assert!(receiver.try_recv().is_none());
    assert!(log.events.lock().unwrap().is_empty());
}
