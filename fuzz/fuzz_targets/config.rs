//! Any text as a configuration: settings and problems whose places lie in the text, and durations that survive.
#![no_main]

use std::sync::Arc;

use csf_runtime::config::{Layers, Settings, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(span) = csf_core::span::parse(text) {
        assert_eq!(csf_core::span::parse(&csf_core::span::text(span)), Some(span));
    }
    let mut layers = Layers::new("[node]\nname = \"n\"\n");
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() });
    layers.add(&source);
    // The way of a variable of the environment or a flag.
    let (path, value) = text.split_once('=').unwrap_or(("node.name", text));
    layers.add_pairs("flags", &[(path.split('.').map(str::to_owned).collect(), value.to_owned())]);
    let (item, mut problems) = layers.finish();
    problems.extend(Settings::read(&item).1);
    for (_, leaf) in item.leaves() {
        let _ = leaf.location.line_column();
    }
    for problem in problems {
        assert!(problem.code.starts_with("CSF-01"), "{problem:?}");
        if let Some(place) = &problem.location {
            assert!(place.span.end <= place.source.text.len(), "{problem:?}");
            let _ = place.line_column();
        }
    }
});
