//! Any text as a topic pattern, asked about any topic: after the first line break stands the topic.
#![no_main]

use csf_gateway::Pattern;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (pattern, topic) = text.split_once('\n').unwrap_or((text, "nav.state"));
    let pattern = Pattern::new(pattern);
    let matches = pattern.matches(topic);
    assert!(!(matches && pattern.is_empty()), "nothing matches an empty pattern");
    for literal in pattern.literals() {
        assert!(pattern.matches(&literal), "{literal} belongs to its own pattern");
    }
});
