//! The console's files, embedded; in debug builds they are read from disk, so a reload shows an edit.

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

#[derive(rust_embed::RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../../../console"]
#[exclude = "tests/*"]
#[exclude = "README.md"]
#[exclude = "package.json"]
struct Files;

/// A file of the console; `/` is its page.
pub(crate) async fn file(uri: Uri) -> Response {
    let path = match uri.path().trim_start_matches('/') {
        "" => "index.html",
        path => path,
    };
    match Files::get(path) {
        Some(file) => {
            let kind = file.metadata.mimetype().to_owned();
            ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache".to_owned())], file.data).into_response()
        }
        None => (StatusCode::NOT_FOUND, "no such page").into_response(),
    }
}
