//! Data from servers.

use camino::Utf8Path;
use capn_image::simplestreams;
use incus_api::{Event, InstanceFilter, Reply};
use incus_client::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;
use tokio::time::{Duration, timeout};

pub(crate) fn simplestreams(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    drop(simplestreams::document::parse_index(text));
    if let Ok(products) = simplestreams::document::parse_products(text) {
        drop(simplestreams::images_of(&products));
    }
}

/// Reads the metadata of an image archive.
pub(crate) fn image_archive(bytes: &[u8]) {
    let Ok(dir) = tempfile::tempdir() else { return };
    let path = dir.path().join("image.tar.xz");
    let (Ok(()), Some(path)) = (std::fs::write(&path, bytes), Utf8Path::from_path(&path)) else {
        return;
    };
    drop(simplestreams::file_kind(path));
    drop(simplestreams::read_properties(path));
}

/// Bytes as the raw connection of a server, as a response body, and as an event.
pub(crate) fn incus_answer(bytes: &[u8]) {
    drop(Reply::parse(bytes));
    if let Ok(event) = serde_json::from_slice::<Event>(bytes) {
        drop((event.operation(), event.lifecycle(), event.logging()));
    }
    let Ok(runtime) = Runtime::new() else { return };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        bytes.len()
    );
    for answer in [bytes.to_vec(), [head.as_bytes(), bytes].concat()] {
        let client = Client::custom("fuzz", move || {
            let (near, mut far) = tokio::io::duplex(64 << 10);
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut request = [0; 4096];
                // The client may disconnect.
                if far.read(&mut request).await.is_ok() {
                    drop(far.write_all(&answer).await);
                }
            });
            std::future::ready(Ok(near))
        });
        runtime.block_on(async {
            let asking = async {
                drop(client.server().await);
                drop(client.instances(&InstanceFilter::new()).await);
                drop(client.images().await);
            };
            drop(timeout(Duration::from_secs(2), asking).await);
        });
    }
}
