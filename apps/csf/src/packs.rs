//! Every pack in this node. The order has no meaning.

use std::sync::{Arc, OnceLock};

use csf_runtime::{Catalogue, Pack};

static OWN: OnceLock<Vec<Box<dyn Pack>>> = OnceLock::new();

/// The built-in packs. `cargo xtask new-pack` adds a line here and its twin in `Cargo.toml`.
fn built_in() -> Vec<Box<dyn Pack>> {
    vec![Box::new(csf_avionics::Avionics), Box::new(csf_host::Host), Box::new(crate::agent::Tasks)]
}

/// Adds the packs of a project of one's own; later calls change nothing.
pub(crate) fn add(own: Vec<Box<dyn Pack>>) {
    let _ = OWN.set(own);
}

/// What all packs bring.
pub(crate) fn catalogue() -> Arc<Catalogue> {
    let built_in = built_in();
    let own = OWN.get().map_or(&[][..], Vec::as_slice);
    Arc::new(Catalogue::of(built_in.iter().chain(own)))
}
