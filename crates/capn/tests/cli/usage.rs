//! Usage errors: exit code 2, nothing done, and a hint.

use capn::Exit;
use insta::assert_snapshot;

use crate::Home;

#[test]
fn an_invalid_name_is_refused_with_a_valid_suggestion() {
    let home = Home::new();
    assert_snapshot!(home.capn(&["up", "My_Lab"]), @r"
    ------- stderr -------
    Error: `My_Lab` is not a valid cluster name: `M` is not a lowercase letter, digit or `-`
    Hint: try `my-lab`
    [exit: Usage]
    ");
    assert_eq!(home.path().read_dir().unwrap().count(), 0, "nothing is created");
}

#[test]
fn a_long_name_error_states_the_limit() {
    let name = "a".repeat(60);
    assert_snapshot!(Home::new().capn(&["up", &name]), @r"
    ------- stderr -------
    Error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is not a valid cluster name: it has 60 characters; the limit is 43, since instance names are limited to 63
    Hint: try `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa`
    [exit: Usage]
    ");
}

#[test]
fn an_invalid_version_is_refused() {
    let ran = Home::new().capn(&["generate", "cluster", "a", "--kubernetes-version", "latest"]);
    assert_snapshot!(ran, @r"
    ------- stderr -------
    Error: `latest` is not a Kubernetes version (expected a version such as v1.36.0)
    Hint: releases are listed at https://kubernetes.io/releases/; `capn image list` shows versions with an image on this server
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
fn unknown_options_and_values_are_usage_errors() {
    let cases: &[&[&str]] = &[
        &["up", "--colour"],
        &["up", "--isolation", "none"],
        &["up", "--wait", "soon"],
        &["up", "--workers", "-1"],
        &["create", "cluster"],
        &["get", "pods"],
        &["get", "nodes", "-w"],
        &["get", "machines", "-A", "-n", "default"],
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
fn help_and_version_go_to_stdout() {
    for arguments in [&["--help"][..], &["--version"], &["up", "--help"], &["version"]] {
        let ran = Home::new().capn(arguments);
        assert_eq!(ran.exit, Exit::Done, "{arguments:?}");
        assert!(!ran.out.is_empty() && ran.err.is_empty(), "{arguments:?}: {ran}");
    }
}

#[test]
fn completion_scripts_call_capn() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Home::new().capn(&["completion", shell]);
        assert!(ran.out.contains("COMPLETE"), "{shell}: {ran}");
    }
    // Called like the script does. The fish script omits the position, which the others pass in
    // variables.
    let asked = Home::new().capn_in(&[("COMPLETE", "fish")], &["--", "capn", "kubec"]);
    assert_eq!(asked.exit, Exit::Done, "{asked}");
    assert!(asked.out.starts_with("kubeconfig"), "{asked}");
}

#[test]
fn each_command_has_a_manual_page() {
    let home = Home::new();
    let dir = home.path().join("man1");
    let ran = home.capn(&["generate", "man", dir.to_str().unwrap()]);
    assert_eq!(ran.exit, capn::Exit::Done, "{ran}");
    let page = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap();
    assert!(page("capn.1").contains("capn\\-up(1)"), "{}", page("capn.1"));
    let page = page("capn-etcd-snapshot-save.1");
    assert!(page.contains("capn etcd snapshot save"), "{page}");
    assert!(!dir.join("capn-help.1").exists());
}

#[test]
fn each_command_shows_an_example() {
    use clap::CommandFactory as _;

    fn without(command: &clap::Command, path: &str, found: &mut Vec<String>) {
        let mut children = command.get_subcommands().peekable();
        if children.peek().is_none() {
            let help = [command.get_after_help(), command.get_after_long_help()];
            if !help.into_iter().flatten().any(|help| help.to_string().contains("Example")) {
                found.push(path.to_owned());
            }
        }
        for child in children {
            without(child, &format!("{path} {}", child.get_name()), found);
        }
    }
    let mut found = Vec::new();
    without(&capn::cli::Cli::command(), "capn", &mut found);
    assert_eq!(found, Vec::<String>::new());
}
