use capi_api::core::{ApiEndpoint, NodeRef};
use capi_api::{Cluster, KubeadmConfig, Machine, labels};
use serde_json::json;

use super::lock::Lock;
use super::observe::{Inputs, Observed, Pool};
use super::plan::{Plan, WaitingOn, plan};
use super::validate::validate;
use super::{data, discovery, token::Token};
use crate::pki::{PemPair, Purpose};

/// A situation, which a test modifies.
struct Case {
    config: KubeadmConfig,
    seen: Observed,
}

impl Case {
    /// A control plane machine of a cluster with infrastructure.
    fn control_plane() -> Self {
        let mut case = Self::worker();
        let machine = case.seen.machine.as_mut().unwrap();
        machine
            .metadata
            .labels
            .get_or_insert_default()
            .insert(labels::CONTROL_PLANE.into(), String::new());
        case.seen.inputs.certificates = Purpose::GENERATED
            .map(|purpose| {
                let certificate = format!("{purpose:?}\n");
                (purpose, PemPair { certificate, private_key: "key\n".into() })
            })
            .into();
        case
    }

    fn worker() -> Self {
        let config: KubeadmConfig = serde_json::from_value(json!({
            "metadata": { "name": "m", "namespace": "default" },
            "spec": {},
        }))
        .unwrap();
        let machine: Machine = serde_json::from_value(json!({
            "metadata": { "name": "m", "namespace": "default", "labels": {} },
            "spec": {
                "clusterName": "demo",
                "version": "v1.36.2",
                "bootstrap": {},
                "infrastructureRef": { "apiGroup": "g", "kind": "K", "name": "m" },
            },
        }))
        .unwrap();
        let cluster: Cluster = serde_json::from_value(json!({
            "metadata": { "name": "demo", "namespace": "default" },
            "spec": {
                "controlPlaneEndpoint": { "host": "192.0.2.10", "port": 6443 },
                "controlPlaneRef": { "apiGroup": "g", "kind": "K", "name": "demo" },
                "clusterNetwork": { "pods": { "cidrBlocks": ["10.244.0.0/16"] } },
            },
            "status": { "initialization": { "infrastructureProvisioned": true } },
        }))
        .unwrap();
        let certificates = [(
            Purpose::ClusterCa,
            PemPair { certificate: "ca\n".into(), private_key: String::new() },
        )];
        let inputs = Inputs { certificates: certificates.into(), ..Inputs::default() };
        Self {
            config,
            seen: Observed {
                pool: None,
                machine: Some(machine),
                cluster: Some(cluster),
                data_secret: None,
                inputs,
            },
        }
    }

    fn initialized(mut self) -> Self {
        let status = self.cluster().status.as_mut().unwrap();
        status.initialization.as_mut().unwrap().control_plane_initialized = Some(true);
        self
    }

    fn cluster(&mut self) -> &mut Cluster {
        self.seen.cluster.as_mut().unwrap()
    }

    fn machine(&mut self) -> &mut Machine {
        self.seen.machine.as_mut().unwrap()
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Formats the plan.
    fn plan(&self) -> String {
        let valid = validate(&self.config, &self.seen);
        match plan(&self.config, &self.seen, valid.as_ref()) {
            Plan::Wait(WaitingOn::User(problem)) => format!("user: {problem}"),
            Plan::Wait(on) => format!("wait: {on:?}"),
            Plan::Restore { secret } => format!("restore {secret}"),
            Plan::Keep { token } => format!("keep {token:?}"),
            Plan::Rotate { token } => format!("rotate {token}"),
            Plan::ReleaseLock { .. } => "release lock".into(),
            Plan::MakeCertificates(purposes) => format!("make {}", purposes.len()),
            Plan::Init { lock: true, .. } => "lock".into(),
            Plan::Init { lock: false, .. } => "init".into(),
            Plan::Join { control_plane, release, .. } => {
                format!("join control_plane={control_plane} release={}", release.is_some())
            }
        }
    }
}

fn held(by: &str) -> Lock {
    Lock::Held { by: by.into(), uid: None }
}

fn created(case: &mut Case) {
    case.config.status = Some(
        serde_json::from_value(
            json!({ "dataSecretName": "m", "initialization": { "dataSecretCreated": true } }),
        )
        .unwrap(),
    );
}

fn joins(case: &mut Case) {
    let join = serde_json::from_value(json!({ "controlPlane": {} })).unwrap();
    case.config.spec.join_configuration = Some(join);
}

fn with_token(case: &mut Case) {
    case.config.spec.join_configuration = Some(
        serde_json::from_value(
            json!({ "discovery": { "bootstrapToken": { "token": "abcdef.0123456789abcdef" } } }),
        )
        .unwrap(),
    );
}

#[test]
fn the_decision_table_of_the_bootstrap_provider() {
    let cases: Vec<(&str, Case, &str)> = vec![
        ("no machine", Case::worker().with(|c| c.seen.machine = None), "wait: Machine"),
        ("no cluster", Case::worker().with(|c| c.seen.cluster = None), "wait: Cluster"),
        (
            "infrastructure is not there",
            Case::control_plane().with(|c| c.cluster().status = None),
            "wait: Infrastructure",
        ),
        (
            "after a restore only the status is written",
            Case::worker().with(|c| c.machine().spec.bootstrap.data_secret_name = Some("m".into())),
            "restore m",
        ),
        ("init data is there", Case::control_plane().with(created), "keep None"),
        (
            "join data is there and the node is not",
            Case::worker().initialized().with(created).with(with_token),
            r#"keep Some("abcdef.0123456789abcdef")"#,
        ),
        (
            "join data is there and so is the node",
            Case::worker().initialized().with(created).with(with_token).with(|c| {
                c.machine().status.get_or_insert_default().node_ref =
                    Some(NodeRef { name: "m".into() });
            }),
            "keep None",
        ),
        ("a worker waits for the control plane", Case::worker(), "wait: ControlPlane { by: None }"),
        ("the first control plane machine takes the lock", Case::control_plane(), "lock"),
        (
            "one that joins leaves the lock to the first",
            Case::control_plane().with(joins),
            "wait: ControlPlane { by: None }",
        ),
        (
            "a user's that has both parts may be the first",
            Case::control_plane().with(joins).with(|c| {
                c.config.spec.init_configuration = Some(Default::default());
            }),
            "lock",
        ),
        (
            "with the lock it initializes",
            Case::control_plane().with(|c| c.seen.inputs.lock = held("m")),
            "init",
        ),
        (
            "without the lock it waits",
            Case::control_plane().with(|c| c.seen.inputs.lock = held("other")),
            r#"wait: ControlPlane { by: Some("other") }"#,
        ),
        (
            "the lock of a machine that is gone is given free",
            Case::control_plane()
                .with(|c| c.seen.inputs.lock = Lock::Stale { by: "gone".into(), uid: None }),
            "release lock",
        ),
        (
            "certificates are left to the control plane object",
            Case::control_plane().with(|c| {
                c.seen.inputs.certificates.remove(&Purpose::ServiceAccount);
            }),
            "wait: Certificate(ServiceAccount)",
        ),
        (
            "without a control plane object they are made under the lock",
            Case::control_plane().with(|c| {
                c.seen.inputs.certificates.clear();
                c.seen.inputs.lock = held("m");
                c.cluster().spec.control_plane_ref = None;
            }),
            "make 4",
        ),
        (
            "and not before the lock is taken",
            Case::control_plane().with(|c| {
                c.seen.inputs.certificates.clear();
                c.cluster().spec.control_plane_ref = None;
            }),
            "lock",
        ),
        ("a worker joins", Case::worker().initialized(), "join control_plane=false release=false"),
        (
            "a control plane machine joins and the lock is not needed any more",
            Case::control_plane().initialized().with(|c| c.seen.inputs.lock = held("first")),
            "join control_plane=true release=true",
        ),
        (
            "a worker needs the authority",
            Case::worker().initialized().with(|c| c.seen.inputs.certificates.clear()),
            "wait: Certificate(ClusterCa)",
        ),
        (
            "a join needs an endpoint",
            Case::worker().initialized().with(|c| c.cluster().spec.control_plane_endpoint = None),
            "wait: Endpoint",
        ),
    ];
    for (what, case, expected) in cases {
        assert_eq!(case.plan(), expected, "{what}");
    }
}

#[test]
fn a_problem_names_the_field_and_what_to_do() {
    let set = |spec: serde_json::Value| {
        move |case: &mut Case| case.config.spec = serde_json::from_value(spec).unwrap()
    };
    for (case, expected) in [
        (
            Case::worker().initialized().with(set(json!({ "files": [
                { "path": "/a", "contentFrom": { "secret": { "name": "s", "key": "k" } } },
            ]}))),
            "user: spec.files[0].contentFrom.secret: the Secret s does not exist",
        ),
        (
            Case::worker()
                .initialized()
                .with(set(json!({ "joinConfiguration": { "controlPlane": {} } }))),
            "user: spec.joinConfiguration.controlPlane is set, but the Machine is a worker",
        ),
        (
            Case::worker()
                .initialized()
                .with(|c| c.machine().spec.version = Some("v1.21.0".into())),
            "user: Kubernetes v1.21.0 is too old; 1.22 or later is required",
        ),
    ] {
        assert_eq!(case.plan(), expected);
    }
}

#[test]
fn contents_come_from_secrets() {
    let mut case = Case::worker().initialized();
    case.config.spec = serde_json::from_value(json!({
        "files": [
            { "path": "/text", "contentFrom": { "secret": { "name": "s", "key": "text" } } },
            { "path": "/bytes", "contentFrom": { "secret": { "name": "s", "key": "bytes" } } },
        ],
        "users": [{ "name": "u", "passwdFrom": { "secret": { "name": "s", "key": "text" } } }],
    }))
    .unwrap();
    let secret = serde_json::from_value(json!({ "data": { "text": "JDYkeA==", "bytes": "/wA=" } }));
    case.seen.inputs.secrets = [("s".to_owned(), Some(secret.unwrap()))].into();
    let valid = validate(&case.config, &case.seen).unwrap();
    assert_eq!((valid.files[0].content.as_str(), valid.files[0].encoding), ("$6$x", None));
    assert_eq!(valid.files[1].content, "/wA=");
    assert_eq!(valid.files[1].encoding.unwrap().as_str(), "base64");
    assert_eq!(valid.users[0].passwd.as_deref(), Some("$6$x"));
}

#[test]
fn init_data_has_the_certificates_and_the_networks_of_the_cluster() {
    let case = Case::control_plane();
    let valid = validate(&case.config, &case.seen).unwrap();
    let (machine, cluster) = (case.seen.machine.as_ref(), case.seen.cluster.as_ref());
    let text = data::init(
        &case.config,
        machine.unwrap(),
        cluster.unwrap(),
        &case.seen.inputs.certificates,
        &valid,
    )
    .unwrap()
    .text;
    let order: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("-   path: ")).collect();
    assert_eq!(
        order,
        [
            "/etc/kubernetes/pki/ca.crt",
            "/etc/kubernetes/pki/ca.key",
            "/etc/kubernetes/pki/etcd/ca.crt",
            "/etc/kubernetes/pki/etcd/ca.key",
            "/etc/kubernetes/pki/front-proxy-ca.crt",
            "/etc/kubernetes/pki/front-proxy-ca.key",
            "/etc/kubernetes/pki/sa.pub",
            "/etc/kubernetes/pki/sa.key",
            "/run/kubeadm/kubeadm.yaml",
            "/run/cluster-api/placeholder",
        ]
    );
    assert!(text.contains("podSubnet: 10.244.0.0/16"));
    assert!(text.contains("controlPlaneEndpoint: 192.0.2.10:6443"));
    assert!(text.contains("kubernetesVersion: v1.36.2"));
}

#[test]
fn a_worker_gets_no_key_and_the_taint_of_an_unknown_node() {
    let case = Case::worker().initialized();
    let valid = validate(&case.config, &case.seen).unwrap();
    let cluster = case.seen.cluster.as_ref().unwrap();
    let certificates = &case.seen.inputs.certificates;
    let join = capi_api::bootstrap::JoinConfiguration::default();
    let text = data::join(&case.config, cluster, certificates, &valid, join, false).unwrap().text;
    assert!(!text.contains("pki/"), "{text}");
    assert!(text.contains("node.cluster.x-k8s.io/uninitialized"), "{text}");
}

#[test]
fn a_discovery_is_filled_in_once_and_what_the_user_gave_stays() {
    let endpoint = ApiEndpoint { host: Some("192.0.2.10".into()), port: Some(6443) };
    let ca = include_str!("../pki/testdata/ca.crt");
    let fresh = Token::random();
    let first = discovery::complete(None, Some(&endpoint), ca, &fresh).unwrap();
    let token = first.bootstrap_token.as_ref().unwrap();
    assert_eq!(token.token, Some(fresh.to_string()));
    assert_eq!(token.api_server_endpoint.as_deref(), Some("192.0.2.10:6443"));
    assert_eq!(token.ca_cert_hashes.len(), 1);
    assert_eq!(token.unsafe_skip_ca_verification, None);

    let join = serde_json::from_value(json!({ "discovery": first })).unwrap();
    let again = discovery::complete(Some(&join), Some(&endpoint), ca, &Token::random()).unwrap();
    assert_eq!(again, first);

    let file = json!({ "discovery": { "file": { "kubeConfigPath": "/x" } } });
    let join: capi_api::bootstrap::JoinConfiguration = serde_json::from_value(file).unwrap();
    let kept = discovery::complete(Some(&join), Some(&endpoint), ca, &fresh).unwrap();
    assert_eq!(Some(kept), join.discovery);
}

/// A pool whose machines use the KubeadmConfig, which has a token.
fn pooled(pool: Pool) -> Case {
    let mut case = Case::worker().initialized();
    case.config.spec.join_configuration = Some(
        serde_json::from_value(json!({ "discovery": { "bootstrapToken": {
            "token": "abcdef.0123456789abcdef", "apiServerEndpoint": "192.0.2.1:6443",
        } } }))
        .unwrap(),
    );
    case.seen.pool = Some(pool);
    case
}

#[test]
fn the_token_of_a_pool_is_extended_until_its_machines_exist_and_then_rotated() {
    let (fresh, joined) = (Pool::default(), Pool { is_provisioned: true, ..Pool::default() });
    for (pool, expected) in [
        (fresh, "keep Some(\"abcdef.0123456789abcdef\")"),
        (joined, "rotate abcdef.0123456789abcdef"),
    ] {
        let mut case = pooled(pool);
        created(&mut case);
        assert_eq!(case.plan(), expected, "{pool:?}");
    }
}

#[test]
fn boot_data_of_a_pool_is_made_anew_when_what_it_is_made_from_changes() {
    let stale = Pool { is_provisioned: true, is_stale: true };
    let mut case = pooled(stale);
    created(&mut case);
    case.machine().spec.bootstrap.data_secret_name = Some("m".into());
    assert_eq!(case.plan(), "join control_plane=false release=false");
    case.seen.pool = None;
    assert_eq!(case.plan(), "keep Some(\"abcdef.0123456789abcdef\")", "a machine reads it once");
}

#[test]
fn a_machine_that_boots_with_ignition_gets_the_same_files_and_documents() {
    let mut case = Case::control_plane();
    case.config.spec =
        serde_json::from_value(json!({ "format": "ignition", "verbosity": 5 })).unwrap();
    let valid = validate(&case.config, &case.seen).unwrap();
    let (machine, cluster) = (case.seen.machine.as_ref(), case.seen.cluster.as_ref());
    let certificates = &case.seen.inputs.certificates;
    let made = data::init(&case.config, machine.unwrap(), cluster.unwrap(), certificates, &valid);
    let read: serde_json::Value = serde_json::from_str(&made.unwrap().text).unwrap();
    let files = read["storage"]["files"].as_array().unwrap();
    let order: Vec<_> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(order.len(), 10, "{order:?}");
    assert_eq!(
        (order[0], order[8], order[9]),
        ("/etc/kubernetes/pki/ca.crt", "/etc/kubeadm.sh", "/etc/kubeadm.yml",)
    );
    assert_eq!((&files[1]["mode"], &files[1]["user"]["name"]), (&json!(0o600), &json!("root")));
    let script = files[8]["contents"]["source"].as_str().unwrap();
    let command = "kubeadm%20init%20--config%20%2Fetc%2Fkubeadm.yml%20--v%205%0A";
    assert!(script.contains(command), "{script}");
    let documents = files[9]["contents"]["source"].as_str().unwrap();
    assert!(documents.contains("ClusterConfiguration") && documents.contains("InitConfiguration"));
}
