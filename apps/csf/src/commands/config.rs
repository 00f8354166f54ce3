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
    }
}

fn show(args: &ConfigShow) -> Outcome {
    let item = node::load(&args.config)?;
    let leaves = item.leaves();
    let secrets = secrets_in_clear(&item, &packs::catalogue());
    let is_secret = |at: &Location| {
        let holds = |secret: &Location| {
            *secret.source == *at.source && secret.span.start <= at.span.start && at.span.end <= secret.span.end
        };
        secrets.iter().any(holds)
    };
    let shown = |item: &Item| match is_secret(&item.location) {
        true => toml::Value::String(HIDDEN.to_owned()),
        false => item.value(),
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
    if args.config.json {
        let values: Vec<_> = leaves
            .iter()
            .map(|(path, item)| json!({ "key": path, "value": shown(item), "origin": origin(&item.location) }))
            .collect();
        return print_json(&values);
    }
    let width =
        leaves.iter().map(|(path, item)| path.len() + shown(item).to_string().len() + 3).max().unwrap_or(0).min(72);
    for (path, item) in leaves {
        let line = format!("{path} = {}", shown(item));
        if args.origin {
            println!("{line:<width$}  # {}", origin(&item.location));
        } else {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn schema() -> Outcome {
    let schema = csf_runtime::config::json_schema(&packs::catalogue(), None);
    println!("{schema:#}");
    Ok(ExitCode::SUCCESS)
}
