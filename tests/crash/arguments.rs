//! What the program is told: by people, and by itself when it starts a process to kill.

use crate::backend::{Backend, Place};

/// A bug put in on purpose, which must be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Answers before the commit.
    EarlyAcknowledgement,
    /// A step that is tried again has another key each time.
    NewKeys,
    /// What was sold is published after the commit, by the process that committed.
    DetachedPublish,
}

impl Plant {
    const ALL: [Self; 3] = [Self::EarlyAcknowledgement, Self::NewKeys, Self::DetachedPublish];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EarlyAcknowledgement => "early-acknowledgement",
            Self::NewKeys => "new-keys",
            Self::DetachedPublish => "detached-publish",
        }
    }

    fn named(name: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|plant| plant.name() == name);
        found.ok_or_else(|| format!("there is no `{name}` to plant; there are {names}"))
    }
}

/// A run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) backend: Backend,
    pub(crate) kills: u64,
    pub(crate) seed: u64,
    pub(crate) plant: Option<Plant>,
    pub(crate) is_json: bool,
}

/// One of the processes that are killed.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// From 1 on each log.
    pub(crate) number: u64,
    /// Nothing new is begun, and what was begun ends.
    pub(crate) is_last: bool,
    /// By caller: its last append that was answered.
    pub(crate) last_answers: Vec<u64>,
    pub(crate) plant: Option<Plant>,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    Kill(Plan),
    Live(Place, Life),
}

const HELP: &str = "crash --backend sqlite|postgres|jetstream [--kills N] [--seed S] [--plant BUG] [--json]";

/// Reads the words after the program's name.
pub(crate) fn read(words: &[String]) -> Result<Task, String> {
    let (mut backend, mut kills, mut seed, mut plant, mut is_json) = (None, 20, 1, None, false);
    let mut own = (String::new(), String::new(), String::new());
    let mut life = None;
    let (mut last_answers, mut is_last) = (Vec::new(), false);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().ok_or_else(|| format!("{word} wants a value\n{HELP}"));
        match word.as_str() {
            "--backend" => backend = Some(Backend::named(&value()?)?),
            "--kills" => kills = number(word, &value()?)?,
            "--seed" => seed = number(word, &value()?)?,
            "--plant" => plant = Some(Plant::named(&value()?)?),
            "--json" => is_json = true,
            "--live" => life = Some(number(word, &value()?)?),
            "--url" => own.0 = value()?,
            "--name" => own.1 = value()?,
            "--folder" => own.2 = value()?,
            "--last-answers" => {
                last_answers = value()?.split(',').map(|n| number(word, n)).collect::<Result<_, _>>()?;
            }
            "--last" => is_last = true,
            _ => return Err(format!("`{word}` is not known\n{HELP}")),
        }
    }
    let backend = backend.ok_or_else(|| format!("--backend is missing\n{HELP}"))?;
    if let Some(number) = life {
        let (url, name, folder) = own;
        let place = Place { backend, url, name, folder: folder.into() };
        return Ok(Task::Live(place, Life { number, is_last, last_answers, plant }));
    }
    Ok(Task::Kill(Plan { backend, kills, seed, plant, is_json }))
}

fn number(name: &str, text: &str) -> Result<u64, String> {
    text.parse().map_err(|e| format!("{name} {text}: {e}"))
}

impl Life {
    /// The words that [`read`] reads.
    pub(crate) fn words(&self, place: &Place) -> Vec<String> {
        let answers: Vec<String> = self.last_answers.iter().map(u64::to_string).collect();
        let pairs = [
            ("--live", self.number.to_string()),
            ("--backend", place.backend.name().to_owned()),
            ("--url", place.url.clone()),
            ("--name", place.name.clone()),
            ("--folder", place.folder.display().to_string()),
            ("--last-answers", answers.join(",")),
        ];
        let mut words: Vec<String> = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        words.extend(self.is_last.then(|| "--last".to_owned()));
        words.extend(self.plant.into_iter().flat_map(|plant| ["--plant".to_owned(), plant.name().to_owned()]));
        words
    }
}
