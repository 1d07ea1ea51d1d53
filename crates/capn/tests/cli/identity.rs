//! `capn identity` without a server: what is refused, and the hints.

use insta::assert_snapshot;

use crate::Home;

/// A remote with an address and an image server remote, without certificates for the former.
fn with_remote(home: &Home) {
    let dir = home.path().join(".config/incus");
    std::fs::create_dir_all(&dir).unwrap();
    let config = "remotes:\n  lab:\n    addr: https://192.0.2.1:8443\n    protocol: incus\n";
    std::fs::write(dir.join("config.yml"), config).unwrap();
    std::fs::write(dir.join("client.crt"), "CRT").unwrap();
    std::fs::write(dir.join("client.key"), "KEY").unwrap();
}

#[test]
fn a_socket_that_a_pod_cannot_reach_is_refused() {
    let home = Home::new();
    with_remote(&home);
    assert_snapshot!(home.capn(&["identity", "create", "a", "--remote", "unix:///nowhere"]), @r"
    ------- stderr -------
    Error: cannot create identity `a`
    Caused by: the identity would name unix:///nowhere, which a manager in a pod cannot reach
    Hint: use a remote with an address: `--remote lab`
    Hint: make the server listen (`incus config set core.https_address ADDRESS:8443`), then create an identity for a dedicated project: `capn identity create a --restricted --project PROJECT`
    Hint: or an unrestricted one: `capn identity create a --token TOKEN`, with the token that `incus config trust add a` prints
    Hint: use `--allow-unix-socket` if the socket is mounted into the manager's pod, or if the Secret is for the embedded plane
    [exit: Failed]
    ");
    assert!(!home.path().join(".local").exists(), "nothing is created");
}

#[test]
fn an_allowed_socket_must_belong_to_a_server() {
    let home = Home::new();
    let ran = home.capn(&[
        "identity",
        "create",
        "a",
        "--remote",
        "unix:///nowhere",
        "--allow-unix-socket",
    ]);
    assert!(ran.err.contains("cannot reach the server at unix:///nowhere"), "{ran}");
    assert_eq!(ran.out, "", "no Secret of a server that does not answer");
}

#[test]
fn conflicting_options_are_a_usage_error() {
    let home = Home::new();
    for arguments in [
        &["identity", "create", "A_b"][..],
        &["identity", "create", "a", "--restricted"],
        &["identity", "create", "a", "--restricted", "--project", "default"],
        &["identity", "create", "a", "--instances", "3"],
        &["identity", "create", "a", "--listen", "127.0.0.1"],
        &["identity", "create", "a", "--token", "x"],
        &["identity", "create", "a", "--token", "x", "--restricted", "--project", "p"],
        &["identity", "create", "a", "--kubeconfig", "k"],
        &["identity", "create", "a", "--restricted", "--project", "p", "--memory", "4G"],
        &["identity", "delete", "a/b"],
    ] {
        let ran = home.capn(arguments);
        assert_eq!(ran.exit, capn::Exit::Usage, "{arguments:?}: {ran}");
    }
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is created");
}

#[test]
fn deleting_a_missing_identity_succeeds() {
    assert_snapshot!(Home::new().capn(&["identity", "delete", "a"]), @r"
    ------- stderr -------
    identity `a` does not exist: nothing to delete
    [exit: Done]
    ");
}

#[test]
fn an_even_control_plane_count_is_refused_before_any_lookup() {
    assert_snapshot!(Home::new().capn(&["scale", "a", "--control-planes", "2"]), @r"
    ------- stderr -------
    Error: 2 control planes are requested, but the number must be odd: each runs an etcd member, and etcd needs a majority
    Hint: use 1 or 3 for `--control-planes`; any number of workers is possible
    [exit: Usage]
    ");
}
