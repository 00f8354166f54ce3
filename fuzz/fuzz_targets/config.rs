//! Any text as a configuration: settings and problems whose places lie in the text, guards, secrets, options, and durations that survive.
#![no_main]

use std::sync::Arc;

use csf_runtime::config::{Layers, Secret, Settings, Source, conceal, secrets_in_clear};
use csf_runtime::topology::Topology;
use csf_runtime::{Catalogue, Pack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(span) = csf_core::span::parse(text) {
        assert_eq!(csf_core::span::parse(&csf_core::span::text(span)), Some(span));
    }
    if let Some(secret) = Secret::parse(text) {
        assert_eq!(Secret::parse(&secret.to_string()), Some(secret));
    }
    let mut layers = Layers::new("[node]\nname = \"n\"\n");
    let source = Arc::new(Source { name: "csf.toml".to_owned(), text: text.to_owned() });
    layers.add(&source);
    // The way of a variable of the environment or a flag.
    let (path, value) = text.split_once('=').unwrap_or(("node.name", text));
    layers.add_pairs("flags", &[(path.split('.').map(str::to_owned).collect(), value.to_owned())]);
    let (item, mut problems) = layers.finish();
    let (settings, more) = Settings::read(&item);
    problems.extend(more);
    let packs: Vec<Box<dyn Pack>> = vec![Box::new(csf_avionics::Avionics)];
    let catalogue = Catalogue::of(&packs);
    problems.extend(Topology::check(settings, &catalogue).err().unwrap_or_default());
    conceal(&mut problems, &secrets_in_clear(&item, &catalogue));
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
