//! The match of a packet against many subscribers' masks (G16).

use csf_bus::Instructions;

use crate::experiment::{Experiment, Side};
use crate::load::{Missing, repeated};
use crate::ours::matching::{subscribers, visit, visit_by_loop};
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

/// Batches of a full run.
const BATCHES: u64 = 200;
/// Packets in each, for 64 subscribers; fewer for more.
const PACKETS: u64 = 4_096;

/// G16.
pub fn experiment() -> Experiment {
    let mut sides = Vec::new();
    let mut specs = Vec::new();
    for count in [64usize, 4096] {
        let packets = PACKETS * 64 / count as u64;
        let scalar = format!("csf-bus/scalar loop, {count}");
        sides.push(Side::new(&scalar, move |effort| {
            let make = move || subscribers(count, Instructions::Scalar).expect("every machine has these");
            Ok(repeated(make, effort.of(BATCHES), packets, visit_by_loop))
        }));
        for (name, instructions) in
            [("scalar", Instructions::Scalar), ("avx2", Instructions::Avx2), ("avx512", Instructions::Avx512)]
        {
            let key = format!("csf-bus/{name}, {count}");
            sides.push(Side::new(&key, move |effort| {
                if subscribers(count, instructions).is_none() {
                    return Err(Missing(format!("this machine has no {name}")));
                }
                let make = move || subscribers(count, instructions).expect("just seen");
                Ok(repeated(make, effort.of(BATCHES), packets, visit))
            }));
            let what = format!("subscriber match, {count} subscribers, {name}");
            let spec = Spec::new(format!("G16.{count}.{name}"), what, Metric::Cost, &key).peers(&[&scalar]);
            let is_goal = count == 4096 && instructions != Instructions::Scalar;
            specs.push(if is_goal { spec.goal(Goal::ratio(Bound::AtMost(0.25))) } else { spec });
        }
    }
    Experiment::new("match", sides, specs)
}
