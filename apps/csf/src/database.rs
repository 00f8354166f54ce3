//! Closes what a project of one's own has open to databases when its node goes (FRM-082).

use std::sync::Arc;

use csf_data::integration::DataIntegrationLayer;
use csf_runtime::BoxFuture;
use csf_runtime::node::{CleanupError, CleanupHandler};

/// After what takes files away, which is quick.
const PRIORITY: u32 = 100;

/// Closes a data layer: its connections to the database, and to the cache, whose own volatile keys go. Keys of others stay, in the same
/// Redis too. Register it with `Node::cleanup`.
pub struct DatabaseCleanupHandler {
    layer: Arc<DataIntegrationLayer>,
}

impl DatabaseCleanupHandler {
    /// Of this layer.
    #[must_use]
    pub fn new(layer: Arc<DataIntegrationLayer>) -> Self {
        Self { layer }
    }
}

impl CleanupHandler for DatabaseCleanupHandler {
    fn name(&self) -> &str {
        "database_connections"
    }

    fn priority(&self) -> u32 {
        PRIORITY
    }

    fn cleanup(&self) -> BoxFuture<'_, Result<(), CleanupError>> {
        Box::pin(async { self.layer.close().await.map(drop).map_err(|error| CleanupError::Failed(error.to_string())) })
    }

    fn verify(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.layer.check_closed().map_err(str::to_owned) })
    }
}
