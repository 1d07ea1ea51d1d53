//! Commands on the embedded plane, without running controllers.

use std::os::unix::fs::PermissionsExt as _;

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

/// Manifests of a cluster whose identity points to no server.
fn manifests(home: &Home, name: &str) -> String {
    let socket = format!("unix://{}/socket", home.path().display());
    let arguments =
        ["generate", "cluster", name, "--kubernetes-version", "v1.31.5", "--remote", &socket];
    let ran = home.capn(&arguments);
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    ran.out.replace("$HOME", home.path().to_str().unwrap())
}

fn apply(home: &Home, text: &str) -> crate::CommandOutput {
    let file = home.path().join("file.yaml");
    std::fs::write(&file, text).unwrap();
    home.capn(&["apply", "--wait", "0", "-f", file.to_str().unwrap()])
}

#[test]
fn reading_creates_no_state() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["get", "clusters"]), @r"
    ------- stderr -------
    no clusters yet; create one: `capn up`
    [exit: Done]
    ");
    let listed = home.capn(&["get", "machines", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    assert_eq!(
        (&list["kind"], &list["items"]),
        (&"List".into(), &serde_json::json!([])),
        "{listed}"
    );
    assert_snapshot!(home.capn(&["delete", "cluster", "demo"]), @r"
    ------- stderr -------
    cluster `demo` does not exist: nothing to delete; no clusters exist; create one: `capn up`
    [exit: Done]
    ");
    assert_eq!(home.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_state_directory_that_is_a_file_is_an_error() {
    let home = Home::new();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ran = home.capn(&["--state-dir", file.to_str().unwrap(), "get", "clusters"]);
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert!(ran.err.contains("is not a directory"), "{ran}");
}

#[test]
fn generated_manifests_apply_and_reapply_unchanged() {
    let home = Home::new();
    let text = manifests(&home, "demo");
    let first = apply(&home, &text);
    assert_snapshot!(first, @r"
    cluster.cluster.x-k8s.io/demo created
    secret/demo-incus created
    lxccluster.infrastructure.cluster.x-k8s.io/demo created
    lxcmachinetemplate.infrastructure.cluster.x-k8s.io/demo-control-plane created
    kubeadmcontrolplane.controlplane.cluster.x-k8s.io/demo-control-plane created
    lxcmachinetemplate.infrastructure.cluster.x-k8s.io/demo-md-0 created
    kubeadmconfigtemplate.bootstrap.cluster.x-k8s.io/demo-md-0 created
    machinedeployment.cluster.x-k8s.io/demo-md-0 created
    machinehealthcheck.cluster.x-k8s.io/demo-md-0 created
    machinehealthcheck.cluster.x-k8s.io/demo-control-plane created
    ------- stderr -------
    [exit: Done]
    ");
    let again = apply(&home, &text);
    assert_eq!(again.out, first.out.replace("created", "unchanged"), "{again}");
    assert_eq!(home.capn(&["get", "clusters", "-o", "name"]).out, "demo\n");
    let state = home.path().join(".local/state/capn");
    assert_eq!(state.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn objects_without_controllers_are_shown_with_their_age() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    let database = home.path().join(".local/state/capn/plane.db");
    let age = |seconds| {
        let at = std::time::SystemTime::now() - std::time::Duration::from_secs(seconds);
        std::fs::File::options().write(true).open(&database).unwrap().set_modified(at).unwrap();
    };
    for command in [&["get", "clusters"][..], &["describe", "cluster", "demo"]] {
        assert_eq!(home.capn(command).err, "", "{command:?}");
        age(15 * 60 + 5);
        let said = home.capn(command).err;
        assert_eq!(said, "· as of 15 min ago; `capn serve` keeps this up to date\n");
        let as_json = [command, &["-o", "json"]].concat();
        assert_eq!(home.capn(&as_json).err, "", "{as_json:?}");
        age(0);
    }
}

#[test]
fn an_unknown_field_is_refused_with_its_path() {
    let home = Home::new();
    let text = manifests(&home, "demo").replace("  unprivileged: true", "  unpriviledged: true");
    let ran = apply(&home, &text);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains(r#"unknown field "spec.unpriviledged""#), "{ran}");
    assert!(ran.err.contains("lxccluster.infrastructure.cluster.x-k8s.io/demo"), "{ran}");
}

#[test]
fn nothing_is_written_when_one_manifest_is_refused() {
    let home = Home::new();
    let text = manifests(&home, "demo").replace("  unprivileged: true", "  unpriviledged: true");
    let ran = apply(
        &home,
        &format!("{text}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: A}}\n"),
    );
    assert!(ran.err.contains("nothing was applied: 2 of 11 manifests were refused"), "{ran}");
    assert_eq!(ran.out, "", "{ran}");
    assert_eq!(home.capn(&["get", "clusters", "-o", "name"]).out, "");
}

#[test]
fn a_file_may_define_the_namespaces_and_kinds_it_uses() {
    let text = r#"
apiVersion: example.org/v1
kind: Thing
metadata: {name: a, namespace: team}
---
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.org}
spec:
  group: example.org
  scope: Namespaced
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a, namespace: team}
"#;
    assert_snapshot!(apply(&Home::new(), text), @r"
    namespace/team created
    customresourcedefinition.apiextensions.k8s.io/things.example.org created
    thing.example.org/a created
    configmap/a created
    ------- stderr -------
    [exit: Done]
    ");
}

#[test]
fn unsupported_or_unreconciled_kinds_are_reported() {
    let home = Home::new();
    let ran = apply(&home, "# only a comment\n");
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert!(ran.err.contains("no manifests in"), "{ran}");
    let old = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: a}\n";
    let ran = apply(&home, old);
    let told =
        "uses cluster.x-k8s.io/v1beta1, but the plane only has Cluster in cluster.x-k8s.io/v1beta2";
    assert!(ran.err.contains(told), "{ran}");
    let pool =
        "apiVersion: cluster.x-k8s.io/v1beta2\nkind: ClusterClass\nmetadata: {name: a}\nspec: {}\n";
    let ran = apply(&home, pool);
    assert_eq!(ran.out, "clusterclass.cluster.x-k8s.io/a created\n", "{ran}");
    assert!(
        ran.err.contains("is stored only: capn has no controller for kind ClusterClass"),
        "{ran}"
    );
}

#[test]
fn an_unknown_kind_is_named() {
    let ran = apply(&Home::new(), "apiVersion: apps/v9\nkind: Nonsense\nmetadata: {name: a}\n");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(
        ran.err.contains("nonsense.apps/a has a kind that the plane does not support"),
        "{ran}"
    );
}

#[test]
fn a_missing_cluster_is_an_error_that_lists_existing_ones() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    for command in
        [&["describe", "cluster", "dem"][..], &["kubeconfig", "dem"], &["get", "clusters", "dem"]]
    {
        let ran = home.capn(command);
        assert_eq!(ran.exit, Exit::Failed, "{command:?}");
        let text = "Error: cluster `dem` does not exist\nHint: existing clusters: demo\n";
        assert_eq!(ran.err, text, "{command:?}");
    }
}

#[test]
fn a_cluster_without_a_kubeconfig_has_a_hint() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["kubeconfig", "demo"]), @r"
    ------- stderr -------
    Error: cluster `demo` has no kubeconfig yet
    Hint: check its progress: `capn describe cluster demo`
    [exit: Failed]
    ");
}

#[test]
fn a_missing_server_is_an_error_before_anything_is_recorded() {
    let home = Home::new();
    let ran = home.capn(&["up", "--bootstrap", "none", "--remote", "unix:///no/socket"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("cannot reach the server at unix:///no/socket"), "{ran}");
    assert!(ran.err.contains("Hint: is the daemon running?"), "{ran}");
    assert_eq!(home.capn(&["get", "clusters", "-o", "name"]).out, "");
}

#[test]
fn an_unknown_remote_has_a_hint() {
    let ran = Home::new().capn(&["image", "list", "--remote", "lab"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: remote `lab` does not exist: no configuration of the `incus` or `lxc` client was found
    Hint: add it: `incus remote add lab https://HOST:8443`
    [exit: Failed]
    ");
}

#[test]
fn commands_that_would_wait_name_a_paused_cluster() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["resume", "demo"]), @r"
    ------- stderr -------
    cluster `demo` is not paused: nothing to do
    [exit: Done]
    ");
    assert_snapshot!(home.capn(&["pause", "demo"]), @r"
    ------- stderr -------
    cluster `demo` is paused: its nodes keep running, and nothing else changes until `capn resume demo`
    [exit: Done]
    ");
    let file = home.path().join("file.yaml");
    for (arguments, told) in [
        (
            &["apply", "-f", file.to_str().unwrap()][..],
            "cluster `demo` is paused, so nothing is created",
        ),
        (&["delete", "cluster", "demo"], "it is paused, so it is not deleted"),
    ] {
        let ran = home.capn(arguments);
        assert_eq!(ran.exit, Exit::Failed, "{ran}");
        assert!(ran.err.contains(told), "{ran}");
        assert!(ran.err.contains("`capn resume demo`"), "{ran}");
    }
    let absent = home.capn(&["pause", "other"]);
    assert!(absent.err.contains("cluster `other` does not exist"), "{absent}");
}

#[test]
fn a_name_without_its_kind_is_understood() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["delete", "demo"]), @r"
    ------- stderr -------
    Error: `demo` is a cluster, but its kind is missing in the command
    Hint: did you mean `capn delete cluster demo`?
    [exit: Usage]
    ");
    let described = home.capn(&["describe", "demo"]);
    assert_eq!(described.exit, Exit::Done, "{described}");
    assert!(described.out.contains("Cluster/demo"), "{described}");
    assert_snapshot!(home.capn(&["describe", "dem"]), @r"
    ------- stderr -------
    Error: `dem` is neither a kind that `capn describe` supports nor the name of a cluster
    Hint: list kinds: `capn describe --help`; list clusters: `capn get clusters`
    [exit: Usage]
    ");
}

#[test]
fn missing_machines_are_named() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["exec", "a", "--", "true"]), @r"
    ------- stderr -------
    Error: machine `a` does not exist
    Hint: no machines exist
    [exit: Failed]
    ");
    assert_snapshot!(home.capn(&["logs", "a"]), @r"
    ------- stderr -------
    Error: machine `a` does not exist
    Hint: no machines exist
    Hint: or specify the name of a cluster; list clusters: `capn get clusters`
    [exit: Failed]
    ");
    for command in ["stop", "start"] {
        let ran = home.capn(&[command, "demo"]);
        assert_eq!(ran.exit, Exit::Failed, "{ran}");
        assert!(ran.err.contains("cluster `demo` does not exist"), "{ran}");
    }
}
