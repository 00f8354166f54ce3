//! `csf config show --origin`: the configuration as it will be used, and where each value comes from.

use std::process::ExitCode;

use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::{ConfigAction, ConfigShow};
use crate::{node, packs};

pub(crate) fn run(action: ConfigAction) -> Outcome {
    match action {
        ConfigAction::Show(args) => show(&args),
        ConfigAction::Schema => schema(),
        ConfigAction::Reload(args) => super::reload::run(&args),
    }
}

fn show(args: &ConfigShow) -> Outcome {
    let item = node::load(&args.config)?;
    let leaves = item.leaves();
    let origin = |at: &csf_runtime::config::Location| {
        let (line, column) = at.line_column();
        match at.source.name.as_str() {
            name @ ("environment" | "flags") => format!("{name}: {}", at.source.text),
            "defaults" => "built in".to_owned(),
            name => format!("{name}:{line}:{column}"),
        }
    };
    if args.config.json {
        let values: Vec<_> = leaves
            .iter()
            .map(|(path, item)| json!({ "key": path, "value": item.value(), "origin": origin(&item.location) }))
            .collect();
        return print_json(&values);
    }
    let width =
        leaves.iter().map(|(path, item)| path.len() + item.value().to_string().len() + 3).max().unwrap_or(0).min(72);
    for (path, item) in leaves {
        let line = format!("{path} = {}", item.value());
        if args.origin {
            println!("{line:<width$}  # {}", origin(&item.location));
        } else {
            println!("{line}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn schema() -> Outcome {
    let catalogue = packs::catalogue();
    let components: serde_json::Map<_, _> =
        catalogue.components.iter().map(|(name, kind)| (name.clone(), (kind.schema)())).collect();
    let services: serde_json::Map<_, _> =
        catalogue.services.iter().map(|(name, kind)| (name.clone(), (kind.schema)())).collect();
    print_json(&json!({ "components": components, "services": services }))
}
