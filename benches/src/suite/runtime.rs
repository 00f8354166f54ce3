//! Actors and supervisors: tells, asks, starts, restarts.

use std::time::Duration;

use crate::experiment::{Experiment, Side};
use crate::ours::actor::{self, Lanes};
use crate::peer::{erlang, kameo, ractor, tasks};
use crate::row::{Bound, Goal, Spec};
use crate::stats::Metric;

const OURS: &str = "csf-runtime";
const TASKS: &str = "tokio/tasks";
const OTP: &str = "Erlang/OTP";
const RACTOR_UNBOUNDED: &str = "ractor/unbounded";
const OTP_UNBOUNDED: &str = "Erlang/OTP, unbounded";

/// Messages of a full run, and of the same for peers of less than a million a second.
const TELLS: u64 = 4_000_000;
const TELLS_SLOW: u64 = 1_000_000;
const ASKS: u64 = 200_000;
const STARTS: u64 = 100_000;
const RESTARTS: u64 = 5_000;

/// Messages into one actor from one sender and from two.
pub fn tells() -> Experiment {
    const OWN: &str = "csf-runtime/own lanes";
    const SHARED: &str = "csf-runtime/one lane";
    let tell = |key: &str, senders, lanes| Side::new(key, move |e| actor::tell(senders, lanes, e.of(TELLS)));
    let two = |key: &str| format!("{key}, two");
    let (two_tasks, two_kameo) = (two("tokio/tasks"), two("kameo/bounded"));
    let (two_ractor, two_otp) = (two(RACTOR_UNBOUNDED), two(OTP_UNBOUNDED));
    let sides = vec![
        tell(OURS, 1, Lanes::Shared),
        tell(OWN, 2, Lanes::Own),
        tell(SHARED, 2, Lanes::Shared),
        Side::new(TASKS, |e| tasks::tell(1, e.of(TELLS))),
        Side::new("kameo", |e| kameo::tell(1, e.of(TELLS_SLOW))),
        Side::new(RACTOR_UNBOUNDED, |e| ractor::tell(1, e.of(TELLS_SLOW))),
        Side::new(OTP_UNBOUNDED, |e| erlang::rate("tell", e.of(TELLS_SLOW), 1)),
        Side::new(&two_tasks, |e| tasks::tell(2, e.of(TELLS))),
        Side::new(&two_kameo, |e| kameo::tell(2, e.of(TELLS_SLOW))),
        Side::new(&two_ractor, |e| ractor::tell(2, e.of(TELLS_SLOW))),
        Side::new(&two_otp, |e| erlang::rate("tell", e.of(TELLS_SLOW), 2)),
    ];
    let peers_of_two = [two_kameo.as_str(), &two_ractor, &two_otp];
    let goal = Goal::ratio(Bound::AtLeast(1.0)).and_value(Bound::AtLeast(4.0));
    let row = |id: &str, what: &str, ours: &str| Spec::new(id, what, Metric::Rate, ours);
    let specs = vec![
        row("tell.one", "tell, mailbox of 1,024, one sender", OURS)
            .peers(&["kameo", RACTOR_UNBOUNDED, OTP_UNBOUNDED])
            .floor(TASKS)
            .goal(goal),
        row("tell.two", "tell, two senders with a lane each", OWN).peers(&peers_of_two).floor(&two_tasks).goal(goal),
        row("tell.shared", "tell, two senders that share a lane", SHARED).peers(&peers_of_two).floor(&two_tasks),
    ];
    Experiment::new("tells", sides, specs)
}

/// Request and reply on one worker.
pub fn asks() -> Experiment {
    const LIMIT_MS: u64 = 5_000;
    let limit = Some(Duration::from_millis(LIMIT_MS));
    let sides = vec![
        Side::new(OURS, |e| actor::ask(e.of(ASKS))),
        Side::new(TASKS, |e| tasks::ask(e.of(ASKS))),
        Side::new("kameo", move |e| kameo::ask(e.of(ASKS), limit)),
        Side::new("ractor", |e| ractor::ask(e.of(ASKS), Some(LIMIT_MS))),
        Side::new(OTP, |e| erlang::latency("ask", e.of(ASKS))),
        Side::new("kameo/no time-out", |e| kameo::ask(e.of(ASKS), None)),
        Side::new("ractor/no time-out", |e| ractor::ask(e.of(ASKS), None)),
    ];
    let peers = ["kameo", "ractor", OTP];
    let row =
        |id: &str, what: &str, metric, peers: &[&str]| Spec::new(id, what, metric, OURS).peers(peers).floor(TASKS);
    let specs = vec![
        row("ask.p50", "ask with a time-out, p50, one worker", Metric::P50, &peers)
            .goal(Goal::ratio(Bound::AtMost(1.0)).and_value(Bound::AtMost(1_500.0))),
        row("ask.p99", "ask with a time-out, p99, one worker", Metric::P99, &peers),
        row(
            "ask.endless",
            "ask p50, beside peers that wait for ever",
            Metric::P50,
            &["kameo/no time-out", "ractor/no time-out"],
        )
        .note("ours has a time-out all the same: there is no other ask"),
    ];
    Experiment::new("asks", sides, specs)
}

/// Children started while their supervisor runs.
pub fn starts() -> Experiment {
    const ACTORS: &str = "csf-runtime/actors";
    const SPAWNED: &str = "Erlang/spawn";
    const RACTOR_SPAWNED: &str = "ractor/spawn";
    let sides = vec![
        Side::new(OURS, |e| actor::start_processes(e.of(STARTS))),
        Side::new(ACTORS, |e| actor::start_actors(e.of(STARTS / 5))),
        Side::new(TASKS, |e| tasks::start(e.of(STARTS))),
        Side::new("kameo", |e| kameo::start(e.of(STARTS / 5))),
        Side::new("ractor", |e| ractor::start(e.of(STARTS / 5))),
        Side::new(OTP, |e| erlang::rate("start", e.of(STARTS), 1)),
        Side::new(RACTOR_SPAWNED, |e| ractor::spawn(e.of(STARTS / 5))),
        Side::new(SPAWNED, |e| erlang::rate("spawn", e.of(STARTS), 1)),
    ];
    let specs = vec![
        Spec::new("start.process", "supervised starts, simple_one_for_one", Metric::Rate, OURS)
            .peers(&[OTP, "kameo", "ractor"])
            .floor(TASKS)
            .goal(Goal::ratio(Bound::AtLeast(1.0)).and_value(Bound::AtLeast(0.5)))
            .note("a process without a mailbox; kameo's and ractor's children are actors"),
        Spec::new("start.actor", "supervised starts of actors with their mailboxes", Metric::Rate, ACTORS)
            .peers(&["kameo", "ractor", OTP])
            .floor(TASKS),
        Spec::new("start.spawn", "actors started, beside unsupervised ones", Metric::Rate, ACTORS)
            .peers(&[RACTOR_SPAWNED, SPAWNED])
            .note("ours are supervised: there are no others"),
    ];
    Experiment::new("starts", sides, specs)
}

/// From a crash to the first message of the next instance.
pub fn restarts() -> Experiment {
    let sides = vec![
        Side::new(OURS, |e| actor::restart(e.of(RESTARTS))),
        Side::new("kameo", |e| kameo::restart(e.of(RESTARTS))),
        Side::new("ractor", |e| ractor::restart(e.of(RESTARTS))),
        Side::new(OTP, |e| erlang::latency("restart", e.of(RESTARTS))),
    ];
    let row = |id: &str, what: &str, metric| Spec::new(id, what, metric, OURS).peers(&["kameo", "ractor", OTP]);
    let specs = vec![
        row("restart.p50", "crash to first message of the next instance, p50", Metric::P50),
        row("restart.p99", "crash to first message of the next instance, p99", Metric::P99)
            .goal(Goal::ratio(Bound::AtMost(1.0)).and_value(Bound::AtMost(1e6))),
    ];
    Experiment::new("restarts", sides, specs)
}
