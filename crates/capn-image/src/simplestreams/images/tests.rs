use super::*;
use crate::simplestreams::document::{DocumentError, parse_index, parse_products};
use serde_json::{Value, json};

fn hash(digit: char) -> String {
    digit.to_string().repeat(64)
}

/// Two versions; the newer one as container and virtual machine with shared metadata.
fn debian() -> Value {
    json!({
        "aliases": "debian/13,debian/trixie", "arch": "amd64", "os": "Debian",
        "release": "trixie", "release_title": "trixie", "variant": "default",
        "lxd_requirements": { "secureboot": "false" }, "requirements": {},
        "versions": {
            "20261101_05:24": { "items": {
                "incus.tar.xz": {
                    "ftype": "incus.tar.xz", "path": "images/old/meta", "size": 700,
                    "sha256": hash('1'), "combined_squashfs_sha256": hash('2'),
                },
                "root.squashfs": {
                    "ftype": "squashfs", "path": "images/old/root", "size": 9000,
                    "sha256": hash('3'),
                },
            } },
            "20261120_05:24": { "items": {
                "incus.tar.xz": {
                    "ftype": "incus.tar.xz", "path": "images/new/meta", "size": 800,
                    "sha256": hash('4'), "combined_squashfs_sha256": hash('5'),
                    "combined_disk-kvm-img_sha256": hash('6'),
                },
                "lxd.tar.xz": {
                    "ftype": "lxd.tar.xz", "path": "images/new/meta", "size": 800,
                    "sha256": hash('4'), "combined_squashfs_sha256": hash('5'),
                },
                "root.squashfs": {
                    "ftype": "squashfs", "path": "images/new/root", "size": 10_000,
                    "sha256": hash('7'),
                },
                "disk.qcow2": {
                    "ftype": "disk-kvm.img", "path": "images/new/disk", "size": 20_000,
                    "sha256": hash('8'),
                },
                "delta.20261101_05:24.vcdiff": {
                    "ftype": "squashfs.vcdiff", "path": "images/new/delta", "size": 10,
                    "sha256": hash('9'), "delta_base": "20261101_05:24",
                },
            } },
        },
    })
}

fn document(products: Value) -> String {
    json!({
        "content_id": "images", "datatype": "image-downloads", "format": "products:1.0",
        "products": products,
    })
    .to_string()
}

fn images(products: Value) -> (Vec<Image>, Vec<Problem>) {
    images_of(&parse_products(&document(products)).unwrap())
}

#[test]
fn every_pair_with_a_combined_hash_is_an_image_and_the_newest_comes_first() {
    let (found, problems) = images(json!({ "debian:trixie:default:amd64": debian() }));
    assert_eq!(problems, []);
    let seen: Vec<(&str, ImageType, String, u64, bool, bool)> = found
        .iter()
        .map(|image| {
            let digit = image.fingerprint[..1].to_owned();
            (
                image.version.as_str(),
                image.image_type,
                digit,
                image.size,
                image.for_incus,
                image.for_lxd,
            )
        })
        .collect();
    use ImageType::{Container, VirtualMachine};
    assert_eq!(
        seen,
        [
            ("20261120_05:24", VirtualMachine, "6".to_owned(), 20_800, true, false),
            ("20261120_05:24", Container, "5".to_owned(), 10_800, true, true),
            ("20261101_05:24", Container, "2".to_owned(), 9700, true, false),
        ]
    );
    assert_eq!(found[0].date, jiff::civil::date(2026, 11, 20));
    assert_eq!(found[0].aliases, ["debian/13", "debian/trixie"]);
}

#[test]
fn a_unified_tarball_has_its_own_hash_as_fingerprint() {
    let item =
        |ftype: &str| json!({ "ftype": ftype, "path": "i/a", "size": 5, "sha256": hash('a') });
    let (found, problems) = images(json!({ "p": {
        "arch": "aarch64", "versions": { "20261120": { "items": {
            "a": item("lxd_combined.tar.gz"), "b": item("incus_combined.tar.gz"),
        } } },
    } }));
    assert_eq!(problems, []);
    let [image] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((image.fingerprint.as_str(), image.root.as_ref()), (hash('a').as_str(), None));
    assert_eq!(
        (image.architecture.as_str(), image.for_incus, image.for_lxd),
        ("arm64", true, true)
    );
}

#[test]
fn roots_of_all_kinds_are_paired_by_the_field_that_servers_read() {
    for (ftype, field, image_type) in [
        ("squashfs", "combined_squashfs_sha256", ImageType::Container),
        ("root.tar.xz", "combined_rootxz_sha256", ImageType::Container),
        ("root.tar.xz", "combined_sha256", ImageType::Container),
        ("disk-kvm.img", "combined_disk-kvm-img_sha256", ImageType::VirtualMachine),
        ("disk1.img", "combined_disk1-img_sha256", ImageType::VirtualMachine),
        ("uefi1.img", "combined_uefi1-img_sha256", ImageType::VirtualMachine),
    ] {
        let mut metadata = json!({ "ftype": "lxd.tar.xz", "path": "m", "size": 1 });
        metadata[field] = json!(hash('c'));
        let root = json!({ "ftype": ftype, "path": "r", "size": 2 });
        let (found, problems) = images(json!({ "p": { "arch": "amd64", "versions": {
            "20261120": { "items": { "m": metadata, "r": root } } } } }));
        assert_eq!(problems, [], "{ftype} {field}");
        assert_eq!(found.len(), 1, "{ftype} {field}");
        assert_eq!((found[0].image_type, found[0].size), (image_type, 3), "{ftype} {field}");
    }
}

#[test]
fn entries_that_servers_skip_are_reported_with_their_location() {
    let of_items = |items: Value| json!({ "p": { "arch": "amd64", "versions": { "20261120": { "items": items } } } });
    let metadata = json!({
        "ftype": "incus.tar.xz", "path": "m", "size": 1, "combined_squashfs_sha256": hash('c'),
    });
    let root = json!({ "ftype": "squashfs", "path": "r", "size": 2 });
    let changed = |of: &Value, field: &str, value: Value| {
        let mut of = of.clone();
        of[field] = value;
        of
    };
    let location = "product p, version 20261120, item";
    for (products, expected) in [
        (
            json!({ "p": { "arch": "pdp11" } }),
            "product p: unknown architecture \"pdp11\"".to_owned(),
        ),
        (
            json!({ "p": { "arch": "amd64", "versions": { "latest": {} } } }),
            "product p, version latest: does not begin with a date".to_owned(),
        ),
        (
            of_items(json!({ "m": metadata })),
            format!(
                "{location} m: has no combined hash for a root filesystem or disk of the same version"
            ),
        ),
        (
            of_items(json!({ "r": root })),
            format!("{location} r: no metadata item has a combined hash"),
        ),
        (
            of_items(json!({ "m": changed(&metadata, "path", json!("")), "r": root })),
            format!("{location} m: has no path"),
        ),
        (
            of_items(
                json!({ "m": metadata, "r": changed(&root, "path", json!("../../etc/passwd")) }),
            ),
            format!("{location} r: the path \"../../etc/passwd\" is outside of the tree"),
        ),
        (
            of_items(json!({ "m": metadata, "r": changed(&root, "path", json!("/etc/passwd")) })),
            format!("{location} r: the path \"/etc/passwd\" is outside of the tree"),
        ),
        (
            of_items(json!({ "m": metadata, "r": changed(&root, "sha256", json!("abc")) })),
            format!("{location} r: the sha256 \"abc\" is not a SHA-256"),
        ),
        (
            of_items(json!({
                "m": changed(&metadata, "combined_squashfs_sha256", json!("abc")), "r": root,
            })),
            format!("{location} m: the combined hash \"abc\" is not a SHA-256"),
        ),
        (
            of_items(json!({ "u": { "ftype": "incus_combined.tar.gz", "path": "u", "size": 1 } })),
            format!("{location} u: has no sha256"),
        ),
    ] {
        let (found, problems) = images(products);
        assert_eq!(found, [], "{expected}");
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert!(texts.iter().any(|text| text.starts_with(&expected)), "{expected}: {texts:?}");
    }
}

#[test]
fn items_of_other_clouds_are_ignored() {
    let item = json!({ "ftype": "tar.gz", "path": "/x", "size": 1 });
    let (found, problems) = images(json!({ "p": { "arch": "amd64", "versions": {
        "20261120": { "items": { "ec2": item } } } } }));
    assert_eq!((found, problems), (Vec::new(), Vec::new()));
}

#[test]
fn a_broken_document_names_product_version_item_and_field() {
    let broken = |path: &str, value: Value| {
        let mut products = json!({ "debian:13": debian() });
        *products.pointer_mut(path).unwrap() = value;
        let error = parse_products(&document(products)).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        (error.to_string(), cause.unwrap_or_default())
    };
    let item = "/debian:13/versions/20261120_05:24/items/disk.qcow2";
    let version = "product debian:13, version 20261120_05:24";
    for (path, value, location, cause) in [
        (
            format!("{item}/size"),
            json!("much"),
            format!("{version}, item disk.qcow2, field size"),
            "u64",
        ),
        (
            format!("{item}/size"),
            json!(-1),
            format!("{version}, item disk.qcow2, field size"),
            "-1",
        ),
        (item.to_owned(), json!([]), format!("{version}, item disk.qcow2"), "struct Item"),
        (
            "/debian:13/versions/20261120_05:24".to_owned(),
            json!(null),
            version.to_owned(),
            "struct Version",
        ),
        (
            "/debian:13/aliases".to_owned(),
            json!(["a"]),
            "product debian:13, field aliases".to_owned(),
            "a string",
        ),
        ("/debian:13".to_owned(), json!(7), "product debian:13".to_owned(), "struct Product"),
    ] {
        let (found, source) = broken(&path, value);
        assert_eq!(found, location, "{path}");
        assert!(source.contains(cause), "{path}: {source}");
    }
}

#[test]
fn other_formats_and_invalid_json_are_refused() {
    let error = parse_products(r#"{ "format": "products:2.0", "products": {} }"#).unwrap_err();
    assert_eq!(error.to_string(), "the format is \"products:2.0\", not \"products:1.0\"");
    let error = parse_index(r#"{ "format": "products:1.0", "index": {} }"#).unwrap_err();
    assert!(matches!(error, DocumentError::Format { wanted: "index:1.0", .. }), "{error}");
    for text in ["", "<html>", "{} {}", r#"{ "format": "products:1.0", "products": {} } x"#] {
        let error = parse_products(text).unwrap_err();
        assert!(matches!(error, DocumentError::Json { .. }), "{text}: {error}");
    }
}

#[test]
fn unknown_fields_survive_a_rewrite() {
    let mut products = json!({ "debian:13": debian() });
    products["debian:13"]["support_eol"] = json!("2030-01-01");
    products["debian:13"]["versions"]["20261101_05:24"]["pubname"] = json!("x");
    let text = document(products.clone());
    let written = serde_json::to_value(parse_products(&text).unwrap()).unwrap();
    // Empty maps are not written again.
    products["debian:13"].as_object_mut().unwrap().remove("requirements");
    assert_eq!(written["products"], products);
}

mod selecting {
    use super::*;

    fn all() -> Vec<Image> {
        let mut arm = debian();
        arm["arch"] = json!("arm64");
        for version in ["20261101_05:24", "20261120_05:24"] {
            let items = arm["versions"][version]["items"].as_object_mut().unwrap();
            items.remove("disk.qcow2");
            for key in ["incus.tar.xz", "lxd.tar.xz"] {
                if let Some(item) = items.get_mut(key).and_then(Value::as_object_mut) {
                    item.remove("combined_disk-kvm-img_sha256");
                    item.insert("combined_squashfs_sha256".into(), json!(hash('e')));
                }
            }
        }
        let mut only = debian();
        only["aliases"] = json!("kubeadm/v1.36.2");
        only["versions"]["20261120_05:24"]["items"].as_object_mut().unwrap().remove("disk.qcow2");
        images(json!({ "a": debian(), "b": arm, "c": only })).0
    }

    fn of(name: &str, architecture: Option<&str>, image_type: Option<ImageType>) -> String {
        match select(&all(), &Selection { name, architecture, image_type }) {
            Ok(image) => {
                let kind = image.image_type.as_str();
                format!("{} {} {kind}", image.version, image.architecture)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_name_means_the_newest_of_the_architecture_and_type() {
        use ImageType::{Container, VirtualMachine};
        for (name, architecture, image_type, expected) in [
            ("debian/13", Some("x86_64"), Some(Container), "20261120_05:24 amd64 container"),
            (
                "debian/13",
                Some("amd64"),
                Some(VirtualMachine),
                "20261120_05:24 amd64 virtual-machine",
            ),
            ("debian/trixie", Some("aarch64"), None, "20261120_05:24 arm64 container"),
            ("debian/13/arm64", Some("amd64"), Some(Container), "20261120_05:24 arm64 container"),
            ("kubeadm/v1.36.2", None, None, "20261120_05:24 amd64 container"),
            (&hash('2')[..12], None, None, "20261101_05:24 amd64 container"),
        ] {
            assert_eq!(of(name, architecture, image_type), expected, "{name}");
        }
    }

    #[test]
    fn ambiguous_names_are_errors_that_list_candidates() {
        let vm = Some(ImageType::VirtualMachine);
        assert_eq!(
            of("debian/13", Some("arm64"), vm),
            "image \"debian/13\" exists for amd64 container, amd64 virtual-machine, arm64 container, but not for arm64 virtual-machine"
        );
        assert_eq!(
            of("debian/13", Some("amd64"), None),
            "image \"debian/13\" exists for amd64 container, amd64 virtual-machine"
        );
        let wanted = Selection { name: "kubeadm/v1.37.0", architecture: None, image_type: None };
        let error = select(&all(), &wanted).unwrap_err();
        assert_eq!(error.to_string(), "image \"kubeadm/v1.37.0\" does not exist");
        assert_eq!(error.hint().unwrap(), "available: kubeadm/v1.36.2, debian/13, debian/trixie");
    }
}
