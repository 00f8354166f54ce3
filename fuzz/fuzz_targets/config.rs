//! A configuration file: any text gives settings and problems, each with its place.
#![no_main]

use std::sync::Arc;

use csf_runtime::config::{Item, Settings, Source};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let source = Arc::new(Source { name: "fuzz.toml".to_owned(), text: text.to_owned() });
    if let Ok(item) = Item::parse(&source) {
        let _ = Settings::read(&item);
    }
});
