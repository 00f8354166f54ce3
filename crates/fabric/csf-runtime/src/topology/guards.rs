//! Whether every guard of the configuration is there, is used, and stands where there is something to guard.

use crate::config::{Located, Problem, ServiceSettings, Settings};
use crate::pack::Catalogue;

/// Every problem of the guards.
pub(super) fn check(settings: &Settings, catalogue: &Catalogue) -> Vec<Problem> {
    let mut problems = Vec::new();
    let names: Vec<&str> = settings.resilience.iter().map(|guard| guard.name.as_str()).collect();
    let of_topics = settings.topics.values().filter_map(|topic| topic.guard.as_ref());
    let used: Vec<&Located<String>> =
        settings.services.iter().flat_map(|service| service.guards.names()).chain(of_topics.clone()).collect();
    for name in used.iter().filter(|name| !names.contains(&name.value.as_str())) {
        let problem = Problem::new("CSF-0121", format!("no guard is called `{}`", name.value))
            .at(&name.at)
            .did_you_mean(&name.value, names.iter().copied());
        // A list of what is known says more than how to add one.
        let help = format!("add a section [resilience.{}]", name.value);
        problems.push(if problem.help.is_empty() { problem.help(help) } else { problem });
    }
    for guard in &settings.resilience {
        if !used.iter().any(|name| name.value == guard.name) {
            let name = &guard.name;
            let help = format!("give a topic, source or service `resilience = \"{name}\"`, or remove the section");
            problems.push(Problem::new("CSF-0121", format!("guard `{name}` guards nothing")).at(&guard.at).help(help));
        }
    }
    for name in of_topics {
        let guard = settings.resilience.iter().find(|guard| guard.name == name.value);
        if guard.is_some_and(|guard| !guard.policy.fallback.is_empty()) {
            let message =
                format!("guard `{}` has a fallback, but a packet that is refused has no other answer", name.value);
            let help = "give the topic a guard without `fallback`";
            problems.push(Problem::new("CSF-0122", message).at(&name.at).help(help));
        }
    }
    settings.services.iter().for_each(|service| calls(service, catalogue, &mut problems));
    problems
}

/// The calls that are guarded are calls that the type makes.
fn calls(service: &ServiceSettings, catalogue: &Catalogue, problems: &mut Vec<Problem>) {
    // An unknown type is told elsewhere.
    let Some(kind) = catalogue.services.get(&service.kind.value) else { return };
    let name = &service.name.value;
    if kind.calls.is_empty() {
        if let Some(guard) = service.guards.names().next() {
            let message = format!("`{name}` makes no outgoing calls that `{}` could guard", guard.value);
            let help = format!("`{}` calls nothing outside; remove `resilience`", kind.name);
            problems.push(Problem::new("CSF-0122", message).at(&guard.at).help(help));
        }
        return;
    }
    for (call, guard) in &service.guards.by_call {
        if !kind.calls.iter().any(|known| known.name == call) {
            let problem = Problem::new("CSF-0122", format!("`{name}` has no outgoing call `{call}`"))
                .at(&guard.at)
                .did_you_mean(call, kind.calls.iter().map(|known| known.name));
            problems.push(problem);
        }
    }
}
