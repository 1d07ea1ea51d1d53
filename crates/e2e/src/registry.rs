//! Data of the registry in agnhost (`agnhost fake-registry-server`): one image, `pause` with tag
//! `testing`, in the layout of a Docker registry under `/var/registry`.

use std::io::{Cursor, Read as _};

use anyhow::Context as _;
use capn_oci::{ContainerImage, Content, LayerFile, Readers};
use serde_json::{Value, json};

use crate::closure::program;

const AT: &str = "var/registry/pause";

/// Files of the registry.
pub(crate) fn files() -> anyhow::Result<Vec<LayerFile>> {
    let image = ContainerImage {
        references: vec!["pause:testing".to_owned()],
        files: vec![program("busybox", "/bin/busybox")],
        entrypoint: ["/busybox", "sleep", "infinity"].map(str::to_owned).to_vec(),
        ..ContainerImage::default()
    };
    let mut archive = Cursor::new(Vec::new());
    capn_oci::write_archive(&[image], "amd64", Readers::Oci, &mut archive)
        .context("cannot build the image of the registry")?;
    archive.set_position(0);
    from_archive(archive)
}

fn from_archive(archive: Cursor<Vec<u8>>) -> anyhow::Result<Vec<LayerFile>> {
    let mut blobs = Vec::new();
    let mut index = Value::Null;
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        match path.strip_prefix("blobs/sha256/") {
            Some(digest) => blobs.push((digest.to_owned(), bytes)),
            None if path == "index.json" => index = serde_json::from_slice(&bytes)?,
            None => {}
        }
    }
    let manifest = index["manifests"][0].clone();
    let digest = manifest["digest"].as_str().unwrap_or_default().replace("sha256:", "");
    // Clients request the image index first.
    let list = serde_json::to_vec(&json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": manifest["mediaType"], "digest": manifest["digest"],
            "size": manifest["size"], "platform": manifest["platform"],
        }],
    }))?;
    let list_digest = capn_oci::digest(&list);
    let mut files = vec![
        file("manifests/testing".to_owned(), format!("sha256:{list_digest}\n").into_bytes()),
        file(data("manifests", &list_digest), list),
    ];
    files.extend(blobs.into_iter().map(|(name, bytes)| {
        let kind = if name == digest { "manifests" } else { "blobs" };
        file(data(kind, &name), bytes)
    }));
    Ok(files)
}

fn data(kind: &str, digest: &str) -> String {
    let prefix = digest.get(..2).unwrap_or_default();
    format!("{kind}/sha256/{prefix}/{digest}/data")
}

fn file(path: String, bytes: Vec<u8>) -> LayerFile {
    LayerFile { path: format!("{AT}/{path}"), mode: 0o644, content: Content::Bytes(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_resolves_to_an_index_a_manifest_and_blobs() {
        let image = ContainerImage { references: vec!["a:b".into()], ..ContainerImage::default() };
        let mut archive = Cursor::new(Vec::new());
        capn_oci::write_archive(&[image], "amd64", Readers::Oci, &mut archive).unwrap();
        archive.set_position(0);
        let files = from_archive(archive).unwrap();
        let count = |kind: &str| files.iter().filter(|file| file.path.contains(kind)).count();
        assert_eq!((count("/manifests/"), count("/blobs/")), (3, 2), "{files:?}");
    }
}
