//! `csf validate` and `csf graph`: what a configuration says, before anything runs.

use std::process::ExitCode;

use csf_runtime::config::Problem;
use csf_runtime::topology::Graph;
use serde_json::json;

use super::{Outcome, print_json};
use crate::cli::{ConfigArgs, GraphArgs, GraphForm};
use crate::diagnostic::Failure;
use crate::{node, packs};

/// Reports every problem; exit code 2 when there is one.
pub(crate) fn validate(args: &ConfigArgs) -> Outcome {
    let checked = node::load(args).and_then(|item| node::check(&item, &packs::catalogue()));
    match checked {
        Ok(topology) => {
            let (services, components, topics) =
                (topology.services.len(), topology.components.len(), topology.topics.len());
            if args.json {
                let problems: [(); 0] = [];
                return print_json(
                    &json!({ "valid": true, "services": services, "components": components, "topics": topics, "problems": problems }),
                );
            }
            println!("valid: {services} services, {components} components, {topics} topics");
            Ok(ExitCode::SUCCESS)
        }
        Err(Failure::Config(problems)) if args.json => {
            let list: Vec<_> = problems.iter().map(problem_json).collect();
            print_json(&json!({ "valid": false, "problems": list }))?;
            Ok(ExitCode::from(2))
        }
        Err(failure) => Err(failure),
    }
}

fn problem_json(problem: &Problem) -> serde_json::Value {
    let place = problem.location.as_ref().map(|location| {
        let (line, column) = location.line_column();
        json!({ "source": location.source.name, "line": line, "column": column })
    });
    json!({ "code": problem.code, "message": problem.message, "place": place, "label": problem.label, "help": problem.help })
}

/// Draws the graph.
pub(crate) fn graph(args: &GraphArgs) -> Outcome {
    let topology = node::check(&node::load(&args.config)?, &packs::catalogue())?;
    let graph = Graph::of(&topology);
    if args.config.json {
        return print_json(&graph);
    }
    match args.format {
        GraphForm::Text => print!("{}", graph.text()),
        GraphForm::Dot => print!("{}", graph.dot()),
        GraphForm::Mermaid => print!("{}", graph.mermaid()),
    }
    Ok(ExitCode::SUCCESS)
}
