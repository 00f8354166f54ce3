//! Filters and topic patterns of the API: any text is understood or refused, and what is understood judges any payload.
#![no_main]

use csf_gateway::{Filter, Pattern};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (filter, topic) = text.split_once('\0').unwrap_or((text, "nav.state"));
    if let Ok(filter) = Filter::parse(filter) {
        let payload = serde_json::json!({ "a": [1, -2.5, { "b": "text" }], "c": true, "d": null });
        let first = filter.accepts(&payload);
        assert_eq!(first, filter.accepts(&payload));
    }
    let _ = Pattern::new(filter).matches(topic);
});
