//! Files to options, and back.

use clap::Parser as _;
use serde_json::{Value, json};

use super::read::parse;
use super::*;
use crate::cli::{Cli, Command};
use crate::commands::cluster_args::ClusterArgs;
use crate::exit::Exit;
use crate::identity::testing::local;
use crate::manifest::{Pool, Secrets, documents};

/// The options of `capn up`.
fn options(flags: &[&str]) -> ClusterArgs {
    let line = ["capn", "up", "demo"].iter().chain(flags);
    match Cli::try_parse_from(line).unwrap().command {
        Command::Up(args) => args.cluster,
        other => panic!("{other:?}"),
    }
}

fn file(text: &str) -> String {
    format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{text}")
}

fn read_args(text: &str) -> ClusterArgs {
    parse(text).unwrap().into_args().unwrap()
}

const EVERYTHING: &[&str] = &[
    "--kubernetes-version=v1.36.0",
    "--control-planes=3",
    "--workers=2",
    "--isolation=isolated",
    "--bootstrap=kubeadm",
    "--bootstrap-data=/data",
    "--namespace=lab",
    "--network=br0",
    "--cni=flannel",
    "--kube-proxy-mode=nftables",
    "--pod-cidr=10.1.0.0/16",
    "--service-cidr=10.2.0.0/16",
    "--load-balancer=oci",
    "--load-balancer-network=ovn0",
    "--load-balancer-interface=eth1",
    "--load-balancer-range=10.0.0.96/28",
    "--load-balancer-profile=lb",
    "--load-balancer-flavor=c1-m1",
    "--load-balancer-image=mine",
    "--control-plane-endpoint=[fd00::1]:7443",
    "--remote=lab",
    "--project=p",
    "--image=node",
    "--image-server=https://a.example",
    "--kubernetes-binaries=/k",
    "--flavor=c2-m4",
    "--profile=a",
    "--profile=b",
    "--storage-pool=fast",
    "--device=gpu,type=gpu",
    "--config=limits.cpu=2",
    "--max-pods=16",
    "--allow-cgroup-v1",
    "--machine-health-checks=false",
    "--timeouts=slow",
];

#[test]
fn options_and_their_printed_config_file_apply_the_same_objects() {
    for flags in
        [&[][..], &["--workers=3"], &["--install-kubeadm"], &["--runtime-binaries=/r"], EVERYTHING]
    {
        let args = options(flags);
        let text = to_text(&ConfigFile::of("demo", args.clone()).placed()).unwrap();
        let read = read_args(&text);
        assert_eq!(read, args, "{text}");
        let objects = |args: &ClusterArgs| {
            documents(&args.request("demo", None, Some("v1.36.0")), &local(), &Secrets::default())
        };
        assert_eq!(objects(&read), objects(&args));
        // Every option can be expressed in a file.
        assert_eq!(parse(&text).unwrap().metadata.name.as_deref(), Some("demo"));
    }
}

#[test]
fn a_five_line_file_makes_a_cluster_with_two_workers() {
    let text = file("metadata:\n  name: lab\nworkers: 2\n");
    assert_eq!(text.lines().count(), 5);
    let args = read_args(&text);
    assert_eq!(args, ClusterArgs { workers: Some(2), ..ClusterArgs::default() });
}

#[test]
fn pools_and_settings_are_read() {
    let text = file(
        "pools:\n- name: general\n  workers: 2\n- name: gpu\n  flavor: c4-m8\n  labels: {a: b}\n  \
         taints: [\"gpu=true:NoSchedule\"]\nkubelet:\n  serializeImagePulls: false\n\
         registries:\n- host: docker.io\n  mirrors: [http://10.0.0.1:5000]\n\
         files:\n- path: /etc/mine\n  content: |\n    x: 1\n",
    );
    let args = read_args(&text);
    let pools = args.pools.clone().unwrap_or_default();
    assert_eq!(pools[0], Pool::plain("general", 2));
    assert_eq!(pools[1].taints, ["gpu=true:NoSchedule"]);
    assert_eq!(args.settings.files[0].content.as_deref(), Some("x: 1\n"));
    // The printed file can be read again.
    let again = to_text(&ConfigFile::of("demo", args.clone())).unwrap();
    assert_eq!(read_args(&again), args, "{again}");
}

#[test]
fn errors_name_the_path_and_the_allowed_values() {
    for (text, parts) in [
        (file("worker: 2\n"), &["`worker`", "did you mean `workers`?"][..]),
        (
            file("pools:\n- name: a\n  lables: {}\n"),
            &["`pools[0].lables`", "did you mean `labels`?"],
        ),
        (
            file("network: {podCidr: 10.0.0.0/8}\n"),
            &["`network.podCidr`", "did you mean `podCIDR`?"],
        ),
        (file("proxy: {ftp: x}\n"), &["`proxy.ftp`", "http"]),
        (file("registries: [{host: a, mirror: [b]}]\n"), &["`registries[0].mirror`", "`mirrors`"]),
        (file("files: [{path: 1, content: a}]\n"), &["files[0].path", "expected a string"]),
        (file("zzz: 2\n"), &["`zzz`", "known fields: allowCgroupV1"]),
        (file("kubernetesVersion: 1.36\n"), &["kubernetesVersion: invalid type"]),
        (file("pools:\n- workers: 2\n"), &["pools[0]", "`name`"]),
        (file("isolation: none\n"), &["isolation", "`shared`"]),
        (file("controlPlanes: 0\n"), &["controlPlanes: 0 is not between 1 and 99"]),
        (file("machines: {maxPods: 900}\n"), &["machines.maxPods"]),
        (file("workers: 1\npools: []\n"), &["workers: set the number in each"]),
        (file("network: {name: \"a b\"}\n"), &["network.name"]),
        (file("controlPlaneEndpoint: \"a:b\"\n"), &["controlPlaneEndpoint"]),
        (file("kubelet: {maxPods: 3}\n"), &["kubelet.maxPods"]),
        (
            "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n".to_owned(),
            &["not a ClusterConfig", "capn apply"],
        ),
        (format!("kind: {KIND}\napiVersion: capn.cluster.x-k8s.io/v9\n"), &["v9", API_VERSION]),
        ("workers: 2\n".to_owned(), &["apiVersion and kind are missing"]),
        ("a: [".to_owned(), &["it is not YAML"]),
        (format!("{}{}", "[".repeat(200), "]".repeat(200)), &["line 1: "]),
        (" ".repeat(300 << 10), &["longer than 262144 bytes"]),
    ] {
        let error = match parse(&text) {
            Err(error) => error,
            Ok(file) => crate::error::CommandError::usage(file.into_args().unwrap_err()),
        };
        assert_eq!(error.exit(), Exit::Usage, "{text:.200}");
        let said = error.render(|_, text| text.to_owned());
        for part in parts {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
}

#[test]
fn a_printed_file_documents_its_fields() {
    let args = options(&["--workers=2", "--flavor=c2-m4"]);
    let text = to_text(&ConfigFile::of("demo", args)).unwrap();
    let expected = "\
# yaml-language-server: $schema=https://raw.githubusercontent.com/capn-rs/capn/main/docs/config.schema.json
# Unset fields have their defaults. `capn generate config --schema` has every field.
apiVersion: capn.cluster.x-k8s.io/v1alpha1
kind: ClusterConfig
# Name and namespace of the cluster.
metadata:
  # Name of the cluster [default: demo].
  name: demo
# Number of worker machines, if the cluster has a single worker pool [default: 1].
workers: 2
# Common settings of all machines; pools can override them.
machines:
  # Size, for example c2-m4 for 2 CPUs and 4 GiB [default: no limits].
  flavor: c2-m4
";
    assert_eq!(text, expected);
}

#[test]
fn relative_paths_resolve_against_the_config_file_and_sources_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let dir = camino::Utf8Path::from_path(dir.path()).unwrap();
    std::fs::write(dir.join("mine"), "hello\n").unwrap();
    let path = dir.join("cluster.yaml");
    let text =
        file("images: {kubernetesBinaries: bin}\nfiles: [{path: /etc/mine, source: mine}]\n");
    std::fs::write(&path, text).unwrap();
    let read = read(&path).unwrap();
    assert_eq!(read.images.kubernetes_binaries, Some(dir.join("bin")));
    assert_eq!(read.settings.files[0].content.as_deref(), Some("hello\n"));
    assert_eq!(read.settings.files[0].source, None);
    std::fs::write(dir.join("mine"), "x".repeat(20 << 10)).unwrap();
    assert!(super::read(&path).is_err());
}

#[test]
fn every_schema_object_is_closed_and_described() {
    let rows = fields();
    for [path, kind, said] in &rows {
        assert!(!said.is_empty() && !kind.is_empty(), "{path}");
        assert_ne!(kind, "any", "{path}");
    }
    let has = |path: &str, kind: &str| rows.iter().any(|row| row[0] == path && row[1] == kind);
    assert!(has("pools[].taints", "list of string"), "{rows:?}");
    assert!(has("isolation", "shared, isolated, privileged"), "{rows:?}");
    assert!(has("proxy.noProxy", "list of string"), "{rows:?}");
    assert!(has("kubelet", "map"), "{rows:?}");
    assert_eq!(schema()["additionalProperties"], json!(false));
    assert_ne!(schema()["$schema"], Value::Null);
}
