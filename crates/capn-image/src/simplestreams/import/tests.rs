use std::io::Write;

use camino::Utf8Path;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::*;
use crate::simplestreams::document::{INDEX_PATH, PRODUCTS_PATH, parse_index, parse_products};
use crate::simplestreams::images::ImageType;

const SQUASHFS: &[u8] = b"hsqs and what follows";
const QCOW2: &[u8] = b"QFI\xfb and what follows";
/// 2026-11-24T13:52:37Z
const CREATED: i64 = 1_795_528_357;

struct Directory {
    temp: TempDir,
}

impl Directory {
    fn new() -> Self {
        Self { temp: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.temp.path()).unwrap().join(name)
    }

    fn tree(&self) -> Utf8PathBuf {
        self.path("tree")
    }

    fn file(&self, name: &str, content: &[u8]) -> Utf8PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn tarball(&self, name: &str, files: &[(&str, &str)]) -> Utf8PathBuf {
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for (path, text) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, text.as_bytes()).unwrap();
        }
        self.file(name, &tar.into_inner().unwrap().finish().unwrap())
    }

    fn metadata(&self, name: &str, yaml: &str) -> Utf8PathBuf {
        self.tarball(name, &[("metadata.yaml", yaml), ("templates/hostname.tpl", "x")])
    }

    fn split(&self, yaml: &str, root: &[u8]) -> Import {
        Import::new(ImageFiles::Split {
            metadata: self.metadata("meta.tar.gz", yaml),
            root: self.file("root", root),
        })
    }

    fn import(&self, wanted: &Import) -> Result<Imported, StreamsError> {
        import(&self.tree(), wanted, Timestamp::UNIX_EPOCH, &mut |_, _| {})
    }

    fn products(&self) -> Products {
        let text = std::fs::read_to_string(self.tree().join(PRODUCTS_PATH)).unwrap();
        parse_products(&text).unwrap()
    }
}

use crate::simplestreams::document::Products;

fn yaml(more: &str) -> String {
    format!(
        "architecture: x86_64\ncreation_date: {CREATED}\nproperties:\n  os: debian\n  \
         release: trixie\n  version: 13\n  architecture: amd64\n{more}"
    )
}

fn sha256(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part));
    hex::encode(hash.finalize())
}

#[test]
fn a_split_image_is_listed_for_both_servers_with_the_combined_hash() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml("  capn.kind: haproxy\n  variant: haproxy\n"), SQUASHFS);
    let imported = directory.import(&wanted).unwrap();
    let metadata = std::fs::read(directory.path("meta.tar.gz")).unwrap();
    let image = &imported.image;
    assert_eq!(image.fingerprint, sha256(&[&metadata, SQUASHFS]));
    assert_eq!((image.for_incus, image.for_lxd, imported.existed), (true, true, false));
    assert_eq!(image.image_type, ImageType::Container);
    assert_eq!(image.product, "debian:trixie:haproxy:amd64");
    assert_eq!(image.version, "202611241352");
    assert_eq!(image.aliases, ["debian/trixie/haproxy"]);
    assert_eq!(image.properties["capn.kind"], "haproxy");
    for file in [&image.metadata, image.root.as_ref().unwrap()] {
        let content = std::fs::read(directory.tree().join(&file.path)).unwrap();
        assert_eq!(
            (Some(sha256(&[&content])), content.len() as u64),
            (file.sha256.clone(), file.size)
        );
    }
    let index = std::fs::read_to_string(directory.tree().join(INDEX_PATH)).unwrap();
    let index = parse_index(&index).unwrap();
    assert_eq!(index.index["images"].products, ["debian:trixie:haproxy:amd64"]);
    assert_eq!(index.index["images"].path, PRODUCTS_PATH);
}

#[test]
fn importing_an_image_again_only_adds_aliases() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml(""), SQUASHFS);
    directory.import(&wanted).unwrap();
    let again = Import { aliases: vec!["haproxy".into()], ..wanted };
    let imported = directory.import(&again).unwrap();
    assert!(imported.existed);
    assert_eq!(imported.image.aliases, ["debian/trixie/default", "haproxy"]);
    assert_eq!(directory.products().products.len(), 1);
}

#[test]
fn a_container_and_a_virtual_machine_share_a_version() {
    let directory = Directory::new();
    let container = directory.import(&directory.split(&yaml(""), SQUASHFS)).unwrap().image;
    let machine = directory.import(&directory.split(&yaml(""), QCOW2)).unwrap().image;
    assert_eq!(machine.image_type, ImageType::VirtualMachine);
    assert_eq!((&container.product, &container.version), (&machine.product, &machine.version));
    let version = &directory.products().products[&machine.product].versions[&machine.version];
    let keys: Vec<&String> = version.items.keys().collect();
    assert_eq!(keys, ["disk-kvm.img", "incus.tar.xz", "lxd.tar.xz", "squashfs"]);
    // With separate metadata it is paired only with that.
    let other = directory.split(&yaml("  variant: default\n"), b"not that");
    let root = directory.tarball("root.tar.gz", &[("etc/hostname", "x")]);
    let ImageFiles::Split { metadata, .. } = other.files else { panic!("split") };
    let tarball = Import::new(ImageFiles::Split { metadata, root });
    let third = directory.import(&tarball).unwrap().image;
    assert_eq!((third.image_type, &third.version), (ImageType::Container, &machine.version));
    let (images, problems) = images_of(&directory.products());
    assert_eq!((images.len(), problems), (3, Vec::new()));
}

#[test]
fn other_files_of_the_same_minute_become_a_version_of_the_second() {
    let directory = Directory::new();
    directory.import(&directory.split(&yaml(""), SQUASHFS)).unwrap();
    let second = directory.import(&directory.split(&yaml(""), b"hsqs other")).unwrap();
    assert_eq!(second.image.version, "20261124135237");
    let error = directory.import(&directory.split(&yaml(""), b"hsqs third")).unwrap_err();
    assert!(matches!(error, StreamsError::VersionTaken { .. }), "{error}");
    assert_eq!(images_of(&directory.products()).0.len(), 2);
}

#[test]
fn aliases_of_other_products_are_moved_only_on_request() {
    let directory = Directory::new();
    let aliases = vec!["haproxy".to_owned()];
    let first = Import { aliases: aliases.clone(), ..directory.split(&yaml(""), SQUASHFS) };
    directory.import(&first).unwrap();
    let other = yaml("").replace("trixie", "forky");
    let second = Import { aliases, ..directory.split(&other, SQUASHFS) };
    let error = directory.import(&second).unwrap_err();
    assert!(error.to_string().contains("debian:trixie:default:amd64"), "{error}");
    assert_eq!(directory.products().products.len(), 1);
    let moved = directory.import(&Import { move_aliases: true, ..second }).unwrap();
    assert_eq!(moved.moved_aliases, [("haproxy".into(), "debian:trixie:default:amd64".into())]);
    assert_eq!(directory.products().products["debian:trixie:default:amd64"].aliases, "");
    // Another architecture has separate aliases.
    let arm = other.replace("x86_64", "aarch64");
    let arm = Import { aliases: vec!["haproxy".into()], ..directory.split(&arm, SQUASHFS) };
    assert_eq!(directory.import(&arm).unwrap().image.architecture, "arm64");
}

/// An image with this operating system and release.
fn of(os: &str, release: &str) -> String {
    format!(
        "architecture: x86_64\ncreation_date: {CREATED}\nproperties:\n  os: {os}\n  \
         release: {release}\n"
    )
}

#[test]
fn the_properties_of_an_archive_cannot_take_the_alias_of_another_product() {
    let directory = Directory::new();
    directory.import(&directory.split(&of("a/b", "c"), SQUASHFS)).unwrap();
    let error = directory.import(&directory.split(&of("a", "b/c"), QCOW2)).unwrap_err();
    assert!(error.to_string().contains("a/b/c/default"), "{error}");
    for (os, release, why) in [
        ("'haproxy,evil'", "x", "a comma or a colon"),
        ("x", "'a:b'", "a comma or a colon"),
        ("x", r#""a\eb""#, "control characters"),
        ("x", r#""a\nb""#, "control characters"),
        ("x", "../../etc", "another directory"),
        (&"x".repeat(200), "x", "too long"),
    ] {
        let error = directory.import(&directory.split(&of(os, release), QCOW2)).unwrap_err();
        assert!(error.to_string().contains(why), "{os} {release}: {error}");
    }
    assert_eq!(directory.products().products.len(), 1);
}

#[test]
fn files_outside_the_tree_are_not_changed() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml(""), SQUASHFS);
    directory.import(&wanted).unwrap();
    let (images, outside) = (directory.tree().join("images"), directory.path("outside"));
    std::fs::rename(&images, &outside).unwrap();
    std::fs::write(outside.join(".part-precious"), "x").unwrap();
    std::os::unix::fs::symlink(&outside, &images).unwrap();
    let error = directory.import(&wanted).unwrap_err();
    assert!(error.to_string().contains("is a symbolic link"), "{error}");
    assert!(outside.join(".part-precious").exists());
    std::fs::remove_file(&images).unwrap();
    let lock = directory.tree().join(".capn.lock");
    std::fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(directory.path("made"), &lock).unwrap();
    assert!(directory.import(&wanted).is_err());
    assert!(!directory.path("made").exists());
}

#[test]
fn kubernetes_versions_are_products_of_their_own() {
    let directory = Directory::new();
    for version in ["v1.36.1", "v1.36.2"] {
        let more = format!(
            "  capn.kind: kubeadm\n  capn.kubernetes-version: {version}\n  variant: kubeadm\n"
        );
        let aliases = vec![format!("kubeadm/{version}")];
        let wanted = Import { aliases, ..directory.split(&yaml(&more), version.as_bytes()) };
        let root = directory.file("root", format!("hsqs{version}").as_bytes());
        let ImageFiles::Split { metadata, .. } = wanted.files.clone() else { panic!("split") };
        let wanted = Import { files: ImageFiles::Split { metadata, root }, ..wanted };
        let image = directory.import(&wanted).unwrap().image;
        assert_eq!(image.product, format!("debian:trixie:kubeadm-{version}:amd64"));
        assert_eq!(image.aliases, [format!("kubeadm/{version}")]);
    }
}

#[test]
fn a_unified_tarball_is_listed_for_both_servers() {
    let directory = Directory::new();
    let whole = directory
        .tarball("image.tar.gz", &[("metadata.yaml", &yaml("")), ("rootfs/etc/hostname", "x")]);
    let image = directory.import(&Import::new(ImageFiles::Unified(whole.clone()))).unwrap().image;
    assert_eq!(image.fingerprint, sha256(&[&std::fs::read(whole).unwrap()]));
    assert_eq!((image.for_incus, image.for_lxd), (true, true));
}

#[test]
fn files_that_are_not_images_are_refused_before_writing() {
    let directory = Directory::new();
    let good = directory.metadata("good.tar.gz", &yaml(""));
    let squashfs = directory.file("root.squashfs", SQUASHFS);
    let split = |metadata: &Utf8PathBuf, root: &Utf8PathBuf| ImageFiles::Split {
        metadata: metadata.clone(),
        root: root.clone(),
    };
    let with = |yaml: &str| directory.metadata("bad.tar.gz", yaml);
    let machine =
        directory.tarball("vm.tar.gz", &[("metadata.yaml", &yaml("")), ("rootfs.img", "x")]);
    let empty = directory.tarball("empty.tar.gz", &[("x", "y")]);
    let text = directory.file("readme", b"hello");
    for (files, part) in [
        (ImageFiles::Unified(text.clone()), "readme is not a tarball"),
        (ImageFiles::Unified(empty), "does not contain metadata.yaml"),
        (ImageFiles::Unified(good.clone()), "has no root filesystem"),
        (ImageFiles::Unified(machine), "is a virtual machine in one tarball"),
        (split(&good, &text), "readme is not a squashfs"),
        (split(&squashfs, &good), "root.squashfs is not a tarball"),
        (split(&good, &directory.path("absent")), "cannot read"),
    ] {
        let error = directory.import(&Import::new(files)).unwrap_err().to_string();
        assert!(error.contains(part), "{part}: {error}");
    }
    for (yaml, part) in [
        ("architecture: pdp11\ncreation_date: 1\n", "has the architecture \"pdp11\""),
        ("architecture: x86_64\n", "has no creation_date"),
        ("architecture: [\n", "cannot parse the metadata.yaml"),
    ] {
        let error = directory.import(&Import::new(split(&with(yaml), &squashfs))).unwrap_err();
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    for alias in ["", "a,b", "a b", "images:a"] {
        let wanted = Import { aliases: vec![alias.into()], ..Import::new(split(&good, &squashfs)) };
        let error = directory.import(&wanted).unwrap_err();
        assert!(matches!(error, StreamsError::BadAlias { .. }), "{alias}: {error}");
    }
    assert!(!directory.tree().exists());
}

#[test]
fn an_xz_tarball_is_read_as_distributions_make_it() {
    let directory = Directory::new();
    let plain = directory.tarball("m.tar.gz", &[("metadata.yaml", &yaml(""))]);
    let mut tar = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(std::fs::File::open(plain).unwrap()), &mut tar)
        .unwrap();
    let mut child = match std::process::Command::new("xz")
        .args(["-9", "-c"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => return println!("SKIPPED: xz: {error}"),
    };
    child.stdin.take().unwrap().write_all(&tar).unwrap();
    let packed = child.wait_with_output().unwrap().stdout;
    let metadata = directory.file("lxd.tar.xz", &packed);
    let root = directory.file("rootfs.squashfs", SQUASHFS);
    let image = directory.import(&Import::new(ImageFiles::Split { metadata, root })).unwrap().image;
    assert!(image.metadata.path.ends_with(".tar.xz"), "{}", image.metadata.path);
}

#[test]
fn zeros_become_holes() {
    use std::os::unix::fs::MetadataExt;
    let directory = Directory::new();
    let mut disk = QCOW2.to_vec();
    disk.resize(8 << 20, 0);
    disk[5 << 20] = 1;
    let image = directory.import(&directory.split(&yaml(""), &disk)).unwrap().image;
    let copy = directory.tree().join(&image.root.as_ref().unwrap().path);
    assert!(std::fs::read(&copy).unwrap() == disk);
    let used = std::fs::metadata(&copy).unwrap().blocks() * 512;
    assert!(used < 2 << 20, "{used} bytes are used");
}

#[test]
fn moved_files_are_removed_and_linked_ones_kept() {
    for (placement, stays) in
        [(Placement::Copy, true), (Placement::Link, true), (Placement::Move, false)]
    {
        let directory = Directory::new();
        let wanted = Import { placement, ..directory.split(&yaml(""), SQUASHFS) };
        let image = directory.import(&wanted).unwrap().image;
        assert!(directory.tree().join(&image.root.unwrap().path).exists(), "{placement:?}");
        for name in ["meta.tar.gz", "root"] {
            assert_eq!(directory.path(name).exists(), stays, "{placement:?} {name}");
        }
        // Again, with what is left.
        if stays {
            assert!(directory.import(&wanted).unwrap().existed, "{placement:?}");
        }
    }
}

#[test]
fn the_next_import_cleans_up_after_a_killed_one() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml(""), SQUASHFS);
    directory.import(&wanted).unwrap();
    // Killed during the copy of a file, and between the two documents of another import.
    std::fs::write(directory.tree().join("images/.part-root"), b"half").unwrap();
    std::fs::write(directory.tree().join("streams/v1/.part-images.json"), b"{").unwrap();
    std::fs::remove_file(directory.tree().join(INDEX_PATH)).unwrap();
    assert!(directory.import(&wanted).unwrap().existed);
    let index = std::fs::read_to_string(directory.tree().join(INDEX_PATH)).unwrap();
    assert_eq!(parse_index(&index).unwrap().index["images"].products.len(), 1);
    let left: Vec<String> = ["images", "streams/v1"]
        .iter()
        .flat_map(|location| directory.tree().join(location).read_dir_utf8().unwrap())
        .map(|entry| entry.unwrap().file_name().to_owned())
        .filter(|name| name.contains("part"))
        .collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_second_import_at_the_same_time_is_refused() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml(""), SQUASHFS);
    let tree = Tree::open(&directory.tree()).unwrap();
    let error = directory.import(&wanted).unwrap_err();
    assert!(matches!(error, StreamsError::Busy { .. }), "{error}");
    drop(tree);
    directory.import(&wanted).unwrap();
}

#[test]
fn images_are_added_to_foreign_documents() {
    let directory = Directory::new();
    std::fs::create_dir_all(directory.tree().join("streams/v1")).unwrap();
    let theirs = r#"{ "format": "products:1.0", "datatype": "image-downloads", "license": "x",
        "products": { "theirs": { "arch": "amd64", "aliases": "t", "versions": {} } } }"#;
    std::fs::write(directory.tree().join(PRODUCTS_PATH), theirs).unwrap();
    directory.import(&directory.split(&yaml(""), SQUASHFS)).unwrap();
    let products = directory.products();
    assert_eq!(products.other["license"], "x");
    let keys: Vec<&String> = products.products.keys().collect();
    assert_eq!(keys, ["debian:trixie:default:amd64", "theirs"]);
}

#[test]
fn unreadable_documents_are_left_unchanged() {
    let directory = Directory::new();
    let wanted = directory.split(&yaml(""), SQUASHFS);
    directory.import(&wanted).unwrap();
    let path = directory.tree().join(PRODUCTS_PATH);
    std::fs::write(&path, "{ broken").unwrap();
    let error = directory.import(&wanted).unwrap_err();
    assert!(matches!(error, StreamsError::Document { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{ broken");
}
