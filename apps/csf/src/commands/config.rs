//! `csf config`: the configuration as it will be used, where each value comes from, and its schema for editors.

use std::process::ExitCode;

use csf_runtime::config::{Item, Location, secrets_in_clear};
use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::{ConfigAction, ConfigShow};
use crate::{node, packs};

/// In place of a secret that should be a reference.
const HIDDEN: &str = "(hidden: a secret)";

pub(crate) fn run(action: ConfigAction) -> Outcome {
    match action {
        ConfigAction::Show(args) => show(&args),
        ConfigAction::Schema => schema(),
        ConfigAction::Reload(args) => super::reload::run(&args),
    }
}

fn show(args: &ConfigShow) -> Outcome {
    let item = node::load(&args.config)?;
    let rows = rows(&item, &secrets_in_clear(&item, &packs::catalogue()));
    if args.config.json {
        let values: Vec<_> =
            rows.iter().map(|row| json!({ "key": row.key, "value": row.value, "origin": row.origin })).collect();
        return print_json(&values);
    }
    let line = |row: &Row| format!("{} = {}", row.key, row.value);
    let width = rows.iter().map(|row| line(row).len()).max().unwrap_or(0).min(72);
    for row in rows {
        if args.origin {
            println!("{:<width$}  # {}", line(&row), row.origin);
        } else {
            println!("{}", line(&row));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A value, and where it comes from.
struct Row {
    key: String,
    value: toml::Value,
    origin: String,
}

/// Every value, but what lies inside one of `secrets`.
fn rows(item: &Item, secrets: &[Location]) -> Vec<Row> {
    let is_secret = |at: &Location| {
        let holds = |secret: &Location| {
            *secret.source == *at.source && secret.span.start <= at.span.start && at.span.end <= secret.span.end
        };
        secrets.iter().any(holds)
    };
    let origin = |at: &Location| {
        let (line, column) = at.line_column();
        match at.source.name.as_str() {
            name @ ("environment" | "flags") if is_secret(at) => format!("{name}: {HIDDEN}"),
            name @ ("environment" | "flags") => format!("{name}: {}", at.source.text),
            "defaults" => "built in".to_owned(),
            name => format!("{name}:{line}:{column}"),
        }
    };
    let row = |(key, item): (String, &Item)| {
        let value = if is_secret(&item.location) { toml::Value::String(HIDDEN.to_owned()) } else { item.value() };
        Row { key, value, origin: origin(&item.location) }
    };
    item.leaves().into_iter().map(row).collect()
}

fn schema() -> Outcome {
    let schema = csf_runtime::config::json_schema(&packs::catalogue(), None);
    println!("{schema:#}");
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use csf_runtime::config::{Layers, Source};

    use super::*;

    #[test]
    fn what_should_be_a_reference_is_not_shown_wherever_it_comes_from() {
        let mut layers = Layers::new("");
        let text = "[service.a]\npin = 4711\nlogin = { token = \"hunter2\" }\nuser = \"me\"\n";
        layers.add(&Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() }));
        let path = ["service", "a", "password"].map(str::to_owned).to_vec();
        layers.add_pairs("environment", &[(path, "hunter3".to_owned())]);
        let (item, _) = layers.finish();
        let place = |keys: [&str; 3]| item.at(keys).unwrap().location.clone();
        let secrets = ["pin", "login", "password"].map(|key| place(["service", "a", key]));
        let rows = rows(&item, &secrets);
        let lines: Vec<String> = rows.iter().map(|r| format!("{} = {} # {}", r.key, r.value, r.origin)).collect();
        assert_eq!(
            lines,
            [
                format!("service.a.login.token = \"{HIDDEN}\" # csf.toml:3:19"),
                format!("service.a.password = \"{HIDDEN}\" # environment: {HIDDEN}"),
                format!("service.a.pin = \"{HIDDEN}\" # csf.toml:2:7"),
                "service.a.user = \"me\" # csf.toml:4:8".to_owned(),
            ]
        );
    }
}
