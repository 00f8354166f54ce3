//! From a configuration to a running node: layers, check, boot.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csf_core::Stamp;
use csf_core::port::JournalReader;
use csf_runtime::Catalogue;
use csf_runtime::config::{Item, Layers, Problem, Settings, Source, conceal, environment_layer, secrets_in_clear};
use csf_runtime::node::{Attachment, BootError, BootOptions, Interrupt, Node, Phase, boot};
use csf_runtime::runs::{Chapter, chapters};
use csf_runtime::topology::Topology;
use csf_time::SystemClock;

use crate::cli::ConfigArgs;
use crate::diagnostic::Failure;
use crate::store::Store;
use crate::{demo, logging, paths};

/// How long an idle dispatcher spins before it parks. A wake costs tens of microseconds, so a spin of that order hides it for
/// traffic that is dense enough to matter and costs nothing noticeable when it is not.
const SPIN_NS: u64 = 50_000;

/// The files of a command's configuration, in the order of their layers.
fn files(args: &ConfigArgs) -> Vec<PathBuf> {
    let default = PathBuf::from("csf.toml");
    let file = args.config.clone().or_else(|| (!args.demo && default.exists()).then_some(default));
    let beside = |file: &PathBuf| Some(file.with_extension(format!("{}.toml", args.environment.as_ref()?)));
    let environment = file.as_ref().and_then(beside).filter(|beside| beside.exists());
    file.into_iter().chain(environment).collect()
}

/// What the files say now; those that cannot be read are left out.
pub(crate) fn layer_texts(args: &ConfigArgs) -> Vec<String> {
    files(args).iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect()
}
/// The phase of a start in which the log gets its final sink.
const LOGGING_PHASE: u8 = 3;

/// The layers of a command's configuration, merged.
pub(crate) fn load(args: &ConfigArgs) -> Result<Item, Failure> {
    let base = if args.demo { demo::CONFIG } else { "" };
    let mut layers = Layers::new(base);
    let files = files(args);
    if files.is_empty() && !args.demo {
        let message = "there is no csf.toml here; write one, name one with --config, or try `csf up --demo`";
        return Err(Failure::new("CSF-0101", message));
    }
    for file in &files {
        add_file(&mut layers, file)?;
    }
    layers.add_pairs("environment", &environment_layer(std::env::vars()));
    layers.add_pairs("flags", &flag_pairs(&args.set)?);
    let (item, problems) = layers.finish();
    if problems.is_empty() { Ok(item) } else { Err(Failure::Config(problems)) }
}

fn add_file(layers: &mut Layers, file: &Path) -> Result<(), Failure> {
    tracing::info!(file = %file.display(), "reading the configuration");
    let text = std::fs::read_to_string(file)
        .map_err(|e| Failure::new("CSF-0101", format!("{} cannot be read: {e}", file.display())))?;
    layers.add(&Arc::new(Source { name: file.display().to_string(), text }));
    Ok(())
}

fn flag_pairs(set: &[String]) -> Result<Vec<(Vec<String>, String)>, Failure> {
    set.iter()
        .map(|pair| {
            let (key, value) = pair
                .split_once('=')
                .ok_or_else(|| Failure::new("CSF-0104", format!("--set wants KEY=VALUE, got `{pair}`")))?;
            Ok((split_key(key.trim()), value.trim().to_owned()))
        })
        .collect()
}

/// Splits `topic."nav.state".capacity` at dots outside quotes.
fn split_key(key: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    for c in key.chars() {
        match c {
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            c => parts.last_mut().expect("never empty").push(c),
        }
    }
    parts
}

/// Reads and checks a merged configuration.
pub(crate) fn check(item: &Item, catalogue: &Catalogue) -> Result<Topology, Failure> {
    let (settings, mut problems) = Settings::read(item);
    let topology = Topology::check(settings, catalogue).map_err(|mut more| problems.append(&mut more));
    match topology {
        Ok(topology) if problems.is_empty() => Ok(topology),
        _ => {
            problems.sort_by_key(place);
            conceal(&mut problems, &secrets_in_clear(item, catalogue));
            Err(Failure::Config(problems))
        }
    }
}

fn place(problem: &Problem) -> (String, usize) {
    problem.location.as_ref().map_or_else(Default::default, |l| (l.source.name.clone(), l.span.start))
}

/// What `up` decides beside the configuration.
pub(crate) struct Start {
    pub(crate) store: Store,
    pub(crate) clock: Arc<SystemClock>,
    pub(crate) process_start: Stamp,
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) interrupt: Interrupt,
    pub(crate) attachments: Vec<Attachment>,
    pub(crate) on_phase: Box<dyn FnMut(&Phase) + Send>,
}

/// Boots a node on its journal.
pub(crate) async fn start(item: &Item, catalogue: &Arc<Catalogue>, start: Start) -> Result<Arc<Node>, Failure> {
    let topology = check(item, catalogue)?;
    let (write, read) = (start.store.clone(), start.store.clone());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut on_phase = start.on_phase;
    let options = BootOptions {
        topology,
        catalogue: catalogue.clone(),
        clock_report: Some(Arc::new({
            let clock = start.clock.clone();
            move || clock.report()
        })),
        clock: start.clock,
        process_start: start.process_start,
        directory: start.store.directory().to_owned(),
        journal: start.store.to_string(),
        open_journal: Box::new(move || write.open()),
        open_reader: Arc::new(move || read.node_reader()),
        listen: start.listen,
        build_id: paths::build_id(),
        spin_ns: if cores > 1 { SPIN_NS } else { 0 },
        world: csf_runtime::World::machine(),
        interrupt: start.interrupt,
        attachments: start.attachments,
        on_phase: Box::new(move |phase| {
            // Logging comes first of what the configuration is applied to.
            if phase.number == LOGGING_PHASE {
                logging::hand_over();
            }
            on_phase(phase);
        }),
    };
    boot(options).await.map_err(|error| match error {
        BootError::Interrupted { phase, name } => Failure::Interrupted { phase, name },
        error => Failure::new(error.code(), error.to_string()),
    })
}

/// The last configuration of a journal, and the build it was written with.
///
/// # Errors
/// When it cannot be read, or holds no run.
pub(crate) fn last_chapter(reader: &mut dyn JournalReader, directory: &Path) -> Result<Chapter, Failure> {
    let none = || Failure::new("CSF-0206", format!("{} holds no run", directory.display()));
    chapters(reader)?.pop().ok_or_else(none)
}

/// The journal that an argument names.
pub(crate) fn store(journal: &Path) -> Result<Store, Failure> {
    Store::parse(&journal.to_string_lossy(), &paths::state_directory())
}

/// Opens a journal for reading.
pub(crate) fn open_journal(journal: &Path) -> Result<Box<dyn JournalReader>, Failure> {
    Ok(store(journal)?.reader()?)
}

/// The directory given, or the newest demo run.
pub(crate) fn journal_or_newest(directory: Option<PathBuf>) -> Result<PathBuf, Failure> {
    directory.or_else(paths::newest_demo_run).ok_or_else(|| {
        Failure::new(
            "CSF-0206",
            "there is no recorded run yet; make one with `csf up --demo`, or name a journal directory",
        )
    })
}
