//! `capn identity` where no server is asked: what is refused, and what to do.

use insta::assert_snapshot;

use crate::Home;

/// A remote with an address and one for images, without certificates for the first.
fn with_remote(home: &Home) {
    let folder = home.path().join(".config/incus");
    std::fs::create_dir_all(&folder).unwrap();
    let config = "remotes:\n  lab:\n    addr: https://192.0.2.1:8443\n    protocol: incus\n";
    std::fs::write(folder.join("config.yml"), config).unwrap();
    std::fs::write(folder.join("client.crt"), "CRT").unwrap();
    std::fs::write(folder.join("client.key"), "KEY").unwrap();
}

#[test]
fn a_socket_is_refused_where_a_pod_could_not_reach_it() {
    let home = Home::new();
    with_remote(&home);
    assert_snapshot!(home.capn(&["identity", "create", "a", "--remote", "unix:///nowhere"]), @r"
    ------- stderr -------
    Error: cannot make identity `a`
    Caused by: the identity would name unix:///nowhere, which a manager in a pod cannot reach
    Hint: use a remote with an address: `--remote lab`
    Hint: let the server listen (`incus config set core.https_address ADDRESS:8443`), and make an identity for a project of its own: `capn identity create a --restricted --project PROJECT`
    Hint: or one with all rights: `capn identity create a --token TOKEN`, with the token that `incus config trust add a` prints
    Hint: if the socket is mounted into the manager's pod, or the Secret is for the embedded plane: `--allow-unix-socket`
    [exit: Failed]
    ");
    assert!(!home.path().join(".local").exists(), "nothing is made");
}

#[test]
fn a_socket_that_is_allowed_has_to_be_that_of_a_server() {
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
fn options_that_do_not_go_together_are_wrong_usage() {
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
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is made");
}

#[test]
fn deleting_an_identity_that_is_not_there_is_no_failure() {
    assert_snapshot!(Home::new().capn(&["identity", "delete", "a"]), @r"
    ------- stderr -------
    there is no identity `a`: nothing to delete
    [exit: Done]
    ");
}

#[test]
fn an_even_number_of_control_planes_is_refused_before_anything_is_looked_up() {
    assert_snapshot!(Home::new().capn(&["scale", "a", "--control-planes", "2"]), @r"
    ------- stderr -------
    Error: 2 control planes are asked for, but their number has to be odd: each runs a member of etcd, and more than half of the members have to agree
    Hint: use `--control-planes` with 1 or 3; workers can be as many as you like
    [exit: Usage]
    ");
}
