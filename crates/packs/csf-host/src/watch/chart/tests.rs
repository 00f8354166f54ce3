use proptest::prelude::*;

use super::*;

const RULE: ChartRule = ChartRule { weight: 0.003, warm_up: 40, floor: 1e-3 };

fn settled() -> Chart {
    let mut chart = Chart::default();
    for i in 0..200 {
        chart.judge(&RULE, if i % 2 == 0 { 9.0 } else { 11.0 });
    }
    chart
}

#[test]
fn it_is_silent_while_warming_up() {
    let mut chart = Chart::default();
    assert!((0..40).all(|i| chart.judge(&RULE, f64::from(i)).is_none()));
    assert!(chart.judge(&RULE, 20.0).is_some());
}

#[test]
fn it_learns_mean_and_deviation() {
    let mut chart = settled();
    let judged = chart.judge(&RULE, 14.0).unwrap();
    assert!((judged.expected - 10.0).abs() < 0.05, "{judged:?}");
    assert!((judged.sigmas - 4.0).abs() < 0.2, "samples lie one apart from 10, so that is the deviation: {judged:?}");
}

#[test]
fn one_wild_sample_scores_less_than_two_large_ones() {
    let mut chart = settled();
    let mut other = chart;
    let wild = chart.judge(&RULE, 1e9).unwrap().score;
    let first = other.judge(&RULE, 20.0).unwrap().score;
    let second = other.judge(&RULE, 20.0).unwrap().score;
    assert!(wild <= first && second > 1.5 * first, "{wild} {first} {second}");
}

#[test]
fn a_constant_figure_scores_dust_by_its_floor() {
    let mut chart = Chart::default();
    for _ in 0..100 {
        chart.judge(&RULE, 5.0);
    }
    let judged = chart.judge(&RULE, 5.0 + 1e-4).unwrap();
    assert!((judged.sigmas - 0.1).abs() < 1e-6 && judged.score < 0.1, "{judged:?}");
}

#[test]
fn what_is_no_number_leaves_no_trace() {
    let mut chart = settled();
    let before = chart;
    assert!([f64::NAN, f64::INFINITY, f64::NEG_INFINITY].iter().all(|x| chart.judge(&RULE, *x).is_none()));
    assert_eq!(chart, before);
}

proptest! {
    #[test]
    fn its_state_stays_finite(values in prop::collection::vec(any::<f64>(), 0..200)) {
        let mut chart = Chart::default();
        for value in values {
            if let Some(judged) = chart.judge(&RULE, value) {
                prop_assert!(!judged.score.is_nan());
            }
            let state = [chart.mean, chart.variance, chart.smoothed, chart.smoothed_variance];
            prop_assert!(state.iter().all(|s| s.is_finite()), "{chart:?}");
        }
    }
}
