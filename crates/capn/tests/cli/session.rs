//! Commands on the embedded plane, without controllers at work.

use std::os::unix::fs::PermissionsExt as _;

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

/// The manifests of a cluster, with an identity that leads nowhere.
fn manifests(home: &Home, name: &str) -> String {
    let socket = format!("unix://{}/socket", home.path().display());
    let arguments =
        ["generate", "cluster", name, "--kubernetes-version", "v1.31.5", "--remote", &socket];
    let ran = home.capn(&arguments);
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    ran.out.replace("$HOME", home.path().to_str().unwrap())
}

fn apply(home: &Home, text: &str) -> crate::Ran {
    let file = home.path().join("file.yaml");
    std::fs::write(&file, text).unwrap();
    home.capn(&["apply", "--wait", "0", "-f", file.to_str().unwrap()])
}

#[test]
fn reading_makes_no_state() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["get", "clusters"]), @r"
    ------- stderr -------
    no clusters yet; make one: `capn up`
    [exit: Done]
    ");
    assert_eq!(home.capn(&["get", "machines", "-o", "json"]).out, "[]\n");
    assert_snapshot!(home.capn(&["delete", "cluster", "demo"]), @r"
    ------- stderr -------
    there is no cluster `demo`: nothing to delete; there are no clusters; make one: `capn up`
    [exit: Done]
    ");
    assert_eq!(home.path().read_dir().unwrap().count(), 0);
}

#[test]
fn a_state_folder_that_is_a_file_is_an_error() {
    let home = Home::new();
    let file = home.path().join("file");
    std::fs::write(&file, "").unwrap();
    let ran = home.capn(&["--state-dir", file.to_str().unwrap(), "get", "clusters"]);
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert!(ran.err.contains("is not a folder"), "{ran}");
}

#[test]
fn what_create_would_make_is_applied_and_applied_again_unchanged() {
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
    machinehealthcheck.cluster.x-k8s.io/demo-control-plane created
    machinehealthcheck.cluster.x-k8s.io/demo-md-0 created
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
fn what_nothing_watches_is_shown_with_its_age() {
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
fn a_field_that_does_not_exist_is_refused_with_its_path() {
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
fn objects_may_need_namespaces_and_kinds_of_the_same_file() {
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
fn what_is_not_taken_or_not_run_is_said() {
    let home = Home::new();
    let ran = apply(&home, "# only a comment\n");
    assert_eq!(ran.exit, Exit::Usage, "{ran}");
    assert!(ran.err.contains("there is no manifest in"), "{ran}");
    let old = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Cluster\nmetadata: {name: a}\n";
    let ran = apply(&home, old);
    let told = "is of cluster.x-k8s.io/v1beta1, and the plane has Cluster as cluster.x-k8s.io/v1beta2 only";
    assert!(ran.err.contains(told), "{ran}");
    let pool =
        "apiVersion: cluster.x-k8s.io/v1beta2\nkind: ClusterClass\nmetadata: {name: a}\nspec: {}\n";
    let ran = apply(&home, pool);
    assert_eq!(ran.out, "clusterclass.cluster.x-k8s.io/a created\n", "{ran}");
    assert!(
        ran.err.contains("is stored only: no controller of capn reads the kind ClusterClass"),
        "{ran}"
    );
}

#[test]
fn a_kind_that_does_not_exist_is_named() {
    let ran = apply(&Home::new(), "apiVersion: apps/v9\nkind: Nonsense\nmetadata: {name: a}\n");
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("nonsense.apps/a is of a kind that the plane does not have"), "{ran}");
}

#[test]
fn a_cluster_that_is_not_there_is_an_error_with_those_that_are() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    for command in
        [&["describe", "cluster", "dem"][..], &["kubeconfig", "dem"], &["get", "clusters", "dem"]]
    {
        let ran = home.capn(command);
        assert_eq!(ran.exit, Exit::Failed, "{command:?}");
        let text = "Error: there is no cluster `dem`\nHint: clusters that are there: demo\n";
        assert_eq!(ran.err, text, "{command:?}");
    }
}

#[test]
fn a_cluster_without_a_kubeconfig_says_where_to_look() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["kubeconfig", "demo"]), @r"
    ------- stderr -------
    Error: cluster `demo` has no kubeconfig yet
    Hint: see how far it is: `capn describe cluster demo`
    [exit: Failed]
    ");
}

#[test]
fn a_server_that_is_not_there_is_an_error_before_anything_is_recorded() {
    let home = Home::new();
    let ran = home.capn(&["up", "--bootstrap", "none", "--remote", "unix:///no/socket"]);
    assert_eq!(ran.exit, Exit::Failed);
    assert!(ran.err.contains("cannot reach the server at unix:///no/socket"), "{ran}");
    assert!(ran.err.contains("Hint: is the daemon running?"), "{ran}");
    assert_eq!(home.capn(&["get", "clusters", "-o", "name"]).out, "");
}

#[test]
fn a_remote_that_is_not_configured_says_how_to_add_it() {
    let ran = Home::new().capn(&["image", "list", "--remote", "lab"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: there is no remote `lab`: no configuration of the `incus` or `lxc` command is found
    Hint: add it: `incus remote add lab https://HOST:8443`
    [exit: Failed]
    ");
}

#[test]
fn a_paused_cluster_is_named_by_commands_that_would_wait_for_it() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["resume", "demo"]), @r"
    ------- stderr -------
    cluster `demo` is not paused: nothing to do
    [exit: Done]
    ");
    assert_snapshot!(home.capn(&["pause", "demo"]), @r"
    ------- stderr -------
    cluster `demo` is paused: its nodes keep running, and nothing is changed until `capn resume demo`
    [exit: Done]
    ");
    let file = home.path().join("file.yaml");
    for (arguments, told) in [
        (
            &["apply", "-f", file.to_str().unwrap()][..],
            "cluster `demo` is paused, so nothing is made",
        ),
        (&["delete", "cluster", "demo"], "it is paused, so it is not deleted"),
    ] {
        let ran = home.capn(arguments);
        assert_eq!(ran.exit, Exit::Failed, "{ran}");
        assert!(ran.err.contains(told), "{ran}");
        assert!(ran.err.contains("`capn resume demo`"), "{ran}");
    }
    let absent = home.capn(&["pause", "other"]);
    assert!(absent.err.contains("there is no cluster `other`"), "{absent}");
}

#[test]
fn a_name_without_its_kind_is_understood() {
    let home = Home::new();
    assert_eq!(apply(&home, &manifests(&home, "demo")).exit, Exit::Done);
    assert_snapshot!(home.capn(&["delete", "demo"]), @r"
    ------- stderr -------
    Error: `demo` is a cluster, and its kind is missing
    Hint: did you mean `capn delete cluster demo`?
    [exit: Usage]
    ");
    let described = home.capn(&["describe", "demo"]);
    assert_eq!(described.exit, Exit::Done, "{described}");
    assert!(described.out.contains("Cluster/demo"), "{described}");
    assert_snapshot!(home.capn(&["describe", "dem"]), @r"
    ------- stderr -------
    Error: `dem` is no kind that `capn describe` knows, and there is no cluster of that name
    Hint: `capn describe --help` lists the kinds, `capn get clusters` the clusters
    [exit: Usage]
    ");
}

#[test]
fn machines_that_are_not_there_are_named_as_such() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["exec", "a", "--", "true"]), @r"
    ------- stderr -------
    Error: there is no machine `a`
    Hint: there are no machines
    [exit: Failed]
    ");
    assert_snapshot!(home.capn(&["logs", "a"]), @r"
    ------- stderr -------
    Error: there is no machine `a`
    Hint: there are no machines
    Hint: or name a cluster: `capn get clusters` lists them
    [exit: Failed]
    ");
    for command in ["stop", "start"] {
        let ran = home.capn(&[command, "demo"]);
        assert_eq!(ran.exit, Exit::Failed, "{ran}");
        assert!(ran.err.contains("there is no cluster `demo`"), "{ran}");
    }
}
