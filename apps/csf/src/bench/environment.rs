//! The bus path of a bench against the performance requirements of an environment (INT-086).

use csf_runtime::requirement::{Figure, Judgement, PathMeasurement, PerformanceRequirements};

use super::row::Row;

/// The rows that measure the path, and what they say of it.
const LATENCY: &str = "latency.task";
const THROUGHPUT: &str = "throughput.single";
const PATH: &str = "bus, one publisher to one reader, 64 B (latency.task, throughput.single)";

/// Judges the rows of the bus path over all their samples: the mean latency, and the rate of all packets together.
pub(crate) fn judge(requirements: &PerformanceRequirements, rows: &[Row]) -> [Judgement; 2] {
    // Each sample of a rate is of equally many packets, so the rate of all of them is the harmonic mean.
    let harmonic = |rates: &[f64]| rates.len() as f64 / rates.iter().map(|rate| rate.recip()).sum::<f64>();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    requirements.judge(&PathMeasurement {
        name: PATH.to_owned(),
        latency_us: figure(rows, LATENCY, |samples_ns| mean(samples_ns) / 1e3),
        throughput_msg_per_sec: figure(rows, THROUGHPUT, |samples_mega| harmonic(samples_mega) * 1e6),
    })
}

fn figure(rows: &[Row], id: &str, of: impl Fn(&[f64]) -> f64) -> Figure {
    let Some(row) = rows.iter().find(|row| row.spec.id == id) else {
        return Figure::NotMeasured(format!("there is no row {id}"));
    };
    match &row.ours {
        Ok(ours) => {
            let samples = ours.rounds.concat();
            Figure::Measured { value: of(&samples), samples: samples.len() as u64 }
        }
        Err(reason) => Figure::NotMeasured(reason.clone()),
    }
}

#[cfg(test)]
mod tests {
    use csf_runtime::requirement::Ruling;

    use super::super::channel::{LANE, Probe, Rx, lane};
    use super::super::experiment::{Effort, Experiment, Load};
    use super::super::latency::one_task;
    use super::super::row::{Spec, Unit};
    use super::super::stopwatch::Stopwatch;
    use super::super::throughput::full_speed;
    use super::*;

    /// Longer than production allows a packet.
    const SLOWED_NS: u64 = 2_000;

    /// A reader that takes its time with every packet.
    struct Slowed<R>(R, Stopwatch);

    impl<R> Slowed<R> {
        fn take(clock: &Stopwatch, probe: &Probe, mut take: impl FnMut(&Probe)) {
            let until_ns = clock.now_ns() + SLOWED_NS;
            while clock.now_ns() < until_ns {
                std::hint::spin_loop();
            }
            take(probe);
        }
    }

    impl<R: Rx> Rx for Slowed<R> {
        fn try_take(&mut self, mut take: impl FnMut(&Probe)) -> bool {
            let Self(inner, clock) = self;
            inner.try_take(|probe| Self::take(clock, probe, &mut take))
        }

        fn wait(&mut self, mut take: impl FnMut(&Probe)) {
            let Self(inner, clock) = self;
            inner.wait(|probe| Self::take(clock, probe, &mut take));
        }

        fn wait_many(&mut self, mut take: impl FnMut(&Probe)) {
            let Self(inner, clock) = self;
            inner.wait_many(|probe| Self::take(clock, probe, &mut take));
        }
    }

    /// However fast the machine is: 2 µs for every packet are more than 1 µs, and less than a million packets a second.
    #[test]
    fn an_artificially_slowed_bus_breaks_both_limits_of_production() {
        let slowed = || {
            let clock = Stopwatch::get()?;
            let (publisher, subscriber) = lane(&clock, 64)?;
            Ok::<_, String>((publisher, Slowed(subscriber, clock)))
        };
        let row =
            |id, unit, load| Experiment::new(id, vec![load], vec![Spec::new(id, id, unit, LANE)]).run(1, Effort(0.001));
        let mut rows = row(LATENCY, Unit::Ns, Load::new(LANE, move |effort| one_task(slowed()?, effort)));
        rows.extend(row(THROUGHPUT, Unit::MessagesPerUs, Load::new(LANE, move |effort| full_speed(slowed()?, effort))));
        let judged = judge(&PerformanceRequirements::PRODUCTION, &rows);
        for judgement in &judged {
            assert_eq!(judgement.ruling, Ruling::Broken, "{judgement}");
            assert!(judgement.to_string().starts_with(PATH), "{judgement}");
        }
        let easy = PerformanceRequirements { max_latency_us: u64::MAX, min_throughput_msg_per_sec: 0 };
        assert!(judge(&easy, &rows).iter().all(|judgement| judgement.ruling == Ruling::Kept));
        assert!(judge(&easy, &[]).iter().all(|judgement| judgement.ruling == Ruling::NotJudged));
    }
}
