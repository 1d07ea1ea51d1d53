//! Tests of the probe, run by a shell in a directory that represents the instance.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use super::*;

const SENTINEL: &str = "run/cluster-api/bootstrap-success.complete";
const RESULT: &str = "run/cloud-init/result.json";
const OUTPUT: &str = "var/log/cloud-init-output.log";
const KIND: &str = "etc/systemd/system/capn-bootstrap.service";
const DONE: &str = "var/lib/capn/bootstrap.done";
const FAILURE: &str = "error execution phase addon/coredns: timed out
2026-11-24 17:11:36,000 - cc_scripts_user.py[WARNING]: Failed to run module scripts_user
";

/// An instance as the program sees it: unit states, files, and whether it was restarted.
struct Instance {
    units: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
    has_cloud_init: bool,
    started_again: bool,
}

const BOOTED: Instance =
    Instance { units: &[], files: &[], has_cloud_init: true, started_again: false };

fn put(root: &Path, path: &str, text: &str) -> PathBuf {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    path
}

fn program(root: &Path, name: &str, text: &str) {
    let path = put(root, &format!("bin/{name}"), text);
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Sets the modification time of a file, in seconds of a clock of the test.
fn date(path: &Path, seconds: u64) {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// Returns the exit code and the output.
fn probe(case: usize, instance: &Instance) -> (i32, String) {
    let root = std::env::temp_dir().join(format!("capn-t-look-{}-{case}", std::process::id()));
    fs::remove_dir_all(&root).ok();
    // Like the real one: `is-failed` succeeds if any unit failed; names are given without
    // `.service`.
    let mut systemctl =
        String::from("#!/bin/sh\nstate() {\nstate=inactive\ncase \"${1%.service}.service\" in\n");
    for (unit, state) in instance.units {
        systemctl.push_str(&format!("{unit}) state={state} ;;\n"));
    }
    systemctl.push_str(
        "esac\n}\nverb=$1\nfor unit; do\nstate \"$unit\"\n\
         case \"$verb $state\" in 'is-failed failed' | 'is-active active') exit 0 ;; esac\ndone\n\
         case $verb in show) echo ActiveState=$state ;; *) exit 1 ;; esac\n",
    );
    program(&root, "systemctl", &systemctl);
    if instance.has_cloud_init {
        program(&root, "cloud-init", "#!/bin/sh\n");
    }
    for (path, text) in instance.files {
        put(&root, path, text);
    }
    if !instance.files.iter().any(|(path, _)| *path == OUTPUT) {
        put(&root, OUTPUT, "last words\n");
    }
    let mark = put(&root, "var/lib/cloud/instance/sem/config_scripts_user", "");
    let boot = put(&root, "run/cloud-init/instance-data.json", "");
    date(&mark, if instance.started_again { 500 } else { 950 });
    date(&boot, 900);
    let at = root.display();
    let text = ["/run/", "/var/", "/etc/"].iter().fold(PROBE.to_owned(), |text, directory| {
        text.replace(directory, &format!("{at}{directory}"))
    });
    let path = format!("{at}/bin:/usr/bin:/bin");
    let out = Command::new("/bin/sh").args(["-c", &text]).env("PATH", path).output().unwrap();
    fs::remove_dir_all(&root).unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stderr), "", "case {case}");
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn the_sentinel_file_and_the_cloud_init_result_decide() {
    let active: &[_] = &[("cloud-final.service", "active")];
    let failed: &[_] = &[("cloud-final.service", "failed")];
    let busy: &[_] = &[("cloud-final.service", "activating")];
    let cases = [
        ("kubeadm works", 40, Instance { units: busy, ..BOOTED }),
        (
            "commands after kubeadm work",
            40,
            Instance { units: busy, files: &[(SENTINEL, "")], ..BOOTED },
        ),
        ("all is done", 0, Instance { units: active, files: &[(SENTINEL, "")], ..BOOTED }),
        (
            "kubeadm failed, and was the last command",
            FAILED,
            Instance { units: failed, files: &[(OUTPUT, FAILURE)], ..BOOTED },
        ),
        (
            "kubeadm failed, and a later command did not",
            NO_SENTINEL,
            Instance { units: active, ..BOOTED },
        ),
        (
            "a command after kubeadm failed",
            FAILED,
            Instance {
                units: failed,
                files: &[
                    (SENTINEL, ""),
                    (RESULT, "{\"v1\":{\"errors\":[\"('scripts_user', RuntimeError())\"]}}"),
                ],
                ..BOOTED
            },
        ),
        (
            "something of cloud-init's own failed",
            0,
            Instance {
                units: failed,
                files: &[
                    (SENTINEL, ""),
                    (RESULT, "{\"v1\":{\"errors\":[\"('keys_to_console', RuntimeError())\"]}}"),
                ],
                ..BOOTED
            },
        ),
        (
            "the disk was full",
            FAILED,
            Instance { units: failed, files: &[(SENTINEL, "")], ..BOOTED },
        ),
        (
            "an early stage failed",
            FAILED,
            Instance {
                units: &[("cloud-init.service", "failed"), ("cloud-final.service", "active")],
                ..BOOTED
            },
        ),
        (
            "an early stage failed, and kubeadm works",
            40,
            Instance {
                units: &[("cloud-config.service", "failed"), ("cloud-final.service", "activating")],
                ..BOOTED
            },
        ),
        (
            "an early stage failed, and kubeadm succeeded",
            0,
            Instance {
                units: &[("cloud-config.service", "failed"), ("cloud-final.service", "active")],
                files: &[(SENTINEL, "")],
                ..BOOTED
            },
        ),
        ("it has not begun", 40, BOOTED),
        ("it was started again", 44, Instance { units: active, started_again: true, ..BOOTED }),
        (
            "it had failed and was started again",
            FAILED,
            Instance { units: active, started_again: true, files: &[(OUTPUT, FAILURE)], ..BOOTED },
        ),
        ("there is no cloud-init", 42, Instance { has_cloud_init: false, ..BOOTED }),
        (
            "there is no cloud-init, but a sentinel",
            0,
            Instance { has_cloud_init: false, files: &[(SENTINEL, "")], ..BOOTED },
        ),
        ("cloud-init is off", 42, Instance { files: &[("run/cloud-init/disabled", "")], ..BOOTED }),
        (
            "kind: works",
            40,
            Instance {
                units: &[("capn-bootstrap.service", "activating")],
                files: &[(KIND, "")],
                has_cloud_init: false,
                ..BOOTED
            },
        ),
        (
            "kind: works on after kubeadm",
            40,
            Instance {
                units: &[("capn-bootstrap.service", "activating")],
                files: &[(KIND, ""), (SENTINEL, "")],
                has_cloud_init: false,
                ..BOOTED
            },
        ),
        (
            "kind: done",
            0,
            Instance {
                units: &[("capn-bootstrap.service", "active")],
                files: &[(KIND, ""), (SENTINEL, ""), (DONE, "")],
                has_cloud_init: false,
                ..BOOTED
            },
        ),
        (
            "kind: kubeadm failed",
            NO_SENTINEL,
            Instance {
                units: &[("capn-bootstrap.service", "active")],
                files: &[(KIND, ""), (DONE, "")],
                has_cloud_init: false,
                ..BOOTED
            },
        ),
        (
            "kind: failed",
            FAILED,
            Instance {
                units: &[("capn-bootstrap.service", "failed")],
                files: &[(KIND, ""), (SENTINEL, "")],
                has_cloud_init: false,
                ..BOOTED
            },
        ),
        (
            "kind: started again",
            44,
            Instance { files: &[(KIND, ""), (DONE, "")], has_cloud_init: false, ..BOOTED },
        ),
    ];
    for (at, (what, want, instance)) in cases.iter().enumerate() {
        let (code, output) = probe(at, instance);
        assert_eq!(code, *want, "{what}: {output}");
        if [FAILED, NO_SENTINEL].contains(want) {
            let shown =
                output.contains("last words") || output.contains("addon/coredns: timed out");
            assert!(shown, "{what}: {output}");
        }
    }
}
