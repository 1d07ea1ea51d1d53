//! Image servers, without network access and without an Incus or LXD server.

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

/// A tree with one image whose files are missing.
const PRODUCTS: &str = r#"{
  "format": "products:1.0", "datatype": "image-downloads", "content_id": "images",
  "products": { "debian:trixie:kubeadm-v1.36.2:amd64": {
    "aliases": "kubeadm/v1.36.2", "arch": "amd64", "os": "debian", "release": "trixie",
    "versions": { "202611241352": { "items": {
      "lxd.tar.xz": {
        "ftype": "lxd.tar.xz", "path": "images/m", "size": 1000,
        "combined_squashfs_sha256": "00000000000000000000000000000000000000000000000000000000000000aa"
      },
      "squashfs": { "ftype": "squashfs", "path": "images/r", "size": 419430400 },
      "disk": { "ftype": "disk-kvm.img", "path": "images/d", "size": 1 }
    } } }
  } }
}"#;
const INDEX: &str = r#"{ "format": "index:1.0", "index": { "images": {
  "datatype": "image-downloads", "path": "streams/v1/images.json",
  "products": ["debian:trixie:kubeadm-v1.36.2:amd64"]
} } }"#;

fn tree(home: &Home, products: &str) -> String {
    let dir = home.path().join("tree/streams/v1");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("index.json"), INDEX).unwrap();
    std::fs::write(dir.join("images.json"), products).unwrap();
    home.path().join("tree").to_str().unwrap().to_owned()
}

#[test]
fn images_are_listed_with_files_that_no_server_reads() {
    let home = Home::new();
    let tree = tree(&home, PRODUCTS);
    assert_snapshot!(home.capn(&["simplestreams", "show", &tree, "-o", "wide"]), @r"
    ALIAS            KUBERNETES  ARCH   TYPE       SIZE     DATE        VERSION       READ BY  FINGERPRINT   PRODUCT
    kubeadm/v1.36.2  v1.36.2     amd64  container  401 MiB  2026-11-24  202611241352  lxd      000000000000  debian:trixie:kubeadm-v1.36.2:amd64
    ------- stderr -------
    · product debian:trixie:kubeadm-v1.36.2:amd64, version 202611241352, item disk: no metadata item has a combined hash for it
    [exit: Done]
    ");
    // A directory can be listed like an image server; names are printed as data.
    let ran = home.capn(&["image", "list", "--remote", &tree, "-o", "name"]);
    assert_eq!((ran.out.as_str(), ran.exit), ("kubeadm/v1.36.2\n", Exit::Done), "{ran}");
}

#[test]
fn missing_files_fail_verification() {
    let home = Home::new();
    let tree = tree(&home, PRODUCTS);
    assert_snapshot!(home.capn(&["simplestreams", "verify", &tree]), @r"
    product debian:trixie:kubeadm-v1.36.2:amd64, version 202611241352, item disk: no metadata item has a combined hash for it
    product debian:trixie:kubeadm-v1.36.2:amd64, version 202611241352, item lxd.tar.xz: images/m does not exist
    product debian:trixie:kubeadm-v1.36.2:amd64, version 202611241352, item squashfs: images/r does not exist
    ------- stderr -------
    ✗ verification of $HOME/tree failed: 1 image in 0 files, 0 MiB
    Error: $HOME/tree has 3 problems
    [exit: Failed]
    ");
}

#[test]
fn an_invalid_document_is_an_error_with_its_position() {
    let home = Home::new();
    let tree = tree(&home, &PRODUCTS.replace("419430400", "\"400 MiB\""));
    assert_snapshot!(home.capn(&["simplestreams", "show", &tree]), @r#"
    ------- stderr -------
    Error: cannot list the images of $HOME/tree
    Caused by:
      1: cannot parse $HOME/tree/streams/v1/images.json
      2: product debian:trixie:kubeadm-v1.36.2:amd64, version 202611241352, item squashfs, field size
      3: invalid type: string "400 MiB", expected u64 at line 10 column 78
    [exit: Failed]
    "#);
}

#[test]
fn image_servers_require_https() {
    let home = Home::new();
    let ran = home.capn(&["generate", "cluster", "a", "--image-server", "http://images.example"]);
    assert_snapshot!(ran, @r#"
    ------- stderr -------
    Error: image server "http://images.example" is not an https:// URL
    Hint: Incus and LXD require HTTPS: `--image-server https://HOST/PATH`
    [exit: Usage]
    "#);
}

#[test]
fn a_cluster_remembers_its_image_servers() {
    let servers =
        ["--image-server", "https://a.example", "--image-server", "lab=https://b.example"];
    let options = ["--kubernetes-version", "1.31.5", "--remote", "unix:///no/socket"];
    let ran = Home::new().capn(&[&["generate", "cluster", "a"][..], &servers, &options].concat());
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    let annotation = "capn.cluster.x-k8s.io/image-servers: https://a.example,lab=https://b.example";
    assert_eq!(ran.out.matches(annotation).count(), 1, "{ran}");
}
