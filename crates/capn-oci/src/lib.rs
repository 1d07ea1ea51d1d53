//! Creates container images from files, without Docker: an OCI layout in a tar archive that
//! containerd imports and, optionally, Docker loads.
//!
//! Each image has one uncompressed layer without timestamps, so that its digest depends only on the
//! files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read, Seek, Write},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFile {
    /// Path in the image, without a leading slash.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub content: Content,
}

/// Source of a file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A local file.
    Path(Utf8PathBuf),
    /// Static text.
    Text(&'static str),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A symbolic link to this target.
    Link(String),
}

/// An image to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerImage {
    /// References of the image, such as `registry.k8s.io/pause:3.10.1`.
    pub references: Vec<String>,
    /// Files. Their parent directories are created.
    pub files: Vec<LayerFile>,
    /// Entrypoint.
    pub entrypoint: Vec<String>,
    /// Arguments of the entrypoint, or the command if there is none. A pod may override them.
    pub arguments: Vec<String>,
    /// User, as `UID[:GID]`; empty for root.
    pub user: String,
    /// Labels, such as `org.opencontainers.image.version`.
    pub labels: BTreeMap<String, String>,
}

/// Tools that must be able to load the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Tools that support OCI layouts.
    Oci,
    /// Also `docker load`, including versions without support for OCI layouts.
    OciAndDocker,
}

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Writes the images into one archive. Returns the digests of their manifests (`sha256:…`) in the
/// same order. `architecture` is the OCI name (`amd64`).
///
/// # Errors
///
/// Returns an error when a file cannot be read or the archive cannot be written.
pub fn write_archive(
    images: &[ContainerImage],
    architecture: &str,
    readers: Readers,
    output: impl Write + Seek,
) -> io::Result<Vec<String>> {
    let mut archive = tar::Builder::new(output);
    append_bytes(&mut archive, "oci-layout", LAYOUT.as_bytes())?;
    let mut written = BTreeSet::new();
    let mut manifests = Vec::new();
    let mut digests = Vec::new();
    let mut docker = Vec::new();
    for image in images {
        let layer = measure(image)?;
        if written.insert(layer.digest.clone()) {
            let mut header = blob_header(layer.size);
            // The second read fills exactly the size that the first one measured.
            let mut blob = archive.append_writer(&mut header, blob_path(&layer.digest))?;
            write_layer(image, &mut blob)?;
            blob.finish()?;
        }
        let config = to_bytes(&config(image, architecture, &layer))?;
        let config_digest = append_blob(&mut archive, &mut written, &config)?;
        let manifest = to_bytes(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, &config_digest, config.len() as u64),
            "layers": [descriptor(LAYER_TYPE, &layer.digest, layer.size)],
        }))?;
        let digest = append_blob(&mut archive, &mut written, &manifest)?;
        for reference in &image.references {
            let mut entry = descriptor(MANIFEST_TYPE, &digest, manifest.len() as u64);
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry["annotations"] = json!({ "io.containerd.image.name": reference });
            manifests.push(entry);
        }
        digests.push(format!("sha256:{digest}"));
        docker.push(json!({
            "Config": blob_path(&config_digest), "RepoTags": image.references,
            "Layers": [blob_path(&layer.digest)],
        }));
    }
    let index = to_bytes(&json!({ "schemaVersion": 2, "manifests": manifests }))?;
    append_bytes(&mut archive, "index.json", &index)?;
    if readers == Readers::OciAndDocker {
        append_bytes(&mut archive, "manifest.json", &to_bytes(&Value::from(docker))?)?;
    }
    archive.into_inner()?.flush()?;
    Ok(digests)
}

fn config(image: &ContainerImage, architecture: &str, layer: &Measured) -> Value {
    let mut config = json!({ "Env": [PATH], "Entrypoint": image.entrypoint, "WorkingDir": "/" });
    if !image.arguments.is_empty() {
        config["Cmd"] = json!(image.arguments);
    }
    if !image.user.is_empty() {
        config["User"] = json!(image.user);
    }
    if !image.labels.is_empty() {
        config["Labels"] = json!(image.labels);
    }
    json!({
        "architecture": architecture,
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)] },
    })
}

struct Measured {
    digest: String,
    size: u64,
}

fn measure(image: &ContainerImage) -> io::Result<Measured> {
    struct Meter(Sha256, u64);
    impl Write for Meter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            self.1 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut meter = Meter(Sha256::new(), 0);
    write_layer(image, &mut meter)?;
    Ok(Measured { digest: hex::encode(meter.0.finalize()), size: meter.1 })
}

fn write_layer(image: &ContainerImage, output: &mut impl Write) -> io::Result<()> {
    let mut layer = tar::Builder::new(output);
    let mut directories = BTreeSet::from(["tmp".to_owned()]);
    for file in &image.files {
        let parents = Utf8Path::new(&file.path).ancestors().skip(1);
        directories.extend(parents.map(ToString::to_string).filter(|path| !path.is_empty()));
    }
    for directory in &directories {
        let mut header = header(tar::EntryType::Directory, 0);
        header.set_mode(if directory == "tmp" { 0o1777 } else { 0o755 });
        layer.append_data(&mut header, format!("{directory}/"), io::empty())?;
    }
    for file in &image.files {
        match &file.content {
            Content::Link(target) => {
                let mut header = header(tar::EntryType::Symlink, 0);
                header.set_mode(0o777);
                layer.append_link(&mut header, &file.path, target)?;
            }
            Content::Text(text) => append_file(&mut layer, file, text.as_bytes())?,
            Content::Bytes(bytes) => append_file(&mut layer, file, bytes)?,
            Content::Path(path) => {
                let source = File::open(path)?;
                let size = source.metadata()?.len();
                let mut header = header(tar::EntryType::Regular, size);
                header.set_mode(file.mode);
                layer.append_data(&mut header, &file.path, source.take(size))?;
            }
        }
    }
    layer.finish()
}

fn append_file<W: Write>(
    layer: &mut tar::Builder<W>,
    file: &LayerFile,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(tar::EntryType::Regular, bytes.len() as u64);
    header.set_mode(file.mode);
    layer.append_data(&mut header, &file.path, bytes)
}

fn header(kind: tar::EntryType, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn blob_header(size: u64) -> tar::Header {
    let mut header = header(tar::EntryType::Regular, size);
    header.set_mode(0o644);
    header
}

fn blob_path(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

fn append_bytes<W: Write>(
    archive: &mut tar::Builder<W>,
    path: &str,
    bytes: &[u8],
) -> io::Result<()> {
    archive.append_data(&mut blob_header(bytes.len() as u64), path, bytes)
}

fn append_blob<W: Write>(
    archive: &mut tar::Builder<W>,
    written: &mut BTreeSet<String>,
    bytes: &[u8],
) -> io::Result<String> {
    let digest = digest(bytes);
    if written.insert(digest.clone()) {
        append_bytes(archive, &blob_path(&digest), bytes)?;
    }
    Ok(digest)
}

/// SHA-256 in hexadecimal: the name of a blob, without `sha256:`.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn descriptor(media_type: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": size })
}

fn to_bytes(value: &Value) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

#[cfg(test)]
mod tests;
