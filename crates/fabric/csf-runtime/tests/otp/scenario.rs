//! A supervision scenario: a tree, what happens to it, and its text as an Erlang term for the oracle.

use std::fmt::{self, Display, Formatter};

use csf_runtime::supervise::{AutoShutdown, Restart, Strategy};

/// Ids from the root down; the root is empty.
pub(crate) type Path = Vec<&'static str>;

pub(crate) struct Scenario {
    pub(crate) number: u64,
    /// Whether OTP's module runs as it is shipped, on the real clock.
    pub(crate) is_unmodified: bool,
    pub(crate) tree: Tree,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone)]
pub(crate) struct Tree {
    pub(crate) strategy: Strategy,
    pub(crate) intensity: u32,
    pub(crate) period_s: u64,
    pub(crate) auto_shutdown: AutoShutdown,
    pub(crate) children: Vec<Child>,
}

#[derive(Clone)]
pub(crate) struct Child {
    pub(crate) id: &'static str,
    pub(crate) restart: Restart,
    pub(crate) shutdown: Stop,
    pub(crate) significant: bool,
    pub(crate) what: What,
}

#[derive(Clone)]
pub(crate) enum What {
    Worker { script: Vec<StartResult>, manner: Manner },
    Supervisor(Tree),
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Stop {
    BrutalKill,
    Millis(u64),
    Infinity,
}

/// What one start does.
#[derive(Clone, Copy)]
pub(crate) enum StartResult {
    Runs,
    Ignores,
    Fails,
    Crashes,
}

/// What a worker does when it is asked to stop.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Manner {
    Obeys,
    Answers(End),
    Ignores,
    /// It does not trap the signal.
    Untrapped,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    Normal,
    Shutdown,
    ShutdownWith,
    Boom,
    Killed,
}

#[derive(Clone)]
pub(crate) enum Step {
    Clock(u64),
    Crash(Path, End),
    CrashNth(Path, usize, End),
    Call(Path, Request),
    /// Everything inside happens before the supervisor handles any of it.
    Burst(Path, Vec<Step>),
    Stop(End),
}

#[derive(Clone)]
pub(crate) enum Request {
    Start(Child),
    StartInstance,
    Terminate(&'static str),
    TerminateNth(usize),
    Restart(&'static str),
    Delete(&'static str),
}

struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
        }
        f.write_str("]")
    }
}

impl Display for Scenario {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let module = if self.is_unmodified { "supervisor" } else { "scripted_supervisor" };
        let Tree { children, .. } = &self.tree;
        let (number, steps) = (self.number, List(&self.steps));
        writeln!(f, "{{scenario,{number},{module},{},{},{steps}}}.", flags(&self.tree), List(children))
    }
}

fn flags(tree: &Tree) -> String {
    let strategy = match tree.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::SimpleOneForOne => "simple_one_for_one",
    };
    let auto = match tree.auto_shutdown {
        AutoShutdown::Never => "never",
        AutoShutdown::AnySignificant => "any_significant",
        AutoShutdown::AllSignificant => "all_significant",
    };
    format!("{{{strategy},{},{},{auto}}}", tree.intensity, tree.period_s)
}

impl Display for Child {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let restart = match self.restart {
            Restart::Permanent => "permanent",
            Restart::Transient => "transient",
            Restart::Temporary => "temporary",
        };
        let Self { id, shutdown, significant, .. } = self;
        match &self.what {
            What::Worker { script, manner } => {
                write!(f, "{{worker,{id},{restart},{shutdown},{significant},{},{manner}}}", List(script))
            }
            What::Supervisor(tree) => {
                let children = List(&tree.children);
                write!(f, "{{supervisor,{id},{restart},{shutdown},{significant},{},{children}}}", flags(tree))
            }
        }
    }
}

impl Display for Stop {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::BrutalKill => f.write_str("brutal_kill"),
            Self::Millis(n) => write!(f, "{n}"),
            Self::Infinity => f.write_str("infinity"),
        }
    }
}

impl Display for StartResult {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs => "ok",
            Self::Ignores => "ignore",
            Self::Fails => "{error,refused}",
            Self::Crashes => "crash",
        })
    }
}

impl Display for Manner {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obeys => f.write_str("obey"),
            Self::Answers(end) => write!(f, "{{answer,{end}}}"),
            Self::Ignores => f.write_str("ignore"),
            Self::Untrapped => f.write_str("untrapped"),
        }
    }
}

impl Display for End {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "normal",
            Self::Shutdown => "shutdown",
            Self::ShutdownWith => "{shutdown,done}",
            Self::Boom => "boom",
            Self::Killed => "killed",
        })
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clock(seconds) => write!(f, "{{clock,{seconds}}}"),
            Self::Crash(path, end) => write!(f, "{{crash,{},{end}}}", List(path)),
            Self::CrashNth(path, n, end) => write!(f, "{{crash_nth,{},{n},{end}}}", List(path)),
            Self::Call(path, request) => write!(f, "{{call,{},{request}}}", List(path)),
            Self::Burst(path, steps) => write!(f, "{{burst,{},{}}}", List(path), List(steps)),
            Self::Stop(End::Killed) => f.write_str("{stop,kill}"),
            Self::Stop(end) => write!(f, "{{stop,{end}}}"),
        }
    }
}

impl Display for Request {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(child) => write!(f, "{{start,{child}}}"),
            Self::StartInstance => f.write_str("start_instance"),
            Self::Terminate(id) => write!(f, "{{terminate,{id}}}"),
            Self::TerminateNth(n) => write!(f, "{{terminate_nth,{n}}}"),
            Self::Restart(id) => write!(f, "{{restart,{id}}}"),
            Self::Delete(id) => write!(f, "{{delete,{id}}}"),
        }
    }
}
