//! Any text as a packet id: an id that prints as that text, or a refusal.
#![no_main]

use csf_core::MessageId;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(id) = text.parse::<MessageId>() {
        assert_eq!(id.to_string(), text);
    }
});
