//! One part of a node fails again and again; then the whole node stands still for a while.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::Client;
use super::config::{Cascade, recording};
use super::load::Load;
use super::node::{Node, Target, until};
use super::random::Random;
use super::verdict::Verdict;
use super::{Plan, Scratch, journal, now, pause};

const RECOVERY: Duration = Duration::from_secs(10);
/// How long the group may take to fail often enough to be given up.
const GIVEN_UP: Duration = Duration::from_secs(30);
/// How long the others are watched after that.
const AFTERWARDS: Duration = Duration::from_millis(500);
const CLIENTS: usize = 4;
/// Rate of the streams that must not suffer, and the share of it that must arrive on a machine that has other work too.
const STEADY_HZ: f64 = 50.0;
const LEAST_SHARE: f64 = 0.7;
const STRATEGIES: [&str; 3] = ["one_for_one", "one_for_all", "rest_for_one"];
/// Parts that have nothing to do with the failing one.
const OTHERS: [(&str, &str); 2] = [("steady", "steady.cpu"), ("alone", "alone.cpu")];

/// The experiment.
pub(super) fn run_failure_cascade_experiment(plan: &Plan) -> Result<Verdict, String> {
    let mut verdict = Verdict::new(
        "failure_cascade_containment",
        "a part that fails again and again is restarted with its group by the group's strategy until the budget is spent; no other part is restarted or \
         slowed down, and clients are served throughout; a node that stood still goes on, with nothing acknowledged lost",
    );
    let mut random = Random::new(plan.seed ^ 0xCA5C);
    for round in 0..plan.rounds {
        for strategy in STRATEGIES {
            let at_most = if round == 0 { 1 } else { random.within(0, 3) };
            Trial { strategy, at_most, verdict: &mut verdict }.run(&mut random)?;
        }
    }
    Ok(verdict)
}

struct Trial<'a> {
    strategy: &'static str,
    at_most: u64,
    verdict: &'a mut Verdict,
}

/// How often each part of the group is restarted when `b-broken` fails: the definition of the strategies.
fn expected(strategy: &str, at_most: u64) -> [(&'static str, u64); 3] {
    let (before, behind) = match strategy {
        "one_for_all" => (at_most, at_most),
        "rest_for_one" => (0, at_most),
        _ => (0, 0),
    };
    [("a-before", before), ("b-broken", at_most), ("c-behind", behind)]
}

impl Trial<'_> {
    fn run(&mut self, random: &mut Random) -> Result<(), String> {
        let home = Scratch::new("cascade")?;
        let whole = std::fs::read(recording()).map_err(|e| format!("{}: {e}", recording().display()))?;
        // The recording breaks off after about a second at eight times its pace.
        let cut = whole.len() * random.within(38, 46) as usize / 100;
        let broken = home.write("broken.ulg", &whole[..cut])?;
        let config = Cascade { broken: &broken, strategy: self.strategy, at_most: self.at_most, steady_hz: STEADY_HZ };
        home.write("csf.toml", config.text())?;
        let mut node = Node::start(home.path(), &home.path().join("journal"), &[])?;
        let load = Load::start(CLIENTS, node.target(), 1, || Ok(()));
        let look = Look { client: Client::new(Duration::from_secs(2)), target: node.target() };
        self.fail(&look, &load)?;
        self.stand_still(random, &node, &load)?;
        let (ledger, next) = load.end();
        let is_running = node.is_running();
        self.verdict.check("the node runs to the end", is_running, || format!("it ended under {}", self.strategy));
        let recorded = journal::recorded(&node.target())?;
        journal::judge(self.verdict, &ledger.acknowledged, 1..next, &recorded);
        let is_orderly = node.stop()?;
        self.verdict.check("the node stops in order", is_orderly, || format!("it did not under {}", self.strategy));
        Ok(())
    }

    fn fail(&mut self, look: &Look, load: &Load) -> Result<(), String> {
        let (strategy, at_most) = (self.strategy, self.at_most);
        if load.all_served(now(), RECOVERY).is_none() {
            return Err("the clients are not served before the failure".to_owned());
        }
        let (start, before) = (now(), look.packets()?);
        let served = load.acknowledged();
        let given_up = until(GIVEN_UP, || look.events("budget_spent") > 0);
        let failed = now();
        self.verdict
            .check("the group is given up", given_up.is_some(), || format!("{strategy} was not within {GIVEN_UP:?}"));
        let recovery = load.all_served(failed, RECOVERY);
        self.verdict.recovered(format!("a part fails {} times, {strategy}", at_most + 1), recovery);
        let during = load.acknowledged() - served;
        let enough = start.elapsed().as_millis() as usize / 100;
        self.verdict.check("clients are served throughout", during >= enough, || {
            format!("only {during} times under {strategy}")
        });
        self.judge_group(look)?;
        pause(AFTERWARDS);
        self.judge_others(look, &before, start.elapsed())
    }

    /// The group went down by its strategy, and is down.
    fn judge_group(&mut self, look: &Look) -> Result<(), String> {
        let (strategy, at_most) = (self.strategy, self.at_most);
        let tree = look.get("/api/v1/supervision")?;
        for (name, restarts) in expected(strategy, at_most) {
            let part = find(&tree["root"], name).ok_or_else(|| format!("{name} is not in the tree"))?;
            self.verdict.check("the group restarts by its strategy", part["restarts"] == json!(restarts), || {
                format!("{strategy} at most {at_most}: {name} restarted {} times, not {restarts}", part["restarts"])
            });
            let is_down = part["state"] != json!("running") && part["state"] != json!("restarting");
            self.verdict
                .check("the group is down", is_down, || format!("{name} is {} under {strategy}", part["state"]));
        }
        let health = look.get("/api/v1/health")?;
        let status = health["overall_status"].as_str().unwrap_or_default().to_owned();
        self.verdict.check("health tells of the group", status != "healthy", || format!("it says {health}"));
        self.verdict.check("live with a group down", look.get("/health/live").is_ok(), || "it is not".to_owned());
        Ok(())
    }

    fn judge_others(&mut self, look: &Look, before: &Value, took: Duration) -> Result<(), String> {
        let strategy = self.strategy;
        let after = look.packets()?;
        let tree = look.get("/api/v1/supervision")?;
        for (name, topic) in OTHERS {
            let part = find(&tree["root"], name).ok_or_else(|| format!("{name} is not in the tree"))?;
            let is_untouched = part["restarts"] == json!(0) && part["state"] == json!("running");
            self.verdict
                .check("the others are not touched", is_untouched, || format!("{name} under {strategy}: {part}"));
            let packets = after[topic].as_f64().unwrap_or(0.0) - before[topic].as_f64().unwrap_or(0.0);
            let hz = packets / took.as_secs_f64();
            self.verdict.count(&format!("{topic} under {strategy}, Hz"), (hz * 10.0).round() / 10.0);
            self.verdict.check("the others keep their rate", hz >= LEAST_SHARE * STEADY_HZ, || {
                format!("{topic} has {hz:.1} Hz of {STEADY_HZ} under {strategy}")
            });
        }
        Ok(())
    }

    fn stand_still(&mut self, random: &mut Random, node: &Node, load: &Load) -> Result<(), String> {
        let still = Duration::from_millis(random.within(300, 700));
        node.signal(Signal::STOP)?;
        pause(still);
        node.signal(Signal::CONT)?;
        self.verdict
            .recovered(format!("the node stands still, {} ms", still.as_millis()), load.all_served(now(), RECOVERY));
        Ok(())
    }
}

/// Questions to a node beside the load.
struct Look {
    client: Client,
    target: Target,
}

impl Look {
    fn get(&self, path: &str) -> Result<Value, String> {
        self.client.get(&self.target, path).map_err(|e| format!("{path}: {e:?}"))
    }

    /// Packets so far, by topic.
    fn packets(&self) -> Result<Value, String> {
        let topics = self.get("/api/v1/topics")?;
        let topics = topics.as_array().ok_or("no topics")?;
        let named = topics.iter().filter_map(|t| Some((t["name"].as_str()?.to_owned(), t["packets"].clone())));
        Ok(Value::Object(named.collect()))
    }

    /// Events of the failing group of this kind.
    fn events(&self, what: &str) -> usize {
        let Ok(tree) = self.get("/api/v1/supervision") else { return 0 };
        let of_group = |e: &&Value| e["supervisor"].as_str().is_some_and(|s| s.ends_with("flaky")) && e["what"] == what;
        tree["history"].as_array().map_or(0, |events| events.iter().filter(of_group).count())
    }
}

/// A part of the tree by name.
fn find<'a>(tree: &'a Value, name: &str) -> Option<&'a Value> {
    if tree["name"] == name && tree["kind"] == "service" {
        return Some(tree);
    }
    tree["children"].as_array()?.iter().find_map(|child| find(child, name))
}
