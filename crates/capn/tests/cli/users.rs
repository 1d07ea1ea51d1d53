//! Users of the plane: bindings and kubeconfigs.

use std::os::unix::fs::PermissionsExt as _;

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

#[test]
fn a_user_is_created_listed_and_deleted() {
    let home = Home::new();
    let file = home.path().join("jane.kubeconfig");
    let create = |name: &str, namespace: &str, role: &str, more: &[&str]| {
        let arguments = ["user", "create", name, "-n", namespace, "--role", role];
        home.capn(&[&arguments[..], more].concat())
    };
    let ran = create("jane", "team-a", "edit", &["-o", file.to_str().unwrap(), "--expires", "90d"]);
    assert_eq!((ran.exit, ran.out.as_str()), (Exit::Done, ""), "{ran}");
    assert!(
        ran.err.starts_with("user `jane` has ClusterRole `capn-edit` in namespace `team-a` until "),
        "{ran}"
    );
    assert!(ran.err.contains("; the kubeconfig is in $HOME/jane.kubeconfig"), "{ran}");
    assert!(ran.err.contains("the plane is not being served"), "{ran}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    let config: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(config["contexts"][0]["context"]["namespace"], "team-a");
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:16443");

    // Again, with another role; and to stdout, which only gets the kubeconfig.
    let ran = create("jane", "team-a", "admin", &["--server", "https://plane.example:6443"]);
    let config: serde_json::Value = serde_saphyr::from_str(&ran.out).unwrap();
    assert_eq!(config["clusters"][0]["cluster"]["server"], "https://plane.example:6443");
    assert!(!ran.err.contains("PRIVATE KEY") && !ran.err.contains("not being served"), "{ran}");
    assert_eq!(create("joe", "team-b", "cluster-admin", &[]).exit, Exit::Done);

    let ran = home.capn(&["user", "list", "-o", "name"]);
    assert_eq!(ran.out, "jane\njoe\n", "{ran}");
    let ran = home.capn(&["user", "list", "-n", "team-b"]);
    assert!(ran.out.contains("joe   team-b     cluster-admin"), "{ran}");
    assert_snapshot!(home.capn(&["user", "delete", "jane"]), @r"
    ------- stderr -------
    user `jane` no longer has the role `capn-admin` in namespace `team-a`
    user `jane` no longer has the role `capn-edit` in namespace `team-a`
    · the certificate stays valid until it expires, but only allows API discovery. A new user with the same name would share their roles with it
    [exit: Done]
    ");
    assert_eq!(home.capn(&["user", "list", "-o", "name"]).out, "joe\n");
    assert_eq!(home.capn(&["user", "delete", "jane"]).exit, Exit::Done);
}

#[test]
fn missing_users_and_invalid_names_are_refused() {
    let home = Home::new();
    let ran = home.capn(&["user", "create", "jane", "-n", "team-a", "--role", "owner"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: role `owner` does not exist: no Role in namespace `team-a` and no ClusterRole has that name
    Hint: built-in roles are `view`, `edit` and `admin`, for example `--role edit`
    [exit: Failed]
    ");
    for name in ["system:masters", "a/b"] {
        let ran = home.capn(&["user", "create", name, "-n", "team-a", "--role", "edit"]);
        assert_eq!(ran.exit, Exit::Usage, "{ran}");
    }
    let ran = home.capn(&["user", "create", "jane", "-n", "A_B", "--role", "edit"]);
    assert_eq!(ran.exit, Exit::Failed, "{ran}");
    let ran = home.capn(&["user", "list"]);
    assert_eq!(
        ran.err,
        "no users yet; create one: `capn user create NAME --namespace NAMESPACE --role edit`\n"
    );
}
