use capi_api::bootstrap::KubeadmConfigSpec;

use super::super::cloud_config::Command;
use super::*;

/// Returns the rendered configuration as JSON, and the warnings.
fn rendered(spec: Value, documents: &[&str]) -> Result<(Value, Vec<String>), String> {
    let spec: KubeadmConfigSpec = serde_json::from_value(spec).unwrap();
    let files = spec.files.iter().map(|file| TextFile {
        path: file.path.clone(),
        owner: file.owner.clone(),
        permissions: file.permissions.clone(),
        encoding: file.encoding,
        append: file.append == Some(true),
        content: file.content.clone().unwrap_or_default(),
    });
    let data = UserData {
        files: files.collect(),
        command: Command::Join,
        documents: documents.iter().map(|text| (*text).to_owned()).collect(),
        verbosity: spec.verbosity,
        boot_commands: &spec.boot_commands,
        pre_kubeadm_commands: &spec.pre_kubeadm_commands,
        post_kubeadm_commands: &spec.post_kubeadm_commands,
        ntp: spec.ntp.as_ref(),
        users: spec.users.clone(),
        disk_setup: spec.disk_setup.as_ref(),
        mounts: &spec.mounts,
    };
    let settings = spec.ignition.as_ref().and_then(|all| all.container_linux_config.as_ref());
    match render(&data, settings) {
        Ok(found) => Ok((serde_json::from_str(&found.text).unwrap(), found.warnings)),
        Err(error) => Err(error.to_string()),
    }
}

fn config(spec: Value) -> Value {
    rendered(spec, &["foo\n"]).unwrap().0
}

fn additional(text: &str, strict: bool) -> Value {
    let settings = json!({ "additionalConfig": text, "strict": strict });
    json!({ "ignition": { "containerLinuxConfig": settings } })
}

/// Returns the file at a path: its mode and its `data` URL.
fn file<'a>(config: &'a Value, path: &str) -> &'a Value {
    let files = config["storage"]["files"].as_array().unwrap();
    files.iter().find(|file| file["path"] == path).unwrap()
}

const COMMANDS: [&str; 3] = [
    "pre-command",
    "another-pre-command",
    "cat <<EOF > /etc/modules-load.d/containerd.conf\noverlay\nbr_netfilter\nEOF\n",
];

// The inputs and the expected results are those of the first case of TestRender, Cluster API v1.14,
// bootstrap/kubeadm/pkg/ignition/clc/clc_test.go. Comments in the files differ.
#[test]
fn every_part_of_a_spec_becomes_what_upstream_makes_of_it() {
    let config = config(json!({
        "preKubeadmCommands": COMMANDS,
        "postKubeadmCommands": ["post-kubeadm-command", COMMANDS[2]],
        "ntp": { "enabled": true, "servers": ["foo.bar", "baz"] },
        "users": [{
            "name": "foo", "gecos": "Foo B. Bar", "groups": "foo, bar", "homeDir": "/home/foo",
            "shell": "/bin/false", "passwd": "$6$j212wezy$7H", "primaryGroup": "foo",
            "sudo": "ALL=(ALL) NOPASSWD:ALL", "sshAuthorizedKeys": ["foo", "bar"],
        }],
        "diskSetup": {
            "partitions": [{ "device": "/dev/disk/azure/scsi1/lun0", "layout": true,
                "overwrite": true, "tableType": "gpt" }],
            "filesystems": [{ "device": "/dev/disk/azure/scsi1/lun0", "filesystem": "ext4",
                "label": "test_disk", "overwrite": true,
                "extraOpts": ["-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"] }],
        },
        "mounts": [["test_disk", "/var/lib/testdir", "foo"]],
        "files": [{ "path": "/etc/testfile.yaml", "encoding": "base64", "content": "Zm9vCg==",
            "permissions": "0600", "owner": "nobody:nobody" }],
    }));
    assert_eq!(config["ignition"], json!({ "version": "2.3.0" }));
    assert_eq!(
        config["passwd"]["users"],
        json!([{
            "name": "foo", "gecos": "Foo B. Bar", "groups": ["foo", "bar"], "homeDir": "/home/foo",
            "shell": "/bin/false", "passwordHash": "$6$j212wezy$7H", "primaryGroup": "foo",
            "sshAuthorizedKeys": ["foo", "bar"],
        }])
    );
    assert_eq!(
        config["storage"]["disks"],
        json!([{ "device": "/dev/disk/azure/scsi1/lun0", "wipeTable": true, "partitions": [{}] }])
    );
    assert_eq!(
        config["storage"]["filesystems"],
        json!([{ "name": "test_disk", "mount": {
            "device": "/dev/disk/azure/scsi1/lun0", "format": "ext4", "label": "test_disk",
            "options": ["-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"],
            "wipeFilesystem": true,
        } }])
    );
    let files = config["storage"]["files"].as_array().unwrap();
    let order: Vec<_> = files.iter().map(|file| file["path"].as_str().unwrap()).collect();
    assert_eq!(
        order,
        [
            "/etc/sudoers.d/foo",
            "/etc/testfile.yaml",
            "/etc/kubeadm.sh",
            "/etc/kubeadm.yml",
            "/etc/ntp.conf",
        ]
    );
    for (path, mode, source) in [
        ("/etc/sudoers.d/foo", 0o600, "data:,foo%20ALL%3D(ALL)%20NOPASSWD%3AALL%0A"),
        ("/etc/testfile.yaml", 0o600, "data:,foo%0A"),
        ("/etc/kubeadm.yml", 0o600, "data:,---%0Afoo%0A"),
        (
            "/etc/kubeadm.sh",
            0o700,
            "data:,%23!%2Fbin%2Fbash%0Aset%20-e%0A%0Apre-command%0Aanother-pre-command%0Acat%20%3C%3C\
             EOF%20%3E%20%2Fetc%2Fmodules-load.d%2Fcontainerd.conf%0Aoverlay%0Abr_netfilter%0AEOF%0A%0A\
             %0Akubeadm%20join%20--config%20%2Fetc%2Fkubeadm.yml%0Amkdir%20-p%20%2Frun%2Fcluster-api%20\
             %26%26%20echo%20success%20%3E%20%2Frun%2Fcluster-api%2Fbootstrap-success.complete%0Amv%20\
             %2Fetc%2Fkubeadm.yml%20%2Ftmp%2F%0A%0Apost-kubeadm-command%0Acat%20%3C%3CEOF%20%3E%20\
             %2Fetc%2Fmodules-load.d%2Fcontainerd.conf%0Aoverlay%0Abr_netfilter%0AEOF%0A",
        ),
    ] {
        let found = file(&config, path);
        assert_eq!(found["mode"], json!(mode), "{path}");
        assert_eq!(found["contents"]["source"], json!(source), "{path}");
        assert_eq!(found["filesystem"], "root", "{path}");
    }
    let testfile = file(&config, "/etc/testfile.yaml");
    assert_eq!(
        (&testfile["user"]["name"], &testfile["group"]["name"]),
        (&json!("nobody"), &json!("nobody"))
    );
    let time = file(&config, "/etc/ntp.conf")["contents"]["source"].as_str().unwrap();
    assert!(time.contains("%0Aserver%20foo.bar%0Aserver%20baz%0A"), "{time}");
    assert!(time.ends_with("restrict%20127.0.0.1%0Arestrict%20%5B%3A%3A1%5D%0A"), "{time}");
    let units = config["systemd"]["units"].as_array().unwrap();
    let names: Vec<_> = units.iter().map(|unit| unit["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kubeadm.service", "ntpd.service", "var-lib-testdir.mount"]);
    assert!(units.iter().all(|unit| unit["enabled"] == true));
    assert_eq!(
        units[2]["contents"],
        "[Unit]\nDescription = Mount test_disk\n\n[Mount]\nWhat=/dev/disk/azure/scsi1/lun0\n\
         Where=/var/lib/testdir\nOptions=foo\n\n[Install]\nWantedBy=multi-user.target\n"
    );
    assert!(units[1].get("contents").is_none());
}

// The other cases of TestRender.
#[test]
fn owners_passwords_and_plain_content_are_those_of_upstream() {
    let users = json!([{ "name": "foo", "lockPassword": false }, { "name": "bar", "lockPassword": false },
        { "name": "baz", "lockPassword": true }]);
    let sshd = config(json!({ "users": users }));
    let source = file(&sshd, "/etc/ssh/sshd_config")["contents"]["source"].as_str().unwrap();
    assert!(
        source.ends_with("%0AMatch%20User%20foo%2Cbar%0A%20%20PasswordAuthentication%20yes%0A"),
        "{source}"
    );
    for (owner, user, group) in [
        ("nobody:nobody", Some("nobody"), Some("nobody")),
        ("nobody", Some("nobody"), None),
        ("nobody:", Some("nobody"), None),
        (":nobody", None, Some("nobody")),
    ] {
        let config = config(json!({ "files": [{ "path": "/etc/a", "owner": owner }] }));
        let found = file(&config, "/etc/a");
        assert_eq!(found["user"]["name"].as_str(), user, "{owner}");
        assert_eq!(found["group"]["name"].as_str(), group, "{owner}");
        assert_eq!(found["contents"]["source"], "data:,");
        assert_eq!(found["mode"], json!(0o644));
    }
    let plain = config(json!({ "files": [
        { "path": "/etc/plain", "content": "foo", "permissions": "0600" },
        { "path": "/etc/more", "content": "é\n", "append": true },
    ] }));
    assert_eq!(file(&plain, "/etc/plain")["contents"]["source"], "data:,foo%0A");
    assert_eq!(file(&plain, "/etc/more")["contents"]["source"], "data:,%C3%A9%0A");
    assert_eq!(file(&plain, "/etc/more")["append"], true);
}

#[test]
fn what_ignition_has_nothing_for_is_refused_with_its_field() {
    for (spec, expected) in [
        (
            json!({ "bootCommands": ["true"] }),
            "spec.bootCommands: Ignition does not support boot commands",
        ),
        (
            json!({ "files": [{ "path": "/a", "encoding": "gzip", "content": "x" }] }),
            "file /a: the format ignition does not support gzip",
        ),
        (
            json!({ "files": [{ "path": "/a", "encoding": "base64", "content": "%" }] }),
            "file /a: the content is not base64",
        ),
        (json!({ "files": [{ "path": "/a", "permissions": "rw" }] }), "file /a: the permissions"),
        (json!({ "files": [{ "path": "a" }] }), "spec: storage.files[0].path: is not an absolute"),
        (json!({ "mounts": [["x"]] }), "spec.mounts[0]: a mount must have"),
        (json!({ "mounts": [["x", "/y"]] }), "spec.mounts[0]: spec.diskSetup has no filesystem"),
        (
            json!({ "diskSetup": { "partitions": [{ "device": "/d", "diskLayout": [{ "percentage": 1 }] }] } }),
            "spec.diskSetup.partitions[0].diskLayout: Ignition takes no percentages",
        ),
        (
            json!({ "diskSetup": { "filesystems": [{ "device": "/d", "filesystem": "ntfs" }] } }),
            "spec: storage.filesystems[0].mount.format: is not ext4",
        ),
        (
            json!({ "diskSetup": { "filesystems": [
                { "device": "/d", "filesystem": "xfs", "label": "longer_than_12" }] } }),
            "spec: storage.filesystems[0].mount.label: is longer than the 12 bytes of xfs",
        ),
        (json!({ "users": [{ "name": "a", "sudo": "ALL\nb ALL" }] }), "spec.users[0]: a user name"),
    ] {
        let error = rendered(spec.clone(), &[]).unwrap_err();
        assert!(error.starts_with(expected), "{spec}: {error}");
    }
}

#[test]
fn a_unit_of_a_mount_is_named_as_systemd_names_it() {
    for (path, name) in [
        ("/var/lib/testdir", "var-lib-testdir"),
        ("/var/lib/my-data/", "var-lib-my\\x2ddata"),
        ("//srv//a b", "srv-a\\x20b"),
        ("/.hidden", "\\x2ehidden"),
        ("/", "-"),
    ] {
        assert_eq!(unit_name(path), name, "{path}");
    }
    let found =
        config(json!({ "mounts": [["/dev/vdb", "/a"], ["LABEL=x", "/b", "ro", "nofail"]] }));
    let units = found["systemd"]["units"].as_array().unwrap();
    assert!(units[1]["contents"].as_str().unwrap().contains("What=/dev/vdb\nWhere=/a\nOptions=\n"));
    assert!(units[2]["contents"].as_str().unwrap().contains("What=LABEL=x\n"));
    assert!(units[2]["contents"].as_str().unwrap().contains("Options=ro,nofail\n"));
}

#[test]
fn an_additional_config_is_appended() {
    let text = r#"
storage:
  disks:
  - device: /dev/sda
    wipe_table: yes
    partitions: [{label: ROOT, number: 9, size: 1GiB, type_guid: linux_filesystem_data}]
  raid: [{name: md0, level: raid1, devices: [/dev/sdb, /dev/sdc]}]
  files:
  - path: /opt/file
    mode: 0644
    user: {id: 500}
    contents: {inline: "a b"}
  - path: /opt/remote
    filesystem: root
    mode: 493
    contents:
      remote: {url: "https://example.com/x", compression: gzip}
  directories: [{path: /opt/dir, mode: 0755}]
  links: [{path: /opt/link, target: /opt/file, hard: true}]
systemd:
  units:
  - name: kubeadm.service
    dropins:
    - name: 10-flatcar.conf
      contents: |
        [Unit]
        Requires=containerd.service
  - {name: locksmithd.service, mask: true}
networkd:
  units: [{name: 00-eth0.network, contents: "[Match]\nName=eth0\n"}]
passwd:
  users: [{name: core, uid: 500, ssh_authorized_keys: [ssh-ed25519 AAAA], system: true}]
  groups: [{name: g, gid: 77}]
ignition:
  timeouts: {http_total: 30}
  config: {append: [{source: "https://example.com/more.json"}]}
"#;
    let (config, warnings) = rendered(additional(text, true), &["foo\n"]).unwrap();
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(
        config["ignition"],
        json!({ "version": "2.3.0", "timeouts": { "httpTotal": 30 },
            "config": { "append": [{ "source": "https://example.com/more.json" }] } })
    );
    assert_eq!(
        config["storage"]["disks"],
        json!([{ "device": "/dev/sda", "wipeTable": true, "partitions": [{ "label": "ROOT",
            "number": 9, "sizeMiB": 1024, "typeGuid": "0fc63daf-8483-4772-8e79-3d69d8477de4" }] }])
    );
    assert_eq!(
        file(&config, "/opt/file"),
        &json!({ "filesystem": "root", "path": "/opt/file", "mode": 420, "user": { "id": 500 },
            "contents": { "source": "data:,a%20b" } })
    );
    let remote = json!({ "source": "https://example.com/x", "compression": "gzip" });
    assert_eq!(file(&config, "/opt/remote")["contents"], remote);
    assert_eq!(config["storage"]["links"][0]["target"], "/opt/file");
    let units = config["systemd"]["units"].as_array().unwrap();
    assert_eq!(units.len(), 3, "a drop-in for a unit of the configuration is an entry of its own");
    assert_eq!(units[1]["dropins"][0]["name"], "10-flatcar.conf");
    assert_eq!(config["networkd"]["units"][0]["name"], "00-eth0.network");
    assert_eq!(config["passwd"]["groups"], json!([{ "name": "g", "gid": 77 }]));
    assert_eq!(config["passwd"]["users"][0]["uid"], 500);
}

// Warnings and strict: the last four cases of TestRender, with the same configurations.
#[test]
fn a_doubtful_additional_config_is_an_error_only_if_strict() {
    let without_mode =
        "---\nstorage:\n  files:\n  - path: /foo\n    contents:\n      inline: foo\n";
    let colon =
        "---\nstorage:\n  disks:\n  - device: /dev/sda\n    partitions:\n    - label: foo:bar\n";
    let unit =
        "systemd: {units: [{name: a.service, enabled: true, contents: \"[Service]\\nA=b\\n\"}]}";
    for (text, warning) in [
        (without_mode, "storage.files[0].mode: is not set; it becomes 0o644"),
        (colon, "storage.disks[0].partitions[0].label: contains a colon"),
        ("storage: {filez: []}", "storage.filez: is not a known key"),
        ("{}x: 1", "x: is not"),
        (unit, "systemd.units[0].contents: has no section [Install]"),
        ("# nothing\n", "it is empty"),
    ] {
        let text = text.trim_start_matches("{}");
        let (_, warnings) = rendered(additional(text, false), &[]).unwrap();
        assert!(warnings.len() == 1 && warnings[0].starts_with(warning), "{text}: {warnings:?}");
        let error = rendered(additional(text, true), &[]).unwrap_err();
        let field = "spec.ignition.containerLinuxConfig.additionalConfig: ";
        assert!(error.starts_with(&format!("{field}{warning}")), "{text}: {error}");
    }
}

#[test]
fn a_wrong_additional_config_is_refused() {
    let long = format!("storage: {}{}", "[".repeat(100), "]".repeat(100));
    for (text, expected) in [
        ("storage: [", "line 1: it is not YAML"),
        (long.as_str(), "additionalConfig: line 1: it "),
        ("a: &a 1\nb: *a", "it "),
        ("- 1", "is not a mapping"),
        ("storage: {}\n---\nstorage: {}\n", "it has more than one document"),
        ("version: 1", "version: only version 0"),
        ("docker: {flags: [a]}", "docker: is not supported"),
        ("storage: {files: 1}", "storage.files: is not a list"),
        ("storage: {files: [{path: a, mode: 1}]}", "storage.files[0].path: is not an absolute"),
        ("storage: {files: [{path: /a, mode: 99999}]}", "storage.files[0].mode: is not between"),
        ("storage: {files: [{path: /a, mode: x}]}", "storage.files[0].mode: is not a whole number"),
        (
            "storage: {files: [{path: /a, mode: 1, contents: {local: x}}]}",
            "storage.files[0].contents.local: local files are not supported",
        ),
        (
            "storage: {files: [{path: /a, mode: 1, contents: {remote: {url: \"file:///x\"}}}]}",
            "storage.files[0].contents.source: is not a URL",
        ),
        ("storage: {filesystems: [{name: a}]}", "storage.filesystems[0]: set one of"),
        (
            "storage: {disks: [{device: /d, partitions: [{size: 1KiB}]}]}",
            "storage.disks[0].partitions[0].size",
        ),
        (
            "storage: {disks: [{device: /d, partitions: [{guid: x}]}]}",
            "storage.disks[0].partitions[0].guid",
        ),
        (
            "storage: {disks: [{device: /d, partitions: [{number: 1}, {number: 1}]}]}",
            "storage.disks[0].partitions[1].number: is negative or used twice",
        ),
        ("storage: {raid: [{name: a, level: raid7, devices: []}]}", "storage.raid[0].level"),
        ("systemd: {units: [{name: a}]}", "systemd.units[0].name: does not end in"),
        (
            "systemd: {units: [{name: a.service, contents: nonsense}]}",
            "systemd.units[0].contents: line 1",
        ),
        ("networkd: {units: [{name: a.conf}]}", "networkd.units[0].name: does not end in"),
        (
            "ignition: {config: {replace: {source: \"https://e\", verification: {hash: {function: md5, sum: a}}}}}",
            "ignition.config.replace.verification.hash: is not a hash of sha512",
        ),
    ] {
        let error = rendered(additional(text, false), &[]).unwrap_err();
        let field = "spec.ignition.containerLinuxConfig.additionalConfig: ";
        assert!(error.contains(expected) && error.starts_with(field), "{text}: {error}");
    }
}
