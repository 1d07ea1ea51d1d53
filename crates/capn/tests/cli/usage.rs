//! Wrong usage: exit code 2, nothing done, and what would do.

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

#[test]
fn a_name_that_cannot_be_one_is_refused_with_one_that_can() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["up", "My_Lab"]), @r"
    ------- stderr -------
    Error: `My_Lab` cannot be the name of a cluster: `M` is not a lowercase letter, digit or `-`
    Hint: `my-lab` would do
    [exit: Usage]
    ");
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is made");
}

#[test]
fn a_name_that_is_too_long_says_how_long_it_may_be() {
    let name = "a".repeat(60);
    assert_snapshot!(Home::new().capn(&["up", &name]), @r"
    ------- stderr -------
    Error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` cannot be the name of a cluster: it has 60 characters; with 43 the names of its instances fit into 63
    Hint: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` would do
    [exit: Usage]
    ");
}

#[test]
fn what_is_not_a_version_is_refused() {
    let ran = Home::new().capn(&["generate", "cluster", "a", "--kubernetes-version", "latest"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: `latest` is not a Kubernetes version; write it like v1.36.0
    Hint: releases are listed at https://kubernetes.io/releases/; `capn image list` shows those with an image here
    [exit: Usage]
    ");
}

#[test]
fn an_external_load_balancer_needs_an_endpoint() {
    let ran = Home::new().capn(&["generate", "cluster", "a", "--load-balancer", "external"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: `--load-balancer external` needs `--control-plane-endpoint HOST[:PORT]`
    [exit: Usage]
    ");
}

#[test]
fn unknown_options_and_values_are_wrong_usage() {
    let cases: &[&[&str]] = &[
        &["up", "--colour"],
        &["up", "--isolation", "none"],
        &["up", "--wait", "soon"],
        &["up", "--workers", "-1"],
        &["create", "cluster"],
        &["get", "nodes"],
        &["nonsense"],
        &[],
    ];
    for arguments in cases {
        let ran = Home::new().capn(arguments);
        assert_eq!(ran.exit, Exit::Usage, "{arguments:?}: {ran}");
        assert_eq!(ran.out, "", "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_data() {
    for arguments in [&["--help"][..], &["--version"], &["up", "--help"], &["version"]] {
        let ran = Home::new().capn(arguments);
        assert_eq!(ran.exit, Exit::Done, "{arguments:?}");
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?}: {ran}");
    }
}

#[test]
fn completion_scripts_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Home::new().capn(&["completion", shell]);
        assert!(ran.out.contains("kubeconfig"), "{shell}");
    }
}
