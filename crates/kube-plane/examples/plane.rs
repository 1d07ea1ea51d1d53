//! A plane that serves HTTPS, for trying it with kubectl:
//!
//! ```text
//! cargo run -p kube-plane --example plane -- DIR [PORT] [DEFINITION.yaml…]
//! kubectl --kubeconfig DIR/plane.kubeconfig get namespaces
//! ```

use std::path::PathBuf;

use kube_plane::{Pki, Plane, PlaneOptions};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let dir = PathBuf::from(arguments.next().ok_or("usage: plane DIR [PORT] [DEFINITION.yaml…]")?);
    let port: u16 = arguments.next().map_or(Ok(0), |port| port.parse())?;
    let mut crds = Vec::new();
    for file in arguments {
        crds.push(serde_saphyr::from_str(&std::fs::read_to_string(file)?)?);
    }
    let path = Some(dir.join("plane.db"));
    let plane = Plane::open(PlaneOptions { path, crds, ..PlaneOptions::default() }).await?;
    let pki = Pki::open(&dir.join("pki"), &[])?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let server = format!("https://{}", listener.local_addr()?);
    pki.write_kubeconfig(&dir.join("plane.kubeconfig"), "plane", &server)?;
    let stop = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    plane.serve_https(listener, &pki.server_tls()?, stop).await?;
    plane.close().await;
    Ok(())
}
