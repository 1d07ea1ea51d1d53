//! Configuration files: what they create, and their documentation. `CAPN_UPDATE=1 cargo test -p
//! capn config` updates the table and the schema.

use std::path::{Path, PathBuf};

use capn::Exit;
use capn::config;

use crate::Home;

const BEGIN: &str = "<!-- fields: written by CAPN_UPDATE=1 cargo test -p capn config -->\n";
const END: &str = "<!-- end of fields -->\n";

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

fn is_update() -> bool {
    std::env::var_os("CAPN_UPDATE").is_some()
}

#[test]
fn the_page_lists_every_field() {
    let path = docs("reference/config-file.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = page.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let mut table = String::from("\n| field | is | says |\n|---|---|---|\n");
    for [path, kind, said] in config::fields() {
        let cell = |text: String| text.replace('|', "\\|");
        table.push_str(&format!("| `{path}` | {} | {} |\n", cell(kind), cell(said)));
    }
    let expected = format!("{head}{BEGIN}{table}\n{END}{tail}");
    if is_update() {
        std::fs::write(&path, &expected).unwrap();
    }
    assert!(
        is_update() || page == expected,
        "docs/reference/config-file.md is outdated: CAPN_UPDATE=1 cargo test -p capn config"
    );
}

#[test]
fn the_schema_is_the_one_that_is_published() {
    let path = docs("config.schema.json");
    let printed = Home::new().capn(&["generate", "config", "--schema"]).out;
    if is_update() {
        std::fs::write(&path, &printed).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == printed,
        "docs/config.schema.json is outdated: CAPN_UPDATE=1 cargo test -p capn config"
    );
}

#[test]
fn the_examples_of_the_page_are_configuration_files() {
    let page = std::fs::read_to_string(docs("reference/config-file.md")).unwrap();
    let examples = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let examples: Vec<&str> =
        examples.filter(|text| text.contains("kind: ClusterConfig")).collect();
    assert!(examples.len() >= 2);
    for example in examples {
        let home = Home::new();
        let file = home.path().join("cluster.yaml");
        // Files on the reader's machine.
        std::fs::write(home.path().join("registry-login"), "user:password\n").unwrap();
        std::fs::set_permissions(
            home.path().join("registry-login"),
            std::os::unix::fs::PermissionsExt::from_mode(0o600),
        )
        .unwrap();
        std::fs::write(home.path().join("audit.yaml"), "apiVersion: audit.k8s.io/v1\n").unwrap();
        std::fs::write(&file, example).unwrap();
        let file = file.to_str().unwrap();
        let ran = home.capn(&["up", "-f", file, "--dry-run", "--remote", "unix:///no/socket"]);
        assert_eq!(ran.exit, Exit::Done, "{ran}");
        assert!(!ran.out.contains("user:password"), "{ran}");
    }
}

#[test]
fn a_printed_file_and_its_options_make_the_same_cluster() {
    let home = Home::new();
    let flags = [
        "--kubernetes-version=v1.36.1",
        "--workers=3",
        "--isolation=isolated",
        "--remote=unix:///no/socket",
    ];
    let printed = home.capn(&[&["generate", "config", "lab"][..], &flags].concat()).out;
    let file = home.path().join("lab.yaml");
    std::fs::write(&file, printed).unwrap();
    let file = file.to_str().unwrap();
    let by_file = home.capn(&["up", "-f", file, "--dry-run"]);
    let by_flags = home.capn(&[&["up", "lab", "--dry-run"][..], &flags].concat());
    assert_eq!(by_file.exit, Exit::Done, "{by_file}");
    assert_eq!(by_file.out, by_flags.out);
    // Options override the file.
    let other = home.capn(&["up", "other", "-f", file, "--dry-run", "--workers", "5"]);
    assert!(other.out.contains("name: other-md-0"), "{other}");
    assert!(other.out.contains("replicas: 5"), "{other}");
}

#[test]
fn an_invalid_file_is_a_usage_error_and_changes_nothing() {
    let home = Home::new();
    let file = home.path().join("lab.yaml");
    let text = "apiVersion: capn.cluster.x-k8s.io/v1alpha1\nkind: ClusterConfig\nnodes: 3\n";
    std::fs::write(&file, text).unwrap();
    let ran = home.capn(&["up", "-f", file.to_str().unwrap()]);
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert!(ran.err.contains("unknown field `nodes`"), "{ran}");
    assert_eq!(home.path().read_dir().unwrap().count(), 1);
}

#[test]
fn invalid_requests_are_refused_before_any_change() {
    for (flags, said) in [
        (&["--flavor=huge"][..], "`huge` is not a valid flavor"),
        (&["--load-balancer-flavor=huge"], "`huge` is not a valid flavor"),
        (&["--bootstrap-data=/x"], "`--bootstrap-data` requires `--bootstrap none`"),
        (&["--pod-cidr=10.0.0.0/8", "--service-cidr=10.1.0.0/16"], "overlap"),
    ] {
        let home = Home::new();
        let up = ["up", "--wait=0", "--remote=unix:///no/socket"];
        let ran = home.capn(&[&up[..], flags].concat());
        assert_eq!(ran.exit, Exit::Usage, "{ran}");
        assert!(ran.err.contains(said) && ran.err.contains("Hint: "), "{ran}");
        assert!(!home.path().join("clusters").exists());
    }
}
