//! Secrets by reference: what a configuration may say of them, and what is never shown.

use std::sync::Arc;

use csf_runtime::config::{ExposeSecret, Item, Secret, Settings, Source, conceal, secrets_in_clear};
use csf_runtime::exec::RunState;
use csf_runtime::node::{BootOptions, boot};
use csf_runtime::topology::Topology;
use csf_runtime::{BoxFuture, Catalogue, Manifest, Options, Pack, Registrar, Service, ServiceContext, ServiceError};
use csf_sim::MemoryStore;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::world::{SMALL, options};

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct KeeperOptions {
    #[expect(dead_code, reason = "shows that other options are read beside a secret")]
    user: String,
    password: Secret,
    #[serde(default)]
    more: Vec<Login>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Login {
    #[expect(dead_code, reason = "read for its problems")]
    token: Option<Secret>,
}

impl Options for KeeperOptions {}

struct Keeper(KeeperOptions);

impl Service for Keeper {
    fn run(self: Box<Self>, _: ServiceContext) -> BoxFuture<'static, Result<(), ServiceError>> {
        Box::pin(async move {
            let password = self.0.password.reveal()?;
            assert_eq!((password.expose_secret(), self.0.more.len()), ("from the test", 0));
            Ok(())
        })
    }
}

struct Vault;

impl Pack for Vault {
    fn manifest(&self) -> Manifest {
        Manifest { name: "vault", doc: "for tests" }
    }

    fn register(&self, registrar: &mut Registrar<'_>) {
        registrar.service::<KeeperOptions, _>("keeper", "knows a secret", |o| Keeper(o.clone())).done();
    }
}

fn catalogue() -> Arc<Catalogue> {
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(Vault)];
    Arc::new(Catalogue::of(&packs))
}

fn item(text: &str) -> Item {
    Item::parse(&Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() })).unwrap()
}

const KEEPER: &str = "[service.keeper]\ntype = \"vault.keeper\"\nuser = \"csf\"\n";

#[test]
fn a_secret_in_the_file_is_a_problem_that_does_not_show_it() {
    let text =
        format!("{KEEPER}password = \"hunter2\"\nmore = [{{ token = 4711, nmae = 1 }}, {{ token = \"env:B\" }}]\n");
    let item = item(&text);
    let places = secrets_in_clear(&item, &catalogue());
    assert_eq!(places.iter().map(|at| at.line_column()).collect::<Vec<_>>(), [(5, 19), (4, 12)]);
    let (settings, none) = Settings::read(&item);
    assert_eq!(none, []);
    let mut problems = Topology::check(settings, &catalogue()).err().unwrap();
    conceal(&mut problems, &places);
    problems.sort_by_key(|p| p.location.as_ref().unwrap().span.start);
    let seen: Vec<_> = problems.iter().map(|p| (p.code, p.location.as_ref().unwrap().line_column())).collect();
    assert_eq!(seen, [("CSF-0119", (4, 12)), ("CSF-0119", (5, 19)), ("CSF-0103", (5, 25))]);
    assert!(problems.iter().all(|p| p.is_confidential), "the line of the unknown key holds a secret too");
    let words = format!("{:?}", problems.iter().map(|p| (&p.message, &p.label, &p.help)).collect::<Vec<_>>());
    assert!(!words.contains("hunter2") && !words.contains("4711"), "{words}");
    assert!(words.contains("\\\"file:PATH\\\" or \\\"env:NAME\\\""), "{words}");
}

#[test]
fn a_single_value_where_a_list_with_secrets_belongs_is_not_shown_either() {
    let text = format!("{KEEPER}password = \"env:A\"\nmore = \"hunter2\"\n");
    let item = item(&text);
    let places = secrets_in_clear(&item, &catalogue());
    assert_eq!(places.len(), 1);
    let mut problems = Topology::check(Settings::read(&item).0, &catalogue()).err().unwrap();
    conceal(&mut problems, &places);
    let [only] = problems.as_slice() else { panic!("{problems:?}") };
    assert_eq!((only.message.as_str(), only.is_confidential), ("expected a sequence, found a string", true));
}

#[test]
fn references_are_no_secrets() {
    let text = format!("{KEEPER}password = {{ from = \"file:/run/secrets/db\" }}\n");
    assert_eq!(secrets_in_clear(&item(&text), &catalogue()), []);
    assert!(Topology::check(Settings::read(&item(&text)).0, &catalogue()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_not_there_fails_the_service_with_its_page() {
    let path = std::env::temp_dir().join(format!("csf-it-secret-{}", std::process::id()));
    let text = format!("{KEEPER}password = \"file:{}\"\nrestart = {{ policy = \"temporary\" }}\n", path.display());
    let start = || {
        let topology = Topology::check(Settings::read(&item(&text)).0, &catalogue()).unwrap();
        boot(BootOptions { topology, catalogue: catalogue(), ..options(SMALL, &MemoryStore::default()) })
    };
    for (is_there, expected) in [(false, "[CSF-0120] the secret `file:"), (true, "")] {
        if is_there {
            std::fs::write(&path, "from the test\n").unwrap();
        }
        let node = start().await.unwrap();
        let stats = node.service("keeper").unwrap().clone();
        while stats.state() != RunState::Finished && stats.last_error().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(stats.last_error().contains(expected), "{}", stats.last_error());
        assert_eq!(stats.last_error().is_empty(), is_there);
        node.shutdown().await;
    }
    std::fs::remove_file(&path).unwrap();
}
