//! Between clients and the node the network fails in every way a network does.

use std::time::Duration;

use super::client::Client;
use super::load::Load;
use super::namespace::Network;
use super::node::{Node, Target, Vitals};
use super::proxy::{Damage, Direction, Fault, Proxy};
use super::random::Random;
use super::verdict::Verdict;
use super::{Plan, Scratch, config, journal, now, pause};

/// How long clients may take to be served after a fault.
const RECOVERY: Duration = Duration::from_secs(10);
/// Threads that a node may have beyond those at rest: two per client for questions to the journal, and some to spare.
const MORE_THREADS: u64 = 2 * CLIENTS as u64 + 16;
/// Files that stay open after all faults, beyond those at rest: a reader or two of the journal. The clients are gone by then.
const MORE_FILES: u64 = 8;
/// Memory beyond that at rest: the rings fill, nothing else may grow.
const MORE_KIB: u64 = 32 << 10;
const CLIENTS: usize = 6;

/// The experiment.
pub(super) fn run_network_partition_experiment(plan: &Plan) -> Result<Verdict, String> {
    let mut verdict = Verdict::new(
        "network_partition_recovery",
        "while the network between clients and the node fails, the node stays live and bounded; afterwards all clients are served again, every \
         acknowledged packet is in the journal as it was sent, and nothing else is",
    );
    through_proxy(plan, &mut verdict)?;
    any_bit(plan, &mut verdict)?;
    match Network::make() {
        Ok(network) => pulled_cable(plan, &mut verdict, &network)?,
        Err(reason) => verdict.skip("network namespaces", &reason),
    }
    Ok(verdict)
}

/// The faults of one round, in a seeded order, with what each is called.
fn faults(random: &mut Random) -> Vec<(&'static str, Fault)> {
    let ms = Duration::from_millis;
    let mut all = vec![
        ("latency of 40 ms and jitter of 40 ms", Fault::Latency { delay: ms(40), jitter: ms(40) }),
        ("bandwidth of 8 kB/s", Fault::Bandwidth { bytes_per_second: 8000 }),
        ("half open: requests are swallowed", Fault::HalfOpen(Direction::ToNode)),
        ("half open: answers are swallowed", Fault::HalfOpen(Direction::ToClient)),
        ("cut: all connections are reset", Fault::Cut),
        ("slow close: ends arrive 200 ms late", Fault::SlowClose(ms(200))),
        ("corruption: the highest bit of a byte", Fault::Corrupt(Damage::HighBit)),
    ];
    for last in (1..all.len()).rev() {
        all.swap(last, random.within(0, last as u64) as usize);
    }
    all
}

fn through_proxy(plan: &Plan, verdict: &mut Verdict) -> Result<(), String> {
    let home = Scratch::new("partition")?;
    home.write("csf.toml", config::plain())?;
    let mut node = Node::start(home.path(), &home.path().join("journal"), &[])?;
    let proxy = Proxy::start("127.0.0.1:0", node.target().address, plan.seed).map_err(|e| e.to_string())?;
    let behind = Target { address: proxy.address(), ..node.target() };
    let load = Load::start(CLIENTS, behind, 1, || Ok(()));
    if load.all_served(now(), RECOVERY).is_none() {
        return Err("the clients are not served before any fault".to_owned());
    }
    let rest = node.vitals();
    let mut most = rest;
    let mut random = Random::new(plan.seed);
    let live = Client::new(Duration::from_secs(1));
    for _ in 0..plan.rounds {
        for (name, fault) in faults(&mut random) {
            let before = proxy.touched();
            load.reconnect_each_time(matches!(fault, Fault::SlowClose(_)));
            proxy.set(fault);
            let held = Duration::from_millis(random.within(300, 500));
            for _ in 0..4 {
                pause(held / 4);
                most = most.most(node.vitals());
                let is_live = live.get(&node.target(), "/health/live").is_ok();
                verdict.check("live during faults", is_live, || format!("not during `{name}`"));
            }
            proxy.set(Fault::None);
            load.reconnect_each_time(false);
            let recovery = load.all_served(now(), RECOVERY);
            // An experiment whose fault reaches nobody says nothing.
            verdict.check("every fault reaches the clients", proxy.touched() > before, || format!("`{name}` did not"));
            verdict.recovered(format!("{name}, {} ms", held.as_millis()), recovery);
        }
    }
    verdict.count("connections through the proxy", proxy.accepted());
    verdict.count("bytes damaged (highest bit)", proxy.damaged());
    let (mut ledger, next) = load.end();
    drop(proxy);
    bounded(verdict, &node, rest, most);
    let (p50, p99) = ledger.latency_ms();
    verdict.count("acknowledged in ms, p50 and p99", vec![p50, p99]);
    verdict.count("refused", serde_json::json!(ledger.refused));
    verdict.check("the node runs to the end", node.is_running(), || "it ended".to_owned());
    let recorded = journal::recorded(&node.target())?;
    journal::judge(verdict, &ledger.acknowledged, 1..next, &recorded);
    let is_orderly = node.stop()?;
    verdict.check("the node stops in order", is_orderly, || "it did not".to_owned());
    Ok(())
}

fn bounded(verdict: &mut Verdict, node: &Node, rest: Vitals, most: Vitals) {
    let closed = super::node::until(Duration::from_secs(5), || node.vitals().files <= rest.files + MORE_FILES);
    let after = node.vitals();
    verdict.count("files open, at rest, at most, after", vec![rest.files, most.files, after.files]);
    verdict.count("threads, at rest, at most, after", vec![rest.threads, most.threads, after.threads]);
    verdict
        .count("resident KiB, at rest, at most, after", vec![rest.resident_kib, most.resident_kib, after.resident_kib]);
    verdict.check("files are closed again", closed.is_some(), || format!("{after:?} after {rest:?}"));
    verdict.check("threads are bounded", most.threads <= rest.threads + MORE_THREADS, || {
        format!("{most:?} after {rest:?}")
    });
    verdict.check("memory is bounded", most.resident_kib <= rest.resident_kib + MORE_KIB, || {
        format!("{most:?} after {rest:?}")
    });
}

/// A bit turned anywhere may leave a request that is well formed and says something else. On a journal of its own, so that the
/// other claims are judged without it.
fn any_bit(plan: &Plan, verdict: &mut Verdict) -> Result<(), String> {
    let home = Scratch::new("any-bit")?;
    home.write("csf.toml", config::plain())?;
    let node = Node::start(home.path(), &home.path().join("journal"), &[])?;
    let proxy = Proxy::start("127.0.0.1:0", node.target().address, plan.seed ^ 0xB17).map_err(|e| e.to_string())?;
    let load = Load::start(CLIENTS, Target { address: proxy.address(), ..node.target() }, 1, || Ok(()));
    proxy.set(Fault::Corrupt(Damage::AnyBit));
    pause(Duration::from_millis(700) * plan.rounds);
    proxy.set(Fault::None);
    verdict.recovered("corruption: any bit of a byte", load.all_served(now(), RECOVERY));
    let damaged = proxy.damaged();
    let (ledger, next) = load.end();
    let recorded = journal::recorded(&node.target())?;
    let strange = recorded.values().filter(|number| number.is_none_or(|n| !(1..next).contains(&n))).count();
    verdict.count("bytes damaged (any bit)", damaged);
    verdict.count("stored as something else after damage of any bit", strange);
    verdict.check("a request damaged in any bit is refused", strange == 0, || {
        format!("{strange} of {damaged} damaged requests are stored with another content")
    });
    let lost: Vec<String> = ledger.acknowledged.keys().filter(|id| !recorded.contains_key(*id)).cloned().collect();
    verdict.ledger(ledger.acknowledged.len(), &lost);
    Ok(())
}

fn pulled_cable(plan: &Plan, verdict: &mut Verdict, network: &Network) -> Result<(), String> {
    let home = Scratch::new("cable")?;
    home.write("csf.toml", config::plain())?;
    let mut node = Node::start(home.path(), &home.path().join("journal"), &network.in_node())?;
    let relay = network.relay(node.target().address)?;
    let behind = Target { address: relay.address, ..node.target() };
    let load = Load::start(CLIENTS, behind.clone(), 1, network.enter_client());
    if load.all_served(now(), RECOVERY).is_none() {
        return Err("the clients are not served across the cable before it is pulled".to_owned());
    }
    let mut random = Random::new(plan.seed ^ 0xCAB1E);
    for _ in 0..plan.rounds {
        network.plug(false)?;
        let before = load.acknowledged();
        let held = Duration::from_millis(random.within(600, 1000));
        pause(held);
        let during = load.acknowledged() - before;
        network.plug(true)?;
        verdict.recovered(format!("the cable is pulled, {} ms", held.as_millis()), load.all_served(now(), RECOVERY));
        // What was on its way when it was pulled may still count.
        verdict.check("a pulled cable reaches the clients", during <= CLIENTS, || {
            format!("{during} acknowledged without it")
        });
    }
    let (ledger, next) = load.end();
    verdict.check("the node runs to the end", node.is_running(), || "it ended behind the cable".to_owned());
    let target = behind;
    let enter = network.enter_client();
    let recorded = std::thread::spawn(move || enter().and_then(|()| journal::recorded(&target)));
    let recorded = recorded.join().map_err(|_| "the reader panicked".to_owned())??;
    journal::judge(verdict, &ledger.acknowledged, 1..next, &recorded);
    drop(relay);
    Ok(())
}
