//! Deleting clusters whose server is gone.

use capn::Exit;

use crate::Home;

#[test]
fn force_deletes_a_cluster_whose_server_is_gone() {
    let home = Home::new();
    let socket = format!("unix://{}/socket", home.path().display());
    let arguments = [
        "generate",
        "cluster",
        "demo",
        "--kubernetes-version",
        "v1.31.5",
        "--remote",
        &socket,
        "--project",
        "lab",
    ];
    let text = home.capn(&arguments).out.replace("$HOME", home.path().to_str().unwrap());
    let file = home.path().join("file.yaml");
    // State after the controllers have reconciled it: it waits for the server.
    let head = "kind: LXCCluster\nmetadata:\n";
    assert!(text.contains(head), "{text}");
    let finalizer = "  finalizers: [lxccluster.infrastructure.cluster.x-k8s.io]\n";
    std::fs::write(&file, text.replace(head, &format!("{head}{finalizer}"))).unwrap();
    let applied = home.capn(&["apply", "--wait", "0", "-f", file.to_str().unwrap()]);
    assert_eq!(applied.exit, Exit::Done, "{applied}");

    let late = home.capn(&["delete", "cluster", "demo", "--wait", "1s"]);
    assert_eq!(late.exit, Exit::Failed, "{late}");
    assert!(late.err.contains("`capn delete cluster demo --force`"), "{late}");

    let forced = home.capn(&["delete", "cluster", "demo", "--force"]);
    assert_eq!(forced.exit, Exit::Failed, "{forced}");
    assert!(forced.err.contains("cannot reach the server at unix://$HOME/socket"), "{forced}");
    assert!(!forced.err.contains("`demo` is deleted"), "{forced}");
    assert!(forced.err.contains("project `lab` may still have: its load balancer"), "{forced}");
    let command = "`capn delete cluster demo --from-server --project lab`";
    assert!(forced.err.contains(command), "{forced}");
    assert_eq!(home.capn(&["get", "clusters", "-o", "name"]).out, "");

    let again = home.capn(&["delete", "cluster", "demo", "--force"]);
    assert_eq!(again.exit, Exit::Done, "{again}");
}

#[test]
fn options_for_a_lost_cluster_require_from_server() {
    for option in [&["--yes"][..], &["--project", "lab"], &["--from-server", "--force"]] {
        let ran = Home::new().capn(&[&["delete", "cluster", "demo"], option].concat());
        assert_eq!(ran.exit, Exit::Usage, "{ran}");
    }
}
