//! Any text as a filter of the gateway: a condition that any payload can be asked, or a refusal with its place.
#![no_main]

use csf_gateway::Filter;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|text: &str| {
    match Filter::parse(text) {
        Ok(filter) => {
            for payload in [json!(null), json!({ "a": 1, "b": { "c": [1.5, "x", true] } }), json!([[0, -1], "y"])] {
                let _ = filter.accepts(&payload);
            }
        }
        Err(error) => assert!(error.at <= text.len() && text.is_char_boundary(error.at), "{error:?}"),
    }
});
