//! Controller, to be filled in.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::Context;

pub(crate) async fn run(_ctx: Arc<Context>, stop: CancellationToken) {
    stop.cancelled().await;
}
