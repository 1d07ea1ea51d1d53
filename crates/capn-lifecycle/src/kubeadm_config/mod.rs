//! Controller, to be filled in.

#[allow(dead_code)]
pub(crate) mod render;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Context;

pub(crate) async fn run(_ctx: Arc<Context>, stop: CancellationToken) {
    stop.cancelled().await;
}
