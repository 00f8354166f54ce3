//! The other side: starts the process, kills it, and does worse to the server.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use csf_core::port::{Filter, Read};
use csf_tests::{NatsServer, PostgresServer, Proxy};
use serde_json::{Value, json};

use crate::arguments::{Life, Plan};
use crate::backend::{Backend, Place};
use crate::judge::{Found, Verdict, judge};
use crate::random::Random;
use crate::shop::books;
use crate::told::{Line, Told};
use crate::victim;
use crate::work::CALLERS;

/// Kills on one log; then it is judged, and the next log begins.
const KILLS_A_LOG: u64 = 50;
/// Longest silence of a process that works: its last life settles all that the others left.
const PATIENCE: Duration = Duration::from_secs(400);
/// Of the lives that end in their start: the longest, milliseconds.
const START_MS_MAX: u64 = 400;
/// Longest life after its start, milliseconds.
const LIFE_MS_MAX: u64 = 500;

/// Longest absence of a server where what is acknowledged meanwhile waits, milliseconds: more than a commit waits for it.
const AWAY_MS_MAX: u64 = 3_000;

/// What a run has come to.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    pub(crate) json: Value,
}

/// Kills as planned, and judges.
pub(crate) fn run(plan: &Plan) -> Result<Outcome, String> {
    let start = now();
    let scratch = Scratch::new()?;
    let mut stage = Stage::new(plan.backend, scratch.path())?;
    let mut chance = Random::new(plan.seed);
    let mut verdict = Verdict::default();
    let mut counts = Counts::default();
    let mut left = plan.kills;
    for log in 0.. {
        let kills = left.min(KILLS_A_LOG);
        left -= kills;
        let place = stage.place(scratch.path(), log);
        let mut told = Told::default();
        for number in 1..=kills {
            let life = Life { number, is_last: false, last_answers: told.last_answers(CALLERS), plant: plan.plant };
            one_life(&place, &life, &mut stage, &mut chance, &mut told, &mut counts)?;
        }
        let found = end(&place, plan, kills + 1, &mut told)?;
        let of_log = judge(&told, &found);
        if !plan.is_json {
            eprintln!("log {log}: {kills} kills, {} acknowledged, {} lost", of_log.acknowledged, of_log.lost);
        }
        verdict.add(of_log);
        // A log that was judged is in the way of the next one only.
        let _ = std::fs::remove_dir_all(&place.folder);
        if left == 0 {
            break;
        }
    }
    let Verdict {
        acknowledged,
        lost,
        duplicated,
        steps_twice,
        astray,
        events,
        redelivered,
        orders,
        repeated,
        sales,
        words,
    } = &verdict;
    let Counts { server_kills, cuts, gave_up } = counts;
    let json = json!({
        "backend": plan.backend.name(), "seed": plan.seed, "kills": plan.kills, "server_kills": server_kills, "cuts": cuts,
        "gave_up": gave_up, "acknowledged": acknowledged, "lost": lost, "duplicated": duplicated,
        "steps_twice": steps_twice, "astray": astray, "events": events, "redelivered": redelivered, "orders": orders, "sales": sales,
        "steps_repeated": repeated, "problems": words, "seconds": (start.elapsed().as_secs_f64() * 10.0).round() / 10.0,
    });
    Ok(Outcome { verdict, json })
}

/// What was done to processes and servers.
#[derive(Default)]
struct Counts {
    server_kills: u64,
    cuts: u64,
    /// Processes that ended by themselves after something had happened to their server.
    gave_up: u64,
}

/// Starts a process and kills it: in its start, or after a while of work, in which its server may be killed or cut off.
fn one_life(
    place: &Place,
    life: &Life,
    stage: &mut Stage,
    chance: &mut Random,
    told: &mut Told,
    counts: &mut Counts,
) -> Result<(), String> {
    let mut process = Process::start(place, life)?;
    let before = counts.server_kills + counts.cuts;
    if chance.below(6) == 0 {
        pause(Duration::from_millis(chance.below(START_MS_MAX)));
    } else if process.hear_until(&Line::Open, told)? {
        pause(Duration::from_millis(chance.below(LIFE_MS_MAX)));
        if stage.is_served() {
            match chance.below(4) {
                0 => {
                    counts.server_kills += 1;
                    let away = if place.backend.spools() { chance.below(AWAY_MS_MAX) } else { 0 };
                    stage.kill_and_start_again(Duration::from_millis(away))?;
                    pause(Duration::from_millis(chance.below(LIFE_MS_MAX)));
                }
                1 => {
                    counts.cuts += 1;
                    stage.cut();
                    pause(Duration::from_millis(chance.below(LIFE_MS_MAX)));
                }
                _ => {}
            }
        }
    }
    let status = process.kill(told)?;
    // Connections of the dead.
    stage.cut();
    match status.code() {
        // The signal.
        None => Ok(()),
        Some(_) if counts.server_kills + counts.cuts > before => {
            counts.gave_up += 1;
            Ok(())
        }
        Some(_) => Err(format!("life {} ended with {status} before it was killed", life.number)),
    }
}

/// The last life ends what was begun; then the log is read.
fn end(place: &Place, plan: &Plan, number: u64, told: &mut Told) -> Result<Found, String> {
    let life = Life { number, is_last: true, last_answers: told.last_answers(CALLERS), plant: plan.plant };
    let mut process = Process::start(place, &life)?;
    if !process.hear_until(&Line::Finished, told)? {
        return Err("the last life ended before everything was done".to_owned());
    }
    process.ends(told)?;
    let mut reader = place.journal().and_then(|journal| journal.reader()).map_err(|e| e.to_string())?;
    let events = reader.read(&Read::log(Filter::all())).map_err(|e| e.to_string())?.events;
    let books = place.database().and_then(|mut database| books(&mut *database)).map_err(|e| e.to_string())?;
    Ok(Found { events, sums: victim::sums(place)?, books })
}

/// A process and its pipe. Dropping it kills it.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start(place: &Place, life: &Life) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|e| e.to_string())?;
        let mut command = Command::new(program);
        command.args(life.words(place)).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|e| e.to_string())?;
        let mut pipe = BufReader::new(child.stdout.take().ok_or("no pipe")?);
        let (told, lines) = channel();
        std::thread::spawn(move || {
            loop {
                let mut line = String::new();
                // A line without its end was cut off by the kill: it was not said.
                match pipe.read_line(&mut line) {
                    Ok(_) if line.ends_with('\n') => _ = told.send(line.trim_end().to_owned()),
                    _ => return,
                }
            }
        });
        Ok(Self { child, lines })
    }

    /// Hears what it says up to this line; false when it ended before.
    fn hear_until(&self, wanted: &Line, told: &mut Told) -> Result<bool, String> {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    let line = Line::read(&line)?;
                    let is_it = line == *wanted;
                    told.hear(line);
                    if is_it {
                        return Ok(true);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => return Err(format!("a process says nothing for {PATIENCE:?}")),
            }
        }
    }

    /// Kills it, and hears what it had said.
    fn kill(&mut self, told: &mut Told) -> Result<ExitStatus, String> {
        self.child.kill().map_err(|e| e.to_string())?;
        self.rest(told)
    }

    /// Waits for its own end.
    fn ends(&mut self, told: &mut Told) -> Result<(), String> {
        let status = self.rest(told)?;
        if status.success() { Ok(()) } else { Err(format!("the last life ended with {status}")) }
    }

    fn rest(&mut self, told: &mut Told) -> Result<ExitStatus, String> {
        for line in self.lines.iter() {
            told.hear(Line::read(&line)?);
        }
        self.child.wait().map_err(|e| e.to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server, and the connection to it that can be cut.
enum Stage {
    Alone,
    Postgres(Backend, PostgresServer, Proxy),
    JetStream(NatsServer, Proxy),
}

impl Stage {
    fn new(backend: Backend, folder: &Path) -> Result<Self, String> {
        let words = |e: csf_tests::TestError| e.to_string();
        Ok(match backend {
            Backend::Sqlite => Self::Alone,
            Backend::Postgres | Backend::PostgresSpool => {
                let server = PostgresServer::start("").map_err(words)?;
                let proxy = Proxy::start(server.address()).map_err(words)?;
                Self::Postgres(backend, server, proxy)
            }
            Backend::JetStream => {
                let server = NatsServer::start(&folder.join("nats"), "").map_err(words)?;
                let proxy = Proxy::start(server.address()).map_err(words)?;
                Self::JetStream(server, proxy)
            }
        })
    }

    fn place(&self, folder: &Path, log: u64) -> Place {
        let (backend, url) = match self {
            Self::Alone => (Backend::Sqlite, String::new()),
            Self::Postgres(backend, _, proxy) => (*backend, format!("postgresql://csf@{}/postgres", proxy.address())),
            Self::JetStream(_, proxy) => (Backend::JetStream, format!("nats://{}", proxy.address())),
        };
        let name = format!("log_{log}");
        Place { backend, url, folder: folder.join(&name), name }
    }

    const fn is_served(&self) -> bool {
        !matches!(self, Self::Alone)
    }

    fn cut(&self) {
        match self {
            Self::Alone => {}
            Self::Postgres(_, _, proxy) | Self::JetStream(_, proxy) => proxy.cut(),
        }
    }

    /// The server is away for so long.
    fn kill_and_start_again(&mut self, away: Duration) -> Result<(), String> {
        let killed = match self {
            Self::Alone => Ok(()),
            Self::Postgres(_, server, _) => server.kill(),
            Self::JetStream(server, _) => server.kill(),
        };
        pause(away);
        let started = killed.and_then(|()| match self {
            Self::Alone => Ok(()),
            Self::Postgres(_, server, _) => server.start_again(),
            Self::JetStream(server, _) => server.start_again(),
        });
        started.map_err(|e| e.to_string())
    }
}

/// A folder that goes with the run.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("csf-crash-{}", std::process::id()));
        // Left over from a process with this number, or not there.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is only disk space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn pause(time: Duration) {
    #[expect(clippy::disallowed_methods, reason = "processes live in real time until they are killed")]
    std::thread::sleep(time);
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "how long a run takes is part of what it tells")]
    Instant::now()
}
