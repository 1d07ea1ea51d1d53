//! `generate cluster` from templates.

use capn::Exit;

use crate::{Home, Ran};

const VARIABLES: [(&str, &str); 2] =
    [("KUBERNETES_VERSION", "v1.36.2"), ("LXC_SECRET_NAME", "lxc-secret")];

fn generate(environment: &[(&str, &str)], options: &[&str]) -> Ran {
    Home::new().capn_in(environment, &[&["generate", "cluster", "demo"], options].concat())
}

#[test]
fn variables_come_from_the_environment_and_options() {
    let options = ["--flavor", "development", "--workers", "3", "--variable", "PRIVILEGED=false"];
    let ran = generate(&VARIABLES, &[&options[..], &["-n", "apart"]].concat());
    assert_eq!(ran.exit, Exit::Done, "{ran}");
    assert!(ran.out.contains("  isolation: shared\n"), "{ran}");
    assert!(ran.out.contains("  replicas: 3\n"), "{ran}");
    assert_eq!(ran.out.matches("  namespace: apart\n").count(), 7, "{ran}");
    assert_eq!(ran.err, "");
    // As clusterctl calls them, and the same.
    let clusterctl = [
        "--flavor",
        "development",
        "--worker-machine-count",
        "3",
        "--kubernetes-version",
        "1.36.2",
    ];
    let environment = [VARIABLES[1], ("PRIVILEGED", "false")];
    let again = generate(&environment, &[&clusterctl[..], &["-n", "apart"]].concat());
    assert_eq!(ran.out, again.out);
}

#[test]
fn what_is_missing_or_wrong_is_named_and_nothing_is_printed() {
    insta::assert_snapshot!(generate(&[], &["--flavor", "development"]), @r"
    ------- stderr -------
    ");
    let wrong = [
        VARIABLES[0],
        VARIABLES[1],
        ("CONTROL_PLANE_MACHINE_COUNT", "two"),
        ("PRIVILEGED", "maybe"),
    ];
    insta::assert_snapshot!(generate(&wrong, &["--flavor", "development"]), @r"
    ------- stderr -------
    ");
}

#[test]
fn variables_are_listed_with_what_they_are() {
    insta::assert_snapshot!(generate(&[], &["--flavor", "ovn", "--list-variables"]), @r"
    ------- stderr -------
    ");
    let ran = generate(&[], &["--flavor", "ovn", "--list-variables", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let first = serde_json::json!({
        "name": "CLUSTER_NAME", "required": false, "default": "demo", "kind": "text",
        "description": "Name of the cluster, and the beginning of every other name.",
    });
    assert_eq!(list[0], first);
}

#[test]
fn a_template_of_your_own_is_read_from_a_file() {
    let home = Home::new();
    let file = home.path().join("template.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${CLUSTER_NAME}\"}\n\
                data: {a: \"${COLOR:=red}\", b: \"${NAMESPACE}\", c: \"$${COLOR}\"}\n";
    std::fs::write(&file, text).unwrap();
    let options = ["generate", "cluster", "demo", "--from", file.to_str().unwrap()];
    let ran = home.capn_in(&[("COLOR", "blue")], &options);
    insta::assert_snapshot!(ran, @r"
    ------- stderr -------
    ");
    // The configuration file of clusterctl counts where it is by default.
    let config = home.path().join(".config/cluster-api");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("clusterctl.yaml"), "COLOR: green\n").unwrap();
    assert!(home.capn(&options).out.contains("a: green\n"));
    std::fs::write(&file, "a\nb ${COLOR-red}\n").unwrap();
    insta::assert_snapshot!(home.capn(&options), @r"
    ------- stderr -------
    ");
}

#[test]
fn options_that_would_change_nothing_are_refused() {
    for (options, says) in [
        (&["--flavor", "ovn", "--isolation", "shared"][..], "a template takes only"),
        (&["--list-variables"][..], "need a template"),
        (&["--variable", "A=b"][..], "need a template"),
        (&["--flavor", "ovn", "--from", "x"][..], "cannot be used with"),
        (&["--flavor", "unheard"][..], "development"),
    ] {
        let ran = generate(&VARIABLES, options);
        assert_eq!(ran.exit, Exit::Usage, "{ran}");
        assert!(ran.err.contains(says), "{ran}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_topology_comes_with_its_class_and_a_note() {
    let balancer = ("LOAD_BALANCER", "lxc: {}");
    let ran =
        generate(&[VARIABLES[0], VARIABLES[1], balancer], &["--flavor", "default", "-o", "name"]);
    insta::assert_snapshot!(ran, @r"
    ------- stderr -------
    ");
}
