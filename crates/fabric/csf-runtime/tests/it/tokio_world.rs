//! Tokio behind the ports.

use std::sync::Arc;

use csf_runtime::TokioWorld;

#[tokio::test]
async fn tokio_conforms() {
    csf_sim::conformance::execution(Arc::new(TokioWorld::current())).await;
}
