use capi_api::bootstrap::EncryptionAlgorithm;

use super::*;

fn now() -> Timestamp {
    Timestamp::now()
}

fn kubeconfig(valid: SignedDuration, at: Timestamp) -> String {
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, None, at).unwrap();
    let client = pki::client_certificate(&ca, ADMIN, at, valid).unwrap();
    render(&Kubeconfig {
        cluster: "demo",
        server: "https://192.0.2.1:6443",
        authority: &ca.certificate,
        client: &client,
    })
}

fn secret(kind: &str, text: &str) -> Secret {
    Secret {
        type_: Some(kind.into()),
        data: Some([(KEY.to_owned(), ByteString(text.as_bytes().to_vec()))].into()),
        ..Secret::default()
    }
}

#[test]
fn names_in_a_kubeconfig_are_those_of_upstream() {
    let text = kubeconfig(VALID, now());
    let parsed = kube::config::Kubeconfig::from_yaml(&text).unwrap();
    assert_eq!(parsed.current_context.as_deref(), Some("demo-admin@demo"));
    assert_eq!(parsed.clusters[0].name, "demo");
    assert_eq!(parsed.auth_infos[0].name, "demo-admin");
    assert_eq!(
        parsed.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
        Some("https://192.0.2.1:6443")
    );
}

#[test]
fn a_kubeconfig_is_renewed_when_less_than_half_a_year_is_left() {
    let ours = labels::CLUSTER_SECRET_TYPE;
    let day = SignedDuration::from_hours(24);
    let of = |days: i32| kubeconfig(day.checked_mul(days).unwrap(), now());
    for (case, secret, expected) in [
        ("absent", None, "create"),
        ("fresh", Some(secret(ours, &of(365))), "nothing"),
        ("half a year and a bit", Some(secret(ours, &of(184))), "nothing"),
        ("less than half a year", Some(secret(ours, &of(182))), "renew"),
        ("unreadable", Some(secret(ours, "nonsense: [")), "renew"),
        ("of the user", Some(secret("Opaque", &of(1))), "nothing"),
    ] {
        let found = match need(secret.as_ref(), now()) {
            KubeconfigAction::Create => "create",
            KubeconfigAction::Renew => "renew",
            KubeconfigAction::Nothing { .. } => "nothing",
        };
        assert_eq!(found, expected, "{case}");
    }
}

#[test]
fn addresses_of_ip_version_6_go_into_brackets() {
    for (host, expected) in [
        ("192.0.2.1", "https://192.0.2.1:6443"),
        ("cp.example", "https://cp.example:6443"),
        ("fd00::1", "https://[fd00::1]:6443"),
        ("[fd00::1]", "https://[fd00::1]:6443"),
    ] {
        let endpoint = ApiEndpoint { host: Some(host.into()), port: Some(6443) };
        assert_eq!(server(&endpoint), expected);
    }
}
