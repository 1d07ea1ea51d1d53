use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::*;

#[test]
fn kubelet_gets_the_id_range_of_its_node() {
    const ALL: u64 = (1 << 32) - 65_536;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
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
fn runc_is_wrapped_only_for_pod_creation() {
    let wrapper = Wrapper::new();
    wrapper.put("cgroups/cgroup.controllers", "");
    wrapper.put("a pod/config.json", r#"{"mounts":[{"uidMappings":[]}]}"#);
    wrapper.put("other/config.json", "{}");
    let adapts = "adapts a pod/config.json\n";
    assert_eq!(
        wrapper.run(&["--root", "r", "create", "--bundle", "a pod", "id"]),
        (Some(7), format!("{adapts}<--root><r><create><--bundle><a pod><id>"))
    );
    let (_, said) = wrapper.run(&["create", "--bundle", "other", "id"]);
    assert_eq!(said, "<create><--bundle><other><id>");
    let (_, said) = wrapper.run(&["--root", "r", "exec", "--process", "p", "id", "a b"]);
    assert_eq!(said, "<--root><r><exec><--process><p><id><a b>");
    program(&wrapper.path("pod-mounts"), "#!/bin/sh\nexit 9\n");
    let refused = wrapper.run(&["create", "--bundle", "a pod", "id"]);
    assert_eq!(refused, (Some(9), String::new()), "a container that cannot work is not made");
}

#[test]
fn on_cgroup_v1_exec_starts_in_the_cgroups_of_the_pod() {
    let wrapper = Wrapper::new();
    wrapper.put("a pod/config.json", r#"{"mounts":[{"uidMappings":[]}]}"#);
    let groups = wrapper.path("cgroups");
    let state = format!(
        r#"{{"id":"5a","config":{{"mounts":["{0}/pids","\",\"cgroup_paths\":{{\"x\":\"{0}/pids\"}}"]}},"cgroup_paths":{{"":"{0}/unified/a","cpu,cpuacct":"{0}/cpu,cpuacct/a"}}}}"#,
        groups.display()
    );
    wrapper.put("r/5a/state.json", &state);
    wrapper.put("cgroups/cpu,cpuacct/a/cgroup.procs", "");
    wrapper.put("cgroups/pids/cgroup.procs", "");
    // A container of another pod: runc puts processes into its cgroups.
    wrapper.run(&["--root", "r", "exec", "--process", "p", "5a"]);
    assert_eq!(wrapper.read("cgroups/cpu,cpuacct/a/cgroup.procs"), "");

    program(&wrapper.path("runc"), "#!/bin/sh\nexit 7\n");
    let failed = wrapper.run(&["--root", "r", "create", "--bundle", "a pod", "5a"]);
    assert_eq!(failed.0, Some(7));
    assert_eq!(wrapper.read("r/5a/state.json"), state, "there is none after a failure");
    program(&wrapper.path("runc"), "#!/bin/sh\necho $$\n");
    let made = wrapper.run(&["--root", "r", "create", "--bundle", "a pod", "5a"]);
    assert_eq!(made.0, Some(0));
    let told = state.replace(r#""config":{"#, r#""config":{"rootless_cgroups":true,"#);
    assert_eq!(wrapper.read("r/5a/state.json"), told);
    assert_eq!(wrapper.read("cgroups/cpu,cpuacct/a/cgroup.procs"), "");

    let (_, pid) = wrapper.run(&["--root", "r", "exec", "--process", "p", "5a"]);
    assert_eq!(wrapper.read("cgroups/cpu,cpuacct/a/cgroup.procs"), pid);
    assert_eq!(wrapper.read("cgroups/pids/cgroup.procs"), "", "a path that a tenant chose");
    assert!(!wrapper.path("cgroups/unified").exists());
}

/// The wrapper, with a runc that records its arguments, in a directory with cgroups.
struct Wrapper(tempfile::TempDir);

impl Wrapper {
    fn new() -> Self {
        let wrapper = Self(tempfile::tempdir().unwrap());
        program(&wrapper.path("wrapper"), RUNC);
        program(&wrapper.path("runc"), "#!/bin/sh\nprintf '<%s>' \"$@\"\nexit 7\n");
        program(&wrapper.path("pod-mounts"), "#!/bin/sh\necho \"adapts $1\" >&2\n");
        wrapper
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Exit code, and the outputs of stderr and stdout.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        const START: &str = "PATH=$1:$PATH CAPN_POD_MOUNTS=$1/pod-mounts CAPN_CGROUPS=$1/cgroups; \
                             export CAPN_POD_MOUNTS CAPN_CGROUPS; shift; exec sh \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", START, "sh"]).arg(self.0.path()).arg(self.path("wrapper"));
        let output = command.args(arguments).current_dir(self.0.path()).output().unwrap();
        let said = [output.stderr, output.stdout].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }
}

/// The program in a user namespace, with directories of a kubelet; `None` if this user or host does
/// not allow one.
fn in_a_node(name: &str) -> Option<Value> {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| directory.path().join(name);
    program(&path("pod_mounts.py"), POD_MOUNTS);
    program(&path("node.py"), include_str!("node.py"));
    let output = Command::new("python3").arg(path("node.py")).arg(directory.path()).output();
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
fn pod_mounts_are_adapted_to_unprivileged_nodes() {
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
        ("image", [65_536, 65_536]),
        ("image/bin/su", [65_536, 65_536]),
        ("image/bin/mail", [65_536 + 8, 65_536 + 12]),
        ("image/link", [65_536, 65_536]),
        ("of-another-pod", [0, 0]),
    ] {
        assert_eq!(found["owners"][what], json!(owner), "{what}");
    }
    assert_eq!(found["su"], json!("4755"), "the kernel takes it off when the owner changes");
    // Version 3, cap_net_raw, effective for id 65536 and its namespace.
    let capabilities = "0100000300200000000000000000000000000000".to_owned() + "00000100";
    assert!([json!(capabilities), json!(null)].contains(&found["ping"]), "{}", found["ping"]);
    let mapped: Vec<&str> =
        found["mapped"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert_eq!(mapped, ["/secret", "/config"], "these are in a tmpfs of the node");
    // As on disk.
    let given = "0400 0 2000 subpath";
    let files = json!({"..data": "..1", "..1/key": "0400 0 2000 value", "..1/given": given});
    assert_eq!(found["config"], files);
    assert_eq!(found["config_on_disk"], json!(true), "kubelet's own files are left alone");
    assert_eq!(found["unknown"], json!({"kept": [1, 1.5, "é"]}));
    assert_eq!(found["options"], json!(["rbind", "ro"]));
    assert_eq!(found["mode"], json!("0640"));
    assert_eq!(found["left"], json!([]), "no file of capn is left next to the configuration");
}

#[test]
fn an_unreadable_configuration_fails_the_creation() {
    let directory = tempfile::tempdir().unwrap();
    program(&directory.path().join("pod_mounts.py"), POD_MOUNTS);
    for text in
        ["no json", "[]", r#"{"linux":{"uidMappings":[{}],"gidMappings":[{}]},"mounts":[]}"#]
    {
        let config = directory.path().join("config.json");
        fs::write(&config, text).unwrap();
        let output = Command::new("python3")
            .arg(directory.path().join("pod_mounts.py"))
            .arg(&config)
            .output();
        let Ok(output) = output else { return println!("SKIPPED: python3 does not run") };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.starts_with("capn: the mounts of ") && said.contains("config.json"), "{said}");
        assert_eq!(fs::read_to_string(&config).unwrap(), text);
    }
}
