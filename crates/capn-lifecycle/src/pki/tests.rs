use std::process::{Command, Stdio};
use std::time::Instant;

use capi_api::bootstrap::{ClusterConfiguration, EncryptionAlgorithm, Etcd, ExternalEtcd};
use jiff::{SignedDuration, Timestamp};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::set::{Wanted, generate};
use super::*;

fn now() -> Timestamp {
    Timestamp::now()
}

fn der(pem: &str) -> Vec<u8> {
    pem::parse(pem).unwrap().into_contents()
}

const ALGORITHMS: [EncryptionAlgorithm; 3] =
    [EncryptionAlgorithm::Rsa2048, EncryptionAlgorithm::EcdsaP256, EncryptionAlgorithm::EcdsaP384];

#[test]
fn an_authority_is_what_kubeadm_expects() {
    for algorithm in ALGORITHMS {
        let ca = PemPair::authority(algorithm, None, now()).unwrap();
        let der = der(&ca.certificate);
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        certificate.verify_signature(None).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=kubernetes");
        assert!(certificate.is_ca());
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert!(usage.key_cert_sign() && usage.digital_signature() && usage.key_encipherment());
        let days = (certificate.validity().not_after.timestamp() - now().as_second()) / 86_400;
        assert!((3649..=3650).contains(&days), "{days} days");
        assert!(certificate.validity().is_valid());
    }
}

#[test]
fn an_authority_lasts_as_long_as_asked() {
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, Some(10), now()).unwrap();
    let left = not_after(&ca.certificate).unwrap().duration_since(now());
    assert!(left > SignedDuration::from_hours(239) && left <= SignedDuration::from_hours(240));
}

#[test]
fn a_client_certificate_is_signed_by_its_authority() {
    for algorithm in ALGORITHMS {
        let ca = PemPair::authority(algorithm, None, now()).unwrap();
        let identity = ClientIdentity { user: "kubernetes-admin", group: "system:masters" };
        let client =
            client_certificate(&ca, identity, now(), SignedDuration::from_hours(24 * 365)).unwrap();
        let (ca_der, client_der) = (der(&ca.certificate), der(&client.certificate));
        let (_, ca_certificate) = X509Certificate::from_der(&ca_der).unwrap();
        let (_, certificate) = X509Certificate::from_der(&client_der).unwrap();
        certificate.verify_signature(Some(ca_certificate.public_key())).unwrap();
        assert_eq!(certificate.subject().to_string(), "O=system:masters, CN=kubernetes-admin");
        assert!(!certificate.is_ca());
        assert!(certificate.extended_key_usage().unwrap().unwrap().value.client_auth);
    }
}

#[test]
fn keys_in_all_usual_forms_can_sign() {
    // Keys from OpenSSL, which users may provide: the traditional forms and PKCS#8.
    let Some(keys) = openssl_keys() else { return };
    for (form, key) in keys {
        let signer = keys::read(&key).unwrap_or_else(|error| panic!("{form}: {error}"));
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&signer).unwrap().pem();
        let ca = PemPair { certificate, private_key: key };
        let identity = ClientIdentity { user: "u", group: "g" };
        client_certificate(&ca, identity, now(), SignedDuration::from_hours(1)).unwrap();
    }
}

fn openssl_keys() -> Option<Vec<(&'static str, String)>> {
    let run = |arguments: &[&str], input: &str| -> Option<String> {
        use std::io::Write as _;
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        child.stdin.take()?.write_all(input.as_bytes()).ok()?;
        let output = child.wait_with_output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    if run(&["version"], "").is_none() {
        println!("SKIPPED: no openssl command");
        return None;
    }
    let rsa = run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "")?;
    let traditional = run(&["rsa", "-traditional"], &rsa)?;
    let ec = run(&["ecparam", "-name", "prime256v1", "-genkey", "-noout"], "")?;
    let ec384 = run(&["ecparam", "-name", "secp384r1", "-genkey", "-noout"], "")?;
    let ec_pkcs8 = run(&["pkcs8", "-topk8", "-nocrypt"], &ec)?;
    Some(vec![
        ("RSA in PKCS#8", rsa),
        ("RSA in PKCS#1", traditional),
        ("P-256 in SEC1", ec),
        ("P-384 in SEC1", ec384),
        ("P-256 in PKCS#8", ec_pkcs8),
    ])
}

#[test]
fn an_invalid_key_is_rejected_without_showing_it() {
    let ca = PemPair::authority(EncryptionAlgorithm::EcdsaP256, None, now()).unwrap();
    let broken = PemPair {
        certificate: ca.certificate,
        private_key: "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n".into(),
    };
    let identity = ClientIdentity { user: "u", group: "g" };
    let error =
        client_certificate(&broken, identity, now(), SignedDuration::from_hours(1)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("c2VjcmV0"));
    assert!(!format!("{broken:?}").contains("c2VjcmV0"));
}

#[test]
fn hashes_are_those_of_kubeadm() {
    // Created with: openssl x509 -pubkey | openssl pkey -pubin -outform der | sha256sum
    let pem = include_str!("testdata/ca.crt");
    assert_eq!(public_key_hashes(pem).unwrap(), [include_str!("testdata/ca.hash").trim()]);
    assert_eq!(public_key_hashes(&format!("{pem}{pem}")).unwrap().len(), 2);
    assert!(public_key_hashes("nonsense").unwrap().is_empty());
}

#[tokio::test]
async fn all_pairs_of_a_cluster_are_generated_concurrently() {
    let start = Instant::now();
    let wanted = Wanted::of(None);
    let set = generate(&wanted, &wanted.purposes(), now()).await.unwrap();
    println!("four key pairs of RSA 2048: {} ms", start.elapsed().as_millis());
    assert_eq!(set.len(), 4);
    assert_eq!(wanted.first_missing(&set), None);
    let sa = &set[&Purpose::ServiceAccount];
    assert!(sa.certificate.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    assert!(sa.private_key.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert!(set[&Purpose::EtcdCa].certificate.starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(!set[&Purpose::EtcdCa].certificate.contains('\r'));
}

#[test]
fn an_external_etcd_brings_its_own_certificates() {
    let external = ExternalEtcd {
        endpoints: vec!["https://192.0.2.1:2379".into()],
        ca_file: "/etc/etcd/ca.pem".into(),
        cert_file: "/etc/etcd/client.pem".into(),
        key_file: "/etc/etcd/client-key.pem".into(),
    };
    let wanted = Wanted::of(Some(&ClusterConfiguration {
        etcd: Some(Etcd { external: Some(external), ..Etcd::default() }),
        certificates_dir: Some("/var/pki/".into()),
        ..ClusterConfiguration::default()
    }));
    assert!(!wanted.is_generated(Purpose::EtcdCa));
    assert!(!wanted.is_generated(Purpose::ApiServerEtcdClient));
    assert_eq!(wanted.node_files(Purpose::EtcdCa).0.path, "/etc/etcd/ca.pem");
    assert_eq!(wanted.node_files(Purpose::EtcdCa).1, None);
    assert_eq!(wanted.node_files(Purpose::ClusterCa).0.path, "/var/pki/ca.crt");
    assert_eq!(wanted.purposes().last(), Some(&Purpose::ApiServerEtcdClient));
}

#[test]
fn a_pair_round_trips_through_its_secret() {
    let pair = PemPair { certificate: "c\n".into(), private_key: "k\n".into() };
    let secret =
        k8s_openapi::api::core::v1::Secret { data: Some(pair.to_data()), ..Default::default() };
    assert_eq!(PemPair::from_secret(&secret), Some(pair));
    assert_eq!(PemPair::from_secret(&Default::default()), None);
}
