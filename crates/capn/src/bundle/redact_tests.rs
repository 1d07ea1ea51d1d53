//! Planted secrets in every place where secrets have been observed.

use serde_json::json;

use super::*;

const KEY: &str = "-----BEGIN RSA PRIVATE KEY-----\n\
    MIIEowIBAAKCAQEAplantedplantedplantedplantedplantedplantedplante\n\
    d3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cr\n\
    -----END RSA PRIVATE KEY-----\n";

fn secrets() -> Secrets {
    SecretCollector::new().unwrap().done().unwrap()
}

#[test]
fn text_that_looks_like_a_secret_is_redacted_and_the_rest_is_kept() {
    for (text, clean) in [
        (
            "kubeadm join --token abcdef.0123456789abcdef --x y",
            "kubeadm join --token REDACTED --x y",
        ),
        ("token abcdef.0123456789abcdef was used", "token REDACTED was used"),
        ("--certificate-key 0011223344 \\", "--certificate-key REDACTED \\"),
        (
            "a\n-----BEGIN EC PRIVATE KEY-----\nMHc\n-----END EC PRIVATE KEY-----\nb",
            "a\nREDACTED\nb",
        ),
        ("a\n-----BEGIN PRIVATE KEY-----\nMHc", "a\nREDACTED"),
        ("client-key-data: LS0tLS1CRUdJTiBSU0E=", "client-key-data: REDACTED"),
        ("Authorization: Bearer abcdefgh12345", "Authorization: Bearer REDACTED"),
        ("Bearer eyJhbGciOi.eyJpc3MiOi.c2ln x", "Bearer REDACTED x"),
        ("db_password=hunter2 next", "db_password=REDACTED next"),
        (r#"{"token":"hunter2","a":"b"}"#, r#"{"token":"REDACTED","a":"b"}"#),
        ("proxy http://me:hunter2@proxy:3128/", "proxy http://me:REDACTED@proxy:3128/"),
        // Not secrets.
        ("sha256:0123456789abcdef0123456789abcdef", "sha256:0123456789abcdef0123456789abcdef"),
        ("node demo-md-0-ks9lf-k6n8v is Ready", "node demo-md-0-ks9lf-k6n8v is Ready"),
        ("-----BEGIN CERTIFICATE-----\nMII\n", "-----BEGIN CERTIFICATE-----\nMII\n"),
    ] {
        assert_eq!(secrets().clean(text), clean, "{text}");
    }
}

#[test]
fn values_of_secrets_are_redacted_everywhere() {
    let mut secrets = SecretCollector::new().unwrap();
    secrets.learn("value", b"users: [{user: {token: plantedtoken99}}]");
    secrets.learn("tls.key", KEY.as_bytes());
    secrets.learn("password", b"correct-horse");
    secrets.learn("server", b"unix:///var/lib/incus/unix.socket");
    secrets.learn("short", b"abc");
    let log = "Dec 01 a: plantedtoken99\nb: d3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cretd3cr\n\
        correct-horse Y29ycmVjdC1ob3JzZQ== unix:///var/lib/incus/unix.socket abc";
    let clean = secrets.done().unwrap().clean(log);
    assert_eq!(
        clean,
        "Dec 01 a: REDACTED\nb: REDACTED\nREDACTED REDACTED unix:///var/lib/incus/unix.socket abc"
    );
}

#[test]
fn bootstrap_data_does_not_redact_common_words() {
    let mut secrets = SecretCollector::new().unwrap();
    let data = format!("#cloud-config\nruncmd:\n- kubeadm init\nwrite_files:\n- content: |\n{KEY}");
    secrets.learn("value", data.as_bytes());
    let log = "runcmd: kubeadm init\n#cloud-config";
    assert_eq!(secrets.done().unwrap().clean(log), log);
}

#[test]
fn fields_that_hold_secrets_are_redacted_in_objects() {
    let mut value = json!({
        "kind": "KubeadmConfig",
        "metadata": {
            "name": "a", "managedFields": [{}],
            "annotations": { "kubectl.kubernetes.io/last-applied-configuration": "planted", "b": "c" },
        },
        "spec": {
            "files": [{ "path": "/a", "content": "planted" }],
            "users": [{ "name": "u", "passwd": "planted" }],
            "joinConfiguration": {
                "discovery": { "bootstrapToken": { "token": "planted", "caCertHashes": ["sha256:1"] } },
                "controlPlane": { "certificateKey": "planted" },
            },
            "config": { "cloud-init.user-data": "planted", "limits.cpu": "2", "environment.A": "planted" },
            "secretRef": { "name": "kept" },
        },
    });
    object(&mut value);
    let text = value.to_string();
    assert!(!text.contains("planted") && !text.contains("managedFields"), "{text}");
    for kept in ["/a", "sha256:1", "limits.cpu", "kept", "\"b\":\"c\""] {
        assert!(text.contains(kept), "{kept} in {text}");
    }
    let mut secret = json!({ "kind": "Secret", "data": { "value": "cGxhbnRlZA==" } });
    object(&mut secret);
    assert_eq!(secret["data"]["value"], "REDACTED (12 bytes)");
}
