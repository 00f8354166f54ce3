//! A node runs out of disk, of life and of files.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use super::client::{Client, Refused};
use super::load::Load;
use super::node::{Node, until};
use super::random::Random;
use super::verdict::Verdict;
use super::{Plan, Scratch, config, journal, now, pause};
use crate::exec::output;

const RECOVERY: Duration = Duration::from_secs(10);
/// How long a node that was killed may take until it acknowledges again, its start included.
const BACK_AFTER_KILL: Duration = Duration::from_secs(1);
/// How long the small disk may take to fill.
const FULL: Duration = Duration::from_secs(30);
/// The small disk, KiB.
const DISK_KIB: u64 = 4 << 10;
const CLIENTS: usize = 8;
const KILLS_PER_ROUND: u32 = 5;
/// Files that a node may open beyond those it has when the limit is set.
const FILES_LEFT: u64 = 24;
/// What the node answers when its disk is full.
const DISK_FULL: &str = "507 CSF-0205";

/// The experiment.
pub(super) fn run_resource_exhaustion_experiment(plan: &Plan) -> Result<Verdict, String> {
    let mut verdict = Verdict::new(
        "resource_exhaustion_handling",
        "with its disk full a node refuses and goes on once there is room; killed, it acknowledges again within a second; without files left it answers \
         the clients it has, and new ones once there are; nothing acknowledged is ever lost",
    );
    let mut random = Random::new(plan.seed ^ 0xE0);
    for _ in 0..plan.rounds {
        full_disk(&mut verdict, &mut random)?;
    }
    kills(plan, &mut verdict, &mut random)?;
    for _ in 0..plan.rounds {
        no_files(&mut verdict)?;
    }
    Ok(verdict)
}

/// A small file system; taken away when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(path: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let size = format!("size={DISK_KIB}k");
        output(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "none"]).arg(&path))
            .map_err(|_| "this user cannot mount a small file system".to_owned())?;
        Ok(Self(path))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what is still open goes with its process.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn full_disk(verdict: &mut Verdict, random: &mut Random) -> Result<(), String> {
    let home = Scratch::new("disk")?;
    let disk = match SmallDisk::mount(home.path().join("small")) {
        Ok(disk) => disk,
        Err(reason) => {
            verdict.skip("a full disk", &reason);
            return Ok(());
        }
    };
    home.write("csf.toml", config::plain())?;
    let ballast = disk.0.join("ballast");
    let kib = random.within(DISK_KIB * 3 / 8, DISK_KIB / 2);
    std::fs::write(&ballast, vec![0; kib as usize * 1024]).map_err(|e| e.to_string())?;
    let mut node = Node::start(home.path(), &disk.0.join("journal"), &[])?;
    let load = Load::start(CLIENTS, node.target(), 1, || Ok(()));
    let look = Client::new(Duration::from_secs(2));
    let filled = until(FULL, || load.refused(DISK_FULL) > 0);
    verdict.check("publishers are told that the disk is full", filled.is_some(), || format!("not within {FULL:?}"));
    let target = node.target();
    let ready = look.get(&target, "/health/ready");
    verdict.check("not ready while the disk is full", matches!(&ready, Err(Refused::Status(503, _))), || {
        format!("{ready:?}")
    });
    verdict.check("live while the disk is full", look.get(&target, "/health/live").is_ok(), || "it is not".to_owned());
    flood(verdict, &load, &node);
    pause(Duration::from_millis(200));
    std::fs::remove_file(&ballast).map_err(|e| e.to_string())?;
    let recovery = load.all_served(now(), RECOVERY);
    verdict.recovered(format!("the disk is full, {kib} KiB are made free"), recovery);
    verdict.check("ready with room again", look.get(&target, "/health/ready").is_ok(), || "it is not".to_owned());
    let (ledger, next) = load.end();
    verdict.add("refused: the disk is full", ledger.refused.get(DISK_FULL).copied().unwrap_or(0));
    verdict.check("the node runs to the end", node.is_running(), || "it ended with its disk full".to_owned());
    let recorded = journal::recorded(&target)?;
    journal::judge(verdict, &ledger.acknowledged, 1..next, &recorded);
    drop(node);
    drop(disk);
    Ok(())
}

/// Publishes without waiting for the disk until the bus has no room either, then looks at how that is said.
fn flood(verdict: &mut Verdict, load: &Load, node: &Node) {
    let target = node.target();
    let first = |client: &Client| loop {
        match client.publish_fast(&target, load.number()) {
            Ok(()) => {}
            Err(refused) => return refused,
        }
    };
    let answers: Vec<Refused> = std::thread::scope(|scope| {
        let flooders: Vec<_> = (0..4).map(|_| scope.spawn(|| first(&Client::new(Duration::from_secs(5))))).collect();
        flooders.into_iter().filter_map(|flooder| flooder.join().ok()).collect()
    });
    let is_exhaustion = |refused: &Refused| matches!(refused, Refused::Status(429 | 503 | 507, _));
    let wrong: Vec<String> = answers.iter().filter(|answer| !is_exhaustion(answer)).map(Refused::kind).collect();
    verdict.count("a full bus answers", answers.iter().map(Refused::kind).collect::<Vec<_>>());
    verdict.check("a full bus is answered as exhaustion", wrong.is_empty() && !answers.is_empty(), || {
        format!("{wrong:?} instead of 429, 503 or 507")
    });
}

fn kills(plan: &Plan, verdict: &mut Verdict, random: &mut Random) -> Result<(), String> {
    let home = Scratch::new("kills")?;
    home.write("csf.toml", config::plain())?;
    let journal = home.path().join("journal");
    let mut node = Node::start(home.path(), &journal, &[])?;
    let load = Load::start(CLIENTS, node.target(), 1, || Ok(()));
    if load.all_served(now(), RECOVERY).is_none() {
        return Err("the clients are not served before any kill".to_owned());
    }
    let mut back_ms = Vec::new();
    for number in 1..=KILLS_PER_ROUND * plan.rounds {
        let life = Duration::from_millis(random.within(100, 700));
        pause(life);
        node.kill()?;
        let killed = now();
        node = Node::start(home.path(), &journal, &[])?;
        load.retarget(node.target());
        let recovery = load.any_served(killed, RECOVERY);
        verdict.check("back within a second of a kill", recovery.is_some_and(|r| r < BACK_AFTER_KILL), || {
            format!("kill {number}: {recovery:?}")
        });
        back_ms.extend(recovery.map(|r| (r.as_secs_f64() * 1e4).round() / 10.0));
        verdict.recovered(format!("kill -9 number {number}, after {} ms", life.as_millis()), recovery);
    }
    back_ms.sort_by(f64::total_cmp);
    let figures = [back_ms.get(back_ms.len() / 2), back_ms.last()];
    verdict.count("acknowledged again after a kill, ms, p50 and max", json!(figures));
    let (ledger, next) = load.end();
    exported(verdict, home.path(), node, &journal, ledger.acknowledged.keys())?;
    let node = Node::start(home.path(), &journal, &[])?;
    let recorded = journal::recorded(&node.target())?;
    journal::judge(verdict, &ledger.acknowledged, 1..next, &recorded);
    Ok(())
}

/// The journal once more, by the program that reads it without a node.
fn exported<'a>(
    verdict: &mut Verdict,
    home: &Path,
    node: Node,
    journal: &Path,
    mut acknowledged: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    node.kill()?;
    let held = crate::crash::held_ids(journal, &home.join("ids.mcap"))?;
    let missing = acknowledged.find(|id| !held.contains(*id));
    verdict
        .check("the export holds all that is acknowledged", missing.is_none(), || format!("{missing:?} is not in it"));
    Ok(())
}

fn no_files(verdict: &mut Verdict) -> Result<(), String> {
    let home = Scratch::new("files")?;
    home.write("csf.toml", config::plain())?;
    let mut node = Node::start(home.path(), &home.path().join("journal"), &[])?;
    let load = Load::start(2, node.target(), 1, || Ok(()));
    if load.all_served(now(), RECOVERY).is_none() {
        return Err("the clients are not served before the files run out".to_owned());
    }
    let target = node.target();
    let watcher = Client::new(Duration::from_secs(2));
    watcher.get(&target, "/health/live").map_err(|e| format!("/health/live: {e:?}"))?;
    let limit = node.vitals().files + FILES_LEFT;
    let both = Rlimit { current: Some(limit), maximum: Some(limit) };
    prlimit(Some(node.pid()), Resource::Nofile, both).map_err(|e| format!("the limit cannot be set: {e}"))?;
    let idle: Vec<TcpStream> =
        (0..2 * limit).filter_map(|_| TcpStream::connect_timeout(&target.address, RECOVERY).ok()).collect();
    // It takes what it can; the rest waits in the kernel's queue.
    let taken = until(RECOVERY, || node.vitals().files >= limit - 1);
    verdict.check("the files run out", taken.is_some(), || format!("{:?} of {limit}", node.vitals()));
    let before = load.acknowledged();
    let held = Duration::from_millis(600);
    pause(held);
    let is_answered = watcher.get(&target, "/health/live").is_ok() && watcher.get(&target, "/api/v1/topics").is_ok();
    verdict.check("a client with a connection is answered without files", is_answered, || "it is not".to_owned());
    let published = load.acknowledged() - before;
    verdict.count("idle connections, and the limit of files", vec![idle.len() as u64, limit]);
    verdict.count("acknowledged without files", published);
    verdict.check("a client with a connection can publish without files", published > 0, || {
        format!("nothing was acknowledged in {held:?}")
    });
    let damaged = load.refused("500 CSF-0206");
    verdict.check("without files nobody is told that the journal is damaged", damaged == 0, || {
        format!("{damaged} requests were answered 500 CSF-0206")
    });
    drop(idle);
    let gone = now();
    let recovery = load.all_served(gone, RECOVERY);
    verdict.recovered(format!("no files for {} ms, clients with a connection", held.as_millis()), recovery);
    let new = until(RECOVERY, || Client::new(Duration::from_secs(1)).get(&target, "/health/live").is_ok());
    verdict.recovered(format!("no files for {} ms, a new client", held.as_millis()), new.map(|_| gone.elapsed()));
    let (ledger, next) = load.end();
    verdict.count("refused without files", json!(ledger.refused));
    verdict.check("the node runs to the end", node.is_running(), || "it ended without files".to_owned());
    let recorded = journal::recorded(&target)?;
    journal::judge(verdict, &ledger.acknowledged, 1..next, &recorded);
    Ok(())
}
