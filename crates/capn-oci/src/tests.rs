use super::*;

fn image(references: &[&str], text: &'static str) -> ContainerImage {
    ContainerImage {
        references: references.iter().map(ToString::to_string).collect(),
        files: vec![LayerFile {
            path: "usr/local/bin/tool".into(),
            mode: 0o755,
            content: Content::Text(text),
        }],
        entrypoint: vec!["/usr/local/bin/tool".into()],
        ..ContainerImage::default()
    }
}

fn archive(images: &[ContainerImage]) -> BTreeMap<String, Vec<u8>> {
    archive_for(images, Readers::Oci)
}

fn archive_for(images: &[ContainerImage], readers: Readers) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = io::Cursor::new(Vec::new());
    write_archive(images, "amd64", readers, &mut bytes).unwrap();
    let bytes = bytes.into_inner();
    let mut tar = tar::Archive::new(bytes.as_slice());
    tar.entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        })
        .collect()
}

fn json_of(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Follows a descriptor, checking digest and size.
fn follow<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let digest = descriptor["digest"].as_str().unwrap().trim_start_matches("sha256:");
    let bytes = &files[&format!("blobs/sha256/{digest}")];
    assert_eq!(hex::encode(Sha256::digest(bytes)), digest);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn all_digests_and_sizes_are_correct() {
    let files = archive(&[image(&["registry.example/a:1"], "one")]);
    let index = json_of(&files["index.json"]);
    let entry = &index["manifests"][0];
    assert_eq!(entry["annotations"]["io.containerd.image.name"], "registry.example/a:1");
    let manifest = json_of(follow(&files, entry));
    let config = json_of(follow(&files, &manifest["config"]));
    let layer = follow(&files, &manifest["layers"][0]);
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"]);
    assert_eq!(config["config"]["Entrypoint"][0], "/usr/local/bin/tool");

    let mut layer = tar::Archive::new(layer);
    let found: Vec<_> = layer
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            (entry.path().unwrap().display().to_string(), header.mode().unwrap())
        })
        .collect();
    let expected = [
        ("tmp/", 0o1777),
        ("usr/", 0o755),
        ("usr/local/", 0o755),
        ("usr/local/bin/", 0o755),
        ("usr/local/bin/tool", 0o755),
    ];
    assert_eq!(found, expected.map(|(path, mode)| (path.to_owned(), mode)));
}

#[test]
fn one_image_under_two_names_is_stored_once() {
    let files = archive(&[image(&["registry.example/a:1", "registry.example/a:2"], "one")]);
    assert_eq!(json_of(&files["index.json"])["manifests"].as_array().unwrap().len(), 2);
    assert_eq!(files.keys().filter(|path| path.starts_with("blobs/")).count(), 3);
}

#[test]
fn digests_depend_on_content_alone() {
    let digest = |text| {
        let files = archive(&[image(&["registry.example/a:1"], text)]);
        json_of(&files["index.json"])["manifests"][0]["digest"].clone()
    };
    assert_eq!(digest("one"), digest("one"));
    assert_ne!(digest("one"), digest("two"));
}

#[test]
fn docker_finds_config_layers_and_names() {
    let mut image = image(&["registry.example/a:1"], "one");
    image.user = "65532:65532".into();
    image.labels.insert("org.opencontainers.image.version".into(), "v1".into());
    let files = archive_for(&[image], Readers::OciAndDocker);
    let entry = &json_of(&files["manifest.json"])[0];
    assert_eq!(entry["RepoTags"][0], "registry.example/a:1");
    let config = json_of(&files[entry["Config"].as_str().unwrap()]);
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Labels"]["org.opencontainers.image.version"], "v1");
    let layer = &files[entry["Layers"][0].as_str().unwrap()];
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(layer)));
    assert_eq!(config["rootfs"]["diff_ids"][0], digest);
}
