use std::any::{Any, TypeId};

use csf_core::port::Rng as _;
use csf_core::{EffectSink, Header, LaneId, Message, MessageId, TimerId};
use csf_sim::SeededRng;
use proptest::prelude::*;

use super::*;
use crate::message::{Cpu, Memory};
const CPU: &str = "host.cpu";
const TICK_NS: u64 = 200_000_000;

/// Keeps what a handler publishes.
#[derive(Default)]
struct Outbox(Vec<Anomaly>);

impl EffectSink for Outbox {
    fn stage(
        &mut self,
        output: &str,
        _type_id: TypeId,
        value: &mut dyn Any,
        _attributes: Attributes,
    ) -> Result<Option<MessageId>, Fault> {
        assert_eq!(output, ANOMALY);
        self.0.extend(value.downcast_mut::<Option<Anomaly>>().unwrap().take());
        Ok(None)
    }

    fn set_timer(&mut self, _timer: TimerId, _at: Stamp) {}
}

/// Hands `message` to the watch as tick number `tick`.
fn feed<T: Message>(watch: &mut Watch, tick: u64, topic: &str, message: &T) -> Vec<Anomaly> {
    let stamp = Stamp(1_000_000_000 + tick * TICK_NS);
    let header = Header::new(LaneId { node: 1, incarnation: 1, lane: 0 }.message(tick), stamp);
    let mut outbox = Outbox::default();
    watch.on_event(&mut Context::new(stamp, &mut outbox), &Event::new(topic, &header, message)).unwrap();
    outbox.0
}

/// Feeds `values` as the busy share, from tick `start`; anomalies with the index of their value.
fn feed_busy(watch: &mut Watch, start: u64, values: impl IntoIterator<Item = f64>) -> Vec<(usize, Anomaly)> {
    let mut anomalies = Vec::new();
    for (i, busy_share) in values.into_iter().enumerate() {
        let cpu = Cpu { busy_share, ..Cpu::default() };
        anomalies.extend(feed(watch, start + i as u64, CPU, &cpu).into_iter().map(|a| (i, a)));
    }
    anomalies
}

fn only_busy(options: &WatchOptions) -> Watch {
    let others = fields::FIELDS.iter().copied().flatten().map(full_name).filter(|n| n != "host.cpu.busy_share");
    Watch::new(&WatchOptions { ignore: others.collect(), ..options.clone() })
}

/// Evenly distributed within 0..1.
fn uniform(rng: &mut SeededRng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Nearly normal, mean 0 and deviation 1: the sum of twelve even numbers (Irwin 1927, Hall 1927).
fn normal(rng: &mut SeededRng) -> f64 {
    (0..12).map(|_| uniform(rng)).sum::<f64>() - 6.0
}

/// Exponential with mean 1, by inversion.
fn waiting_time(rng: &mut SeededRng) -> f64 {
    -libm::log(1.0 - uniform(rng))
}

fn calm(rng: &mut SeededRng, n: usize) -> Vec<f64> {
    (0..n).map(|_| 0.3 + 0.08 * normal(rng)).collect()
}

#[test]
fn a_planted_step_is_raised_within_three_samples_and_cleared_within_twelve() {
    for seed in 0..50 {
        let mut rng = SeededRng::new(seed);
        let mut watch = only_busy(&WatchOptions::default());
        assert!(feed_busy(&mut watch, 0, calm(&mut rng, 500)).is_empty(), "seed {seed}");
        let step = calm(&mut rng, 20).into_iter().map(|v| v + 0.6);
        let raised = feed_busy(&mut watch, 500, step);
        assert_eq!(raised.len(), 1, "seed {seed}: {raised:?}");
        let (after, anomaly) = &raised[0];
        assert!(*after < 3, "seed {seed}: raised at sample {after} of the step");
        assert_eq!((anomaly.stream.as_str(), anomaly.field.as_str()), (CPU, "busy_share"));
        assert_eq!((anomaly.phase, anomaly.direction), (AnomalyPhase::Raised, Direction::Above));
        assert!((anomaly.expected - 0.3).abs() < 0.1 && anomaly.deviation > 0.2, "{anomaly:?}");
        let cleared = feed_busy(&mut watch, 520, calm(&mut rng, 100));
        assert_eq!(cleared.len(), 1, "seed {seed}: {cleared:?}");
        assert!(cleared[0].0 < 12, "seed {seed}: cleared {} samples after the step", cleared[0].0);
        assert_eq!(cleared[0].1.phase, AnomalyPhase::Cleared);
        assert!((2.0..=7.0).contains(&cleared[0].1.lasted_s), "twenty samples at 5 Hz: {:?}", cleared[0].1);
    }
}

#[test]
fn a_level_that_lasts_becomes_the_expectation() {
    let mut rng = SeededRng::new(7);
    let mut watch = only_busy(&WatchOptions::default());
    feed_busy(&mut watch, 0, calm(&mut rng, 500));
    let lasting = feed_busy(&mut watch, 500, calm(&mut rng, 1000).into_iter().map(|v| v + 0.6));
    assert_eq!(lasting.len(), 2, "{lasting:?}");
    assert!(lasting[1].0 < 240, "one half-life is enough: {}", lasting[1].0);
}

/// Stated rate: at most one false alarm in 20,000 samples of one field (over an hour at 5 Hz), for noise that is normal, for
/// normal noise whose samples follow each other with a correlation of 0.9, and one in 2,000 for noise as skewed as waiting times.
#[test]
fn stationary_noise_stays_below_the_stated_false_alarm_rate() {
    type Noise = fn(&mut SeededRng) -> f64;
    const SAMPLES: usize = 100_000;
    let cases: [(&str, f64, Noise, usize); 3] =
        [("independent", 0.0, normal, 20_000), ("following", 0.9, normal, 20_000), ("skewed", 0.0, waiting_time, 2000)];
    for (name, memory, noise, samples_per_alarm) in cases {
        let mut rng = SeededRng::new(11);
        let mut watch = only_busy(&WatchOptions { raise_interval_s: 0.0, ..WatchOptions::default() });
        let mut level = 0.0;
        let values = (0..SAMPLES).map(|_| {
            level = memory * level + noise(&mut rng);
            100.0 + level
        });
        let anomalies = feed_busy(&mut watch, 0, values);
        let raises = anomalies.iter().filter(|(_, a)| a.phase == AnomalyPhase::Raised).count();
        assert!(raises * samples_per_alarm <= SAMPLES, "{name}: {raises} raises in {SAMPLES} samples");
    }
}

#[test]
fn dust_on_a_quiet_field_is_no_anomaly() {
    let mut rng = SeededRng::new(3);
    let mut watch = only_busy(&WatchOptions::default());
    let mut values = vec![0.0; 500];
    values.extend((0..5000).map(|_| 0.01 * uniform(&mut rng)));
    values.extend(vec![0.05; 500]);
    assert_eq!(feed_busy(&mut watch, 0, values), []);
}

#[test]
fn one_wild_sample_is_no_anomaly() {
    let mut rng = SeededRng::new(5);
    let mut watch = only_busy(&WatchOptions::default());
    let mut values = calm(&mut rng, 500);
    values[450] = 1e12;
    assert_eq!(feed_busy(&mut watch, 0, values), []);
}

#[test]
fn a_field_that_may_fall_is_not_raised_for_falling() {
    let mut watch = only_busy(&WatchOptions::default());
    let values = std::iter::repeat_n(0.9, 500).chain(std::iter::repeat_n(0.0, 50));
    assert_eq!(feed_busy(&mut watch, 0, values), []);
}

#[test]
fn a_field_is_raised_once_per_interval_and_counts_what_it_kept_quiet() {
    // A half-life so long that the peaks never become the expectation.
    let options = WatchOptions { raise_interval_s: 100.0, half_life_samples: 1e6, ..WatchOptions::default() };
    let mut watch = only_busy(&options);
    feed_busy(&mut watch, 0, vec![0.2; 500]);
    // Twelve peaks of 4 s every 20 s: 100 samples each, so that raises are 500 samples apart.
    let peaks = (0..1200).map(|i| if i % 100 < 20 { 0.9 } else { 0.2 });
    let anomalies = feed_busy(&mut watch, 500, peaks);
    let raised: Vec<_> = anomalies.iter().filter(|(_, a)| a.phase == AnomalyPhase::Raised).collect();
    assert!(raised.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 500), "{raised:?}");
    assert!(raised.len() >= 2, "{raised:?}");
    assert_eq!(raised[0].1.muted, 0);
    assert_eq!(raised[1].1.muted, 4, "{raised:?}");
    let cleared = anomalies.len() - raised.len();
    assert_eq!(cleared, raised.len(), "every raise has its clear");
}

#[test]
fn options_ignore_fields_and_set_floors() {
    let step = || std::iter::repeat_n(0.2, 200).chain(std::iter::repeat_n(0.9, 20));
    let name = "host.cpu.busy_share".to_owned();
    let deaf = WatchOptions { ignore: [name.clone()].into(), ..WatchOptions::default() };
    assert_eq!(feed_busy(&mut Watch::new(&deaf), 0, step()), []);
    let coarse = WatchOptions { floors: [(name, 1.0)].into(), ..WatchOptions::default() };
    assert_eq!(feed_busy(&mut Watch::new(&coarse), 0, step()), []);
}

#[test]
fn streams_of_two_machines_have_charts_of_their_own() {
    let mut watch = Watch::new(&WatchOptions::default());
    for tick in 0..200 {
        for (topic, used_share) in [("here.memory", 0.2), ("there.memory", 0.8)] {
            assert_eq!(feed(&mut watch, tick, topic, &Memory { used_share, ..Memory::default() }), []);
        }
    }
}

#[test]
fn a_message_that_is_no_telemetry_is_a_fault() {
    let mut outbox = Outbox::default();
    let header = Header::new(LaneId { node: 1, incarnation: 1, lane: 0 }.message(0), Stamp(1));
    let mut cx = Context::new(Stamp(1), &mut outbox);
    let fault = Watch::new(&WatchOptions::default()).on_event(&mut cx, &Event::new("x", &header, &7u8)).unwrap_err();
    assert!(fault.to_string().contains("`x`"), "{fault}");
}

/// A value of a stream with calm, steps and nonsense.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![8 => 0.2f64..0.4, 2 => 0.9f64..1.0, 1 => any::<f64>()]
}

proptest! {
    #[test]
    fn a_restored_watch_goes_on_bit_for_bit(values in prop::collection::vec(any_value(), 2..300), at in 0.0f64..1.0) {
        let options = WatchOptions { warm_up_samples: 10, raise_interval_s: 2.0, ..WatchOptions::default() };
        let cut = (at * values.len() as f64) as usize;
        let mut whole = Watch::new(&options);
        let mut first = Watch::new(&options);
        feed_busy(&mut first, 0, values[..cut].iter().copied());
        feed_busy(&mut whole, 0, values[..cut].iter().copied());
        let mut second = Watch::new(&options);
        second.restore(&first.snapshot()).unwrap();
        let rest = || values[cut..].iter().copied();
        let expected = feed_busy(&mut whole, cut as u64, rest());
        let actual = feed_busy(&mut second, cut as u64, rest());
        // Compared as bytes: bit for bit, and a value that is no number equals itself.
        let bytes = |a: &Vec<(usize, Anomaly)>| postcard::to_stdvec(a).unwrap();
        prop_assert_eq!(bytes(&actual), bytes(&expected));
        prop_assert_eq!(second.snapshot(), whole.snapshot());
    }

    #[test]
    fn no_bytes_make_restore_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Watch::new(&WatchOptions::default()).restore(&bytes);
    }
}
