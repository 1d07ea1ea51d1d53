//! HTTPS with a pinned certificate.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};
use incus_client::api::{CertificatesPost, Config};
use incus_client::{
    Client, Error, EventItem, ExecRequest, HttpsRemote, Observation, certificate_fingerprint,
};

use crate::support::{daemons, in_project, running, unique};

struct Identity {
    certificate: String,
    key: String,
    der: Vec<u8>,
}

fn identity() -> Identity {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["capn-t".into()]).unwrap().self_signed(&key).unwrap();
    Identity {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
        der: certificate.der().to_vec(),
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn only_the_pinned_server_is_accepted() {
    use base64::Engine as _;
    for (daemon, local) in daemons("https") {
        let server = local.server().await.unwrap();
        // An existing address is kept, unless it is one that a killed run of this test has set.
        let set = server
            .config
            .get("core.https_address")
            .and_then(|address| address.as_str())
            .filter(|address| !address.is_empty() && !address.starts_with("127.0.0.1:"))
            .map(str::to_owned);
        let address = set.clone().unwrap_or_else(|| format!("127.0.0.1:{}", free_port()));
        let configure = |value: &str| {
            let config = Config::from([("core.https_address".to_owned(), value.to_owned())]);
            let local = local.clone();
            async move { local.patch_server_config(&config).await.unwrap() }
        };
        if set.is_none() {
            configure(&address).await;
        }
        let me = identity();
        let fingerprint = certificate_fingerprint(&me.certificate).unwrap();
        let post = CertificatesPost {
            name: unique("cert"),
            kind: "client".into(),
            certificate: base64::engine::general_purpose::STANDARD.encode(&me.der),
            ..CertificatesPost::default()
        };
        local.add_certificate(&post).await.unwrap();
        let remote = HttpsRemote {
            url: format!("https://{}", address.replace("[::]", "127.0.0.1")),
            server_certificate_pem: Some(server.environment.certificate.clone()),
            client_certificate_pem: me.certificate.clone(),
            client_key_pem: me.key.clone(),
            insecure_skip_verify: false,
        };
        println!("https on {daemon}, {}", remote.url);
        let result = AssertUnwindSafe(check(&local, &remote, &fingerprint)).catch_unwind().await;
        local.delete_certificate(&fingerprint).await.unwrap();
        if set.is_none() {
            configure("").await;
        }
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    }
}

async fn check(local: &Client, remote: &HttpsRemote, fingerprint: &str) {
    let client = Client::https(remote).unwrap();
    let server = client.server().await.unwrap();
    assert!(server.is_trusted());
    assert_eq!(
        certificate_fingerprint(&server.environment.certificate).unwrap(),
        server.environment.certificate_fingerprint
    );
    assert!(local.certificates().await.unwrap().iter().any(|c| c.fingerprint == fingerprint));

    a_dead_address_is_passed_over(remote).await;

    // Another certificate is pinned: the connection fails, whatever else matches.
    let other = identity();
    let wrong =
        HttpsRemote { server_certificate_pem: Some(other.certificate.clone()), ..remote.clone() };
    let error = Client::https(&wrong).unwrap().server().await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");

    // No pinned certificate: that of the daemon does not chain to an authority.
    let unpinned = HttpsRemote { server_certificate_pem: None, ..remote.clone() };
    match Client::https(&unpinned) {
        Ok(client) => assert!(client.server().await.unwrap_err().is_connection()),
        Err(error) => assert!(matches!(error, Error::Tls { .. }), "{error:?}"),
    }
    let any = HttpsRemote { insecure_skip_verify: true, ..unpinned };
    assert!(Client::https(&any).unwrap().server().await.unwrap().is_trusted());

    // An untrusted client may see little.
    let unknown = HttpsRemote {
        client_certificate_pem: other.certificate,
        client_key_pem: other.key,
        ..remote.clone()
    };
    let unknown = Client::https(&unknown).unwrap();
    assert!(!unknown.server().await.unwrap().is_trusted());
    let error = unknown.instances(&Default::default()).await.unwrap_err();
    assert!(error.is_forbidden() && error.hint().is_some(), "{error}");

    // WebSockets, operations and uploads work the same way.
    let over_https = client.clone();
    in_project("https work", move |daemon, scoped| {
        let client = over_https.with_project(scoped.project().unwrap());
        let same = remote_is(daemon, local);
        async move {
            if !same {
                return;
            }
            let Some(name) = running("https work", &client).await else { return };
            let output = client.exec(&name, ExecRequest::shell("echo over https")).await.unwrap();
            assert_eq!(output.stdout_text(), "over https\n");
        }
    })
    .await;
}

/// Nothing listens at the first address; at the second one a server without TLS hangs up.
async fn a_dead_address_is_passed_over(remote: &HttpsRemote) {
    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let deaf_port = deaf.local_addr().unwrap().port();
    let hanging_up = tokio::spawn(async move {
        while let Ok((stream, _)) = deaf.accept().await {
            drop(stream);
        }
    });
    let at = |port: u16| {
        let url = format!("https://127.0.0.1:{port}");
        Client::https_builder(&HttpsRemote { url, ..remote.clone() }).unwrap()
    };
    let there = Client::https_builder(remote).unwrap();
    let failed = Arc::new(AtomicUsize::new(0));
    let count = failed.clone();
    let client = at(free_port())
        .or(at(deaf_port))
        .or(there)
        .observe(move |seen| {
            if matches!(seen, Observation::EndpointFailed { .. }) {
                count.fetch_add(1, Ordering::Relaxed);
            }
        })
        .build();
    assert!(client.server().await.unwrap().is_trusted());
    let mut events = client.events(&[]);
    assert!(matches!(events.next().await, Some(EventItem::Connected)));
    assert_eq!(failed.load(Ordering::Relaxed), 2, "the one that works stays in use");
    hanging_up.abort();
}

fn remote_is(daemon: &str, local: &Client) -> bool {
    local.endpoint().contains("incus") == (daemon == "Incus")
}
