use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use serde_json::{Value, json};

use super::*;

#[test]
fn kubelet_is_told_the_ids_that_its_node_has() {
    const ALL: u64 = (1 << 32) - 65_536;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("getsubids"), GETSUBIDS).unwrap();
    let answer = |users: &str, groups: &str, config: &str| {
        fs::write(path("users"), users).unwrap();
        fs::write(path("groups"), groups).unwrap();
        fs::write(path("config"), config).unwrap();
        let run = |arguments: &[&str]| {
            let mut command = Command::new("sh");
            command.arg(path("getsubids")).args(arguments);
            command.env("CAPN_UID_MAP", path("users")).env("CAPN_GID_MAP", path("groups"));
            let output = command.env("CAPN_KUBELET_CONFIG", path("config")).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let text = run(&["kubelet"]);
        assert_eq!(run(&["-g", "kubelet"]), text, "kubelet wants the same for both");
        let count = text.trim().strip_prefix("0: kubelet 65536 ").unwrap();
        count.parse::<u64>().unwrap()
    };
    let same = |map: &str, config: &str| answer(map, map, config);
    assert_eq!(same("0 1000000 65536", ""), ALL, "not enough: kubelet has to start");
    assert_eq!(same("0 1000000 7274496", ""), 110 * 65_536);
    assert_eq!(same("0 1000000 7274495", ""), ALL);
    assert_eq!(same("0 1000000 1114112", "maxPods: 16\n"), 16 * 65_536);
    assert_eq!(same("0 1000000 1114112", "maxPods: 17\n"), ALL);
    assert_eq!(same("0 1000000 1000000000", "x: 1\n"), 15_257 * 65_536, "shared");
    assert_eq!(same("0 0 4294967295", ""), 65_534 * 65_536, "privileged");
    let pieces = "1001 101001 7300000\n0 100000 1000\n1000 1000 1\n";
    assert_eq!(same(pieces, ""), 110 * 65_536, "a map of several pieces");
    let gap = "0 100000 65536\n70000 170000 9000000\n";
    assert_eq!(same(gap, ""), ALL, "a gap ends it");
    assert_eq!(answer("0 1 99999999", "0 1 7274496", ""), 110 * 65_536, "fewer groups");
}

fn program(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn runc_is_run_as_asked_and_only_a_pods_creation_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    program(&path("wrapper"), RUNC);
    program(&path("runc"), "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n");
    program(&path("pod-mounts"), "#!/bin/sh\necho \"adapts $1\"\n");
    fs::create_dir(path("a pod")).unwrap();
    fs::create_dir(path("other")).unwrap();
    fs::write(path("a pod").join("config.json"), r#"{"mounts":[{"uidMappings":[]}]}"#).unwrap();
    fs::write(path("other").join("config.json"), "{}").unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "PATH=$1:$PATH CAPN_POD_MOUNTS=$1/pod-mounts; export CAPN_POD_MOUNTS; shift; exec sh \"$@\"", "sh"]);
        command.arg(folder.path()).arg(path("wrapper")).args(arguments).current_dir(folder.path());
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(7), "runc's own exit code: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let adapts = "adapts a pod/config.json\n";
    assert_eq!(
        run(&["--root", "r", "create", "--bundle", "a pod", "id"]),
        format!("{adapts}<--root><r><create><--bundle><a pod><id>")
    );
    assert!(run(&["create", "--bundle=a pod", "id"]).starts_with(adapts));
    assert_eq!(run(&["create", "--bundle", "other", "id"]), "<create><--bundle><other><id>");
    assert_eq!(run(&["exec", "--process", "p", "id", "a b"]), "<exec><--process><p><id><a b>");
    program(&path("pod-mounts"), "#!/bin/sh\nexit 7\n");
    assert_eq!(run(&["create", "--bundle", "a pod", "id"]), "", "a container that cannot work");
}

/// The program in a user namespace of its own, with folders of a kubelet; `None` where this user or
/// this host does not allow one.
fn in_a_node(name: &str) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| folder.path().join(name);
    program(&path("pod_mounts.py"), POD_MOUNTS);
    program(&path("node.py"), include_str!("node.py"));
    let output = Command::new("python3").arg(path("node.py")).arg(folder.path()).output();
    let output = match output {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: {name}: python3 does not run: {error}");
            return None;
        }
    };
    if output.status.code() == Some(77) {
        println!("SKIPPED: {name}: {}", String::from_utf8_lossy(&output.stdout).trim());
        return None;
    }
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn mounts_of_a_pod_fit_a_node_in_a_user_namespace() {
    let Some(found) = in_a_node("mounts of pods") else { return };
    // Id 65536 of the node is root in the pod.
    for (what, owner) in [
        ("volumes/kubernetes.io~empty-dir/disk", [65_536, 65_536 + 2000]),
        ("volumes/kubernetes.io~empty-dir/used", [65_536 + 1000, 65_536]),
        ("volumes/kubernetes.io~empty-dir/disk/of-root", [0, 0]),
        ("etc-hosts", [65_536, 65_536]),
        ("containers/one/1a2b", [65_536, 65_536]),
        ("resolv.conf", [65_536, 65_536]),
        ("link", [0, 0]),
        ("elsewhere", [0, 0]),
        ("of-another-pod", [0, 0]),
    ] {
        assert_eq!(found["owners"][what], json!(owner), "{what}");
    }
    let mapped: Vec<&str> =
        found["mapped"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert_eq!(mapped, ["/secret", "/config"], "these are in a tmpfs of the node");
    // As it was on the disk.
    assert_eq!(found["config"], json!({"..data": "..1", "..1/key": "0400 0 2000 value"}));
    assert_eq!(found["config_on_disk"], json!(true), "kubelet's own files are left alone");
    assert_eq!(found["unknown"], json!({"kept": [1, 1.5, "é"]}));
    assert_eq!(found["options"], json!(["rbind", "ro"]));
    assert_eq!(found["mode"], json!("0640"));
    assert_eq!(found["left"], json!([]), "nothing of ours is left beside the configuration");
}

#[test]
fn a_configuration_that_cannot_be_read_ends_the_creation_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    program(&folder.path().join("pod_mounts.py"), POD_MOUNTS);
    for text in [
        "no json",
        "[]",
        r#"{"linux":{"uidMappings":[{}],"gidMappings":[{}]},"mounts":[{"uidMappings":[1]}]}"#,
    ] {
        let config = folder.path().join("config.json");
        fs::write(&config, text).unwrap();
        let output =
            Command::new("python3").arg(folder.path().join("pod_mounts.py")).arg(&config).output();
        let Ok(output) = output else { return println!("SKIPPED: python3 does not run") };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.starts_with("capn: the mounts of ") && said.contains("config.json"), "{said}");
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
    }
}
