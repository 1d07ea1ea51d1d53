//! `generate` and `--dry-run`, which print the same.

use capn::Exit;

use crate::Home;

const OPTIONS: [&str; 4] = ["--kubernetes-version", "1.31.5", "--remote", "unix:///no/socket"];

#[test]
fn a_dry_run_prints_the_output_of_generate_and_changes_nothing() {
    let home = Home::new();
    let generated = home.capn(&[&["generate", "cluster", "a"][..], &OPTIONS].concat());
    let dry =
        home.capn(&[&["create", "cluster", "a", "--dry-run", "-o", "yaml"][..], &OPTIONS].concat());
    assert_eq!(generated.exit, Exit::Done, "{generated}");
    assert_eq!(generated.out, dry.out);
    assert!(generated.out.contains("version: v1.31.5"), "{generated}");
    assert_eq!(home.path().read_dir().unwrap().count(), 0);
}

#[test]
fn json_is_one_list() {
    let arguments = [&["generate", "cluster", "a", "-o", "json"][..], &OPTIONS].concat();
    let ran = Home::new().capn(&arguments);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(list["kind"], "List");
    assert_eq!(list["items"][0]["kind"], "Cluster");
}

#[test]
fn bootstrap_data_comes_from_the_file() {
    let home = Home::new();
    let file = home.path().join("data");
    std::fs::write(&file, "#cloud-config\nruncmd: [true]\n").unwrap();
    let data = ["--bootstrap", "none", "--bootstrap-data", file.to_str().unwrap()];
    let arguments = [&["generate", "cluster", "a", "--remote", "unix:///s"][..], &data].concat();
    let ran = home.capn(&arguments);
    assert!(ran.out.contains("    #cloud-config\n    runcmd: [true]\n"), "{ran}");
    assert!(!ran.out.contains("kind: KubeadmControlPlane"), "{ran}");
}
