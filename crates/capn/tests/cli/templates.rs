//! `generate cluster` with templates.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;

use capn::Exit;

use crate::{CommandOutput, Home};

const VARIABLES: [(&str, &str); 2] =
    [("KUBERNETES_VERSION", "v1.36.2"), ("LXC_SECRET_NAME", "lxc-secret")];

fn generate(environment: &[(&str, &str)], options: &[&str]) -> CommandOutput {
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
    // By their aliases.
    let clusterctl =
        ["-f", "development", "--worker-machine-count", "3", "--kubernetes-version", "1.36.2"];
    let environment = [VARIABLES[1], ("PRIVILEGED", "false")];
    let again = generate(&environment, &[&clusterctl[..], &["-n", "apart"]].concat());
    assert_eq!(ran.out, again.out);
}

#[test]
fn a_flavor_with_a_number_sets_the_machine_size() {
    let options = ["--flavor", "c2-m4", "--remote", "unix:///s", "--kubernetes-version", "1.36.2"];
    let ran = generate(&[], &options);
    assert!(ran.out.contains("      flavor: c2-m4\n"), "{ran}");
    assert!(ran.out.contains("capn.cluster.x-k8s.io/request"), "{ran}");
}

#[test]
fn missing_or_invalid_variables_are_named_and_nothing_is_printed() {
    insta::assert_snapshot!(generate(&[], &["--flavor", "development"]), @r"
    ------- stderr -------
    Error: cannot render the template of flavor development
    Caused by: these variables are not set: KUBERNETES_VERSION (Kubernetes version of all machines), LXC_SECRET_NAME (Secret, in the namespace of the cluster, that says how the server is reached)
    Hint: set variables in the environment, with --variable NAME=VALUE or in --config-file
    [exit: Usage]
    ");
    let wrong = [
        VARIABLES[0],
        VARIABLES[1],
        ("CONTROL_PLANE_MACHINE_COUNT", "two"),
        ("PRIVILEGED", "maybe"),
    ];
    insta::assert_snapshot!(generate(&wrong, &["--flavor", "development"]), @r"
    ------- stderr -------
    Error: cannot render the template of flavor development
    Caused by: CONTROL_PLANE_MACHINE_COUNT is `two`, which is not a whole number such as 3; PRIVILEGED is `maybe`, which is not true or false
    Hint: run the same command with --list-variables to list them
    [exit: Usage]
    ");
}

#[test]
fn variables_are_listed_with_descriptions() {
    insta::assert_snapshot!(generate(&[], &["--flavor", "ovn", "--list-variables"]), @r#"
    Required Variables:
      NAME                       KIND     DESCRIPTION
      KUBERNETES_VERSION         version  Kubernetes version of all machines.
      LXC_LOAD_BALANCER_ADDRESS  text     A free address that the OVN network can listen on.
      LXC_LOAD_BALANCER_NETWORK  text     Name of the OVN network.
      LXC_SECRET_NAME            text     Secret, in the namespace of the cluster, that says how the server is reached.

    Optional Variables:
      NAME                            KIND                                DEFAULT          DESCRIPTION
      CLUSTER_NAME                    text                                demo             Name of the cluster, and the beginning of every other name.
      CNI                             none | bridge | flannel             none             Pod network: bridge is the one that capn keeps itself, flannel runs with vxlan from an image of the nodes, none is left to you.
      CONTROL_PLANE_MACHINE_CONFIG    entries                             -                Instance config of control plane machines, as limits.cpu.priority: "5", boot.autostart: "true".
      CONTROL_PLANE_MACHINE_COUNT     count                               1                Number of control plane machines; an odd one.
      CONTROL_PLANE_MACHINE_DEVICES   list                                []               Devices of control plane machines, each "name,key=value".
      CONTROL_PLANE_MACHINE_FLAVOR    text                                c2-m4            Size of control plane machines, as c2-m4 for 2 cores and 4 GiB.
      CONTROL_PLANE_MACHINE_PROFILES  list                                [default]        Profiles of control plane machines.
      CONTROL_PLANE_MACHINE_TARGET    text                                -                Cluster member, or @group, that control plane machines are placed on.
      CONTROL_PLANE_MACHINE_TYPE      container | virtual-machine | kind  container        What control plane machines are.
      ISOLATION                       shared | isolated | privileged      *${PRIVILEGED}   How nodes are kept apart from the host and each other; decides instead of PRIVILEGED.
      LXC_IMAGE_NAME                  text                                ""               Image of the machines: an alias of the server, or with a prefix as in ubuntu:24.04. Without one: the image of the Kubernetes version.
      POD_CIDR                        list                                [10.244.0.0/16]  Addresses of pods.
      PRIVILEGED                      boolean                             true             Whether nodes are privileged containers, whose root is root of the host.
      SERVICE_CIDR                    list                                [10.96.0.0/12]   Addresses of services.
      WORKER_MACHINE_CONFIG           entries                             -                Instance config of worker machines, as limits.cpu.priority: "5", boot.autostart: "true".
      WORKER_MACHINE_COUNT            count                               1                Number of worker machines.
      WORKER_MACHINE_DEVICES          list                                []               Devices of worker machines, each "name,key=value".
      WORKER_MACHINE_FLAVOR           text                                c2-m4            Size of worker machines, as c2-m4 for 2 cores and 4 GiB.
      WORKER_MACHINE_PROFILES         list                                [default]        Profiles of worker machines.
      WORKER_MACHINE_TARGET           text                                -                Cluster member, or @group, that worker machines are placed on.
      WORKER_MACHINE_TYPE             container | virtual-machine | kind  container        What worker machines are.
    ------- stderr -------
    [exit: Done]
    "#);
    let ran = generate(&[], &["--flavor", "ovn", "--list-variables", "-o", "json"]);
    let list: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let first = serde_json::json!({
        "name": "CLUSTER_NAME", "required": false, "default": "demo", "kind": "text",
        "description": "Name of the cluster, and the beginning of every other name.",
    });
    assert_eq!(list[0], first);
}

#[test]
fn a_custom_template_is_read_from_a_file() {
    let home = Home::new();
    let file = home.path().join("template.yaml");
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${CLUSTER_NAME}\"}\n\
                data: {a: \"${COLOR:=red}\", b: \"${NAMESPACE}\", c: \"$${COLOR}\"}\n";
    std::fs::write(&file, text).unwrap();
    let options = ["generate", "cluster", "demo", "--from", file.to_str().unwrap()];
    let ran = home.capn_in(&[("COLOR", "blue")], &options);
    insta::assert_snapshot!(ran, @r"
    ---
    apiVersion: v1
    data:
      a: blue
      b: default
      c: ${COLOR}
    kind: ConfigMap
    metadata:
      name: demo
      namespace: default
    ------- stderr -------
    [exit: Done]
    ");
    // The configuration file of clusterctl is read from its default path.
    let config = home.path().join(".config/cluster-api");
    std::fs::create_dir_all(&config).unwrap();
    std::fs::write(config.join("clusterctl.yaml"), "COLOR: green\n").unwrap();
    assert!(home.capn(&options).out.contains("a: green\n"));
    std::fs::write(&file, "a\nb ${COLOR-red}\n").unwrap();
    insta::assert_snapshot!(home.capn(&options), @r"
    ------- stderr -------
    Error: cannot read $HOME/template.yaml
    Caused by: line 2: `${COLOR-red}`: only the operators := = and :- are supported for unset variables. Write $$ for a literal dollar sign
    [exit: Failed]
    ");
}

#[test]
fn a_custom_template_is_read_from_a_url() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/folder/template.yaml?a=b", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        BufReader::new(&stream).read_line(&mut request).unwrap();
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"${CLUSTER_NAME}\"}\n";
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).unwrap();
        request
    });
    let ran = generate(&[], &["--from", &url, "-o", "name"]);
    assert_eq!(ran.out, "configmap/demo\n", "{ran}");
    assert_eq!(server.join().unwrap(), "GET /folder/template.yaml?a=b HTTP/1.1\r\n");
    let ran = generate(&[], &["--from", &url]);
    assert!(ran.err.starts_with(&format!("Error: cannot read the template {url}\n")), "{ran}");
}

#[test]
fn options_without_effect_are_refused() {
    for (options, says) in [
        (&["--flavor", "ovn", "--isolation", "shared"][..], "a template only supports"),
        (&["--list-variables"][..], "need a template"),
        (&["--variable", "A=b"][..], "need a template"),
        (&["--flavor", "ovn", "--from", "x"][..], "cannot be used with"),
        (&["--flavor", "unheard"][..], "`unheard` is neither a template nor a machine size"),
        (&["--template", "unheard"][..], "possible values: default,"),
        (&["--template", "ovn", "--flavor", "ubuntu"][..], "cannot be used with"),
        (&["--template", "ovn", "--flavor", "c2-m4"][..], "a template only supports"),
    ] {
        let ran = generate(&VARIABLES, options);
        assert_eq!(ran.exit, Exit::Usage, "{ran}");
        assert!(ran.err.contains(says), "{ran}");
        assert_eq!(ran.out, "");
    }
}

#[test]
fn a_topology_prints_its_class_and_a_note() {
    let balancer = ("LOAD_BALANCER", "lxc: {}");
    let ran =
        generate(&[VARIABLES[0], VARIABLES[1], balancer], &["--flavor", "default", "-o", "name"]);
    insta::assert_snapshot!(ran, @r"
    clusterclass.cluster.x-k8s.io/capn-default
    lxcclustertemplate.infrastructure.cluster.x-k8s.io/capn-default-lxc-cluster
    lxcmachinetemplate.infrastructure.cluster.x-k8s.io/capn-default-control-plane
    lxcmachinetemplate.infrastructure.cluster.x-k8s.io/capn-default-default-worker
    kubeadmcontrolplanetemplate.controlplane.cluster.x-k8s.io/capn-default-control-plane
    kubeadmconfigtemplate.bootstrap.cluster.x-k8s.io/capn-default-default-worker
    cluster.cluster.x-k8s.io/demo
    clusterresourceset.addons.cluster.x-k8s.io/demo-kube-flannel
    configmap/demo-kube-flannel
    ------- stderr -------
    · a cluster with a topology needs a management cluster with Cluster API and the feature gate ClusterTopology
    [exit: Done]
    ");
}
