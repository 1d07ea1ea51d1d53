//! Container image of the manager, as an archive for `docker load`, `podman load` and containerd.

use std::io::{Seek, Write};

use camino::{Utf8Path, Utf8PathBuf};
use capn_oci::{ContainerImage, Content, LayerFile, Readers};

use crate::{PackageError, Release};

/// User ID of the manager; the common "nobody" of images without users.
pub const USER: u32 = 65532;

const PASSWD: &str = "root:x:0:0:root:/root:/sbin/nologin\n\
    nonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";
/// Name resolution order, also without the C library's default.
const NSSWITCH: &str = "hosts: files dns\n";

/// Input of the image.
#[derive(Clone, Debug)]
pub struct ImageRequest<'a> {
    /// The release; it provides the name of the image.
    pub release: &'a Release,
    /// The statically linked `capn` binary, the only program in the image.
    pub binary: &'a Utf8Path,
    /// CA certificates (PEM) for image servers on the internet.
    pub certificates: Option<&'a Utf8Path>,
    /// OCI architecture: `amd64`, `arm64`.
    pub architecture: &'a str,
}

/// Writes the archive. Returns the digest of the image (`sha256:…`).
///
/// # Errors
/// Returns [`PackageError::Archive`] if a file cannot be read or written.
pub fn write(
    request: &ImageRequest<'_>,
    output: impl Write + Seek,
) -> Result<String, PackageError> {
    let written = capn_oci::write_archive(
        &[image(request)],
        request.architecture,
        Readers::OciAndDocker,
        output,
    )
    .map_err(PackageError::archive("the manager's image"))?;
    Ok(written.into_iter().next().unwrap_or_default())
}

fn image(request: &ImageRequest<'_>) -> ContainerImage {
    let file = |path: &str, mode, content| LayerFile { path: path.to_owned(), mode, content };
    let on_disk = |path: &Utf8Path| Content::Path(Utf8PathBuf::from(path));
    let mut files = vec![
        file("capn", 0o755, on_disk(request.binary)),
        // Manifests of other providers call the binary by this name.
        file("manager", 0o755, Content::Link("/capn".to_owned())),
        file("etc/passwd", 0o644, Content::Text(PASSWD)),
        file("etc/group", 0o644, Content::Text(GROUP)),
        file("etc/nsswitch.conf", 0o644, Content::Text(NSSWITCH)),
    ];
    if let Some(path) = request.certificates {
        files.push(file("etc/ssl/certs/ca-certificates.crt", 0o644, on_disk(path)));
    }
    let label =
        |key: &str, value: &str| (format!("org.opencontainers.image.{key}"), value.to_owned());
    ContainerImage {
        references: vec![request.release.image().to_owned()],
        files,
        entrypoint: vec!["/capn".to_owned(), "manager".to_owned()],
        arguments: Vec::new(),
        user: format!("{USER}:{USER}"),
        labels: [
            label("title", "capn"),
            label("description", "Cluster API infrastructure provider for Incus and LXD"),
            label("version", &request.release.tag()),
            label("licenses", env!("CARGO_PKG_LICENSE")),
            label("source", env!("CARGO_PKG_REPOSITORY")),
        ]
        .into(),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        io::{Cursor, Read},
    };

    use serde_json::Value;

    use super::*;

    fn entries(tar: &[u8]) -> BTreeMap<String, (u32, Vec<u8>)> {
        let mut archive = tar::Archive::new(tar);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mode = entry.header().mode().unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (path, (mode, content))
        });
        entries.collect()
    }

    #[test]
    fn the_image_runs_the_manager_as_an_unprivileged_user() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let binary = dir.join("capn");
        std::fs::write(&binary, "a program").unwrap();
        let release = Release::new("v0.1.0", "example.org/capn/manager:v0.1.0").unwrap();
        let request = ImageRequest {
            release: &release,
            binary: &binary,
            certificates: None,
            architecture: "amd64",
        };
        let mut bytes = Cursor::new(Vec::new());
        let digest = write(&request, &mut bytes).unwrap();
        let mut again = Cursor::new(Vec::new());
        assert_eq!(write(&request, &mut again).unwrap(), digest);
        assert_eq!(bytes.get_ref(), again.get_ref());
        let files = entries(bytes.get_ref());
        let docker: Value = serde_json::from_slice(&files["manifest.json"].1).unwrap();
        assert_eq!(docker[0]["RepoTags"][0], "example.org/capn/manager:v0.1.0");
        let config = &files[docker[0]["Config"].as_str().unwrap()].1;
        let config: Value = serde_json::from_slice(config).unwrap();
        assert_eq!(config["config"]["Entrypoint"], serde_json::json!(["/capn", "manager"]));
        assert_eq!(config["config"]["User"], "65532:65532");
        assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "v0.1.0");
        let layer = entries(&files[docker[0]["Layers"][0].as_str().unwrap()].1);
        assert_eq!(layer["capn"], (0o755, b"a program".to_vec()));
        assert!(String::from_utf8_lossy(&layer["etc/passwd"].1).contains("nonroot:x:65532:"));
        assert!(!layer.contains_key("etc/ssl/certs/ca-certificates.crt"));
        let missing = ImageRequest { binary: &dir.join("none"), ..request };
        assert!(write(&missing, Cursor::new(Vec::new())).is_err());
    }
}
