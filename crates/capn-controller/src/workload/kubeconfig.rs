//! The accepted parts of a kubeconfig.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capn_text::yaml::{self, Bounds, YamlError};
use http::Uri;
use kube::config::AuthInfo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::Reach;

/// Maximum number of CA certificates.
const CERTIFICATES: usize = 64;

/// Rejected kubeconfig. Messages contain field names but no values, because these are secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// It cannot be parsed.
    #[error("the kubeconfig cannot be parsed: {0}")]
    Yaml(#[from] YamlError),
    /// It has a field that makes capn run, read or trust something.
    #[error(
        "the kubeconfig has the field {field}, which capn does not accept: only inline certificates, keys and tokens are accepted"
    )]
    Refused {
        /// Path of the field.
        field: String,
    },
    /// A field is missing.
    #[error("the kubeconfig has no {field}")]
    Missing {
        /// Path of the field.
        field: String,
    },
    /// A field is invalid.
    #[error("the field {field} of the kubeconfig {problem}")]
    Wrong {
        /// Path of the field.
        field: String,
        /// The problem.
        problem: &'static str,
    },
}

use KubeconfigError::{Missing, Refused, Wrong};

/// Address of the API server and the credentials for it.
pub(super) struct Access {
    pub(super) server: Uri,
    /// DER.
    pub(super) authority: Vec<Vec<u8>>,
    pub(super) auth: AuthInfo,
}

/// Cluster fields that are used, and known ones that are ignored.
const CLUSTER: &[&str] =
    &["server", "certificate-authority-data", "disable-compression", "extensions"];
const CLUSTER_REFUSED: &[&str] =
    &["certificate-authority", "insecure-skip-tls-verify", "proxy-url", "tls-server-name"];
const USER: &[&str] = &["client-certificate-data", "client-key-data", "token", "extensions"];
const USER_REFUSED: &[&str] = &[
    "exec",
    "auth-provider",
    "tokenFile",
    "client-certificate",
    "client-key",
    "username",
    "password",
    "as",
    "as-uid",
    "as-groups",
    "as-user-extra",
];

impl Access {
    /// Reads the entries of the current context.
    pub(super) fn read(text: &str, reach: Reach) -> Result<Self, KubeconfigError> {
        let all: Value = yaml::from_str(text, Bounds::FILE)?;
        let (cluster, user) = entries(&all)?;
        Ok(Self {
            server: server(&cluster, reach)?,
            authority: authority(&cluster)?,
            auth: auth(&user)?,
        })
    }
}

/// Returns the cluster and the user of the current context, which must only have accepted fields.
fn entries(all: &Value) -> Result<(Entry<'_>, Entry<'_>), KubeconfigError> {
    let current = text_of(&all["current-context"], "current-context")?;
    let context = named(all, "contexts", "context", current)?;
    let cluster = named(all, "clusters", "cluster", context.required("cluster")?)?;
    let user = named(all, "users", "user", context.required("user")?)?;
    cluster.has_only(CLUSTER, CLUSTER_REFUSED)?;
    user.has_only(USER, USER_REFUSED)?;
    Ok((cluster, user))
}

/// Builds a kubeconfig for kubectl with only the current context of `text`, under the names `name`,
/// `name-admin` and `name-admin@name`. Other entries are dropped: they were not validated, and
/// their names may collide with other clusters of the user.
///
/// # Errors
///
/// See [`super::client`].
pub fn rebuilt(text: &str, reach: Reach, name: &str) -> Result<Value, KubeconfigError> {
    Access::read(text, reach)?;
    let all: Value = yaml::from_str(text, Bounds::FILE)?;
    let (cluster, user) = entries(&all)?;
    let field = |entry: &Entry<'_>, field| -> Result<Option<String>, KubeconfigError> {
        Ok(entry.text(field)?.map(|text| text.trim().to_owned()))
    };
    let kept = |entry: &Entry<'_>, fields: &[&'static str]| {
        let mut kept = Map::new();
        for key in fields {
            if let Some(text) = field(entry, key)? {
                kept.insert((*key).to_owned(), Value::String(text));
            }
        }
        Ok::<_, KubeconfigError>(Value::Object(kept))
    };
    let (admin, context) = (format!("{name}-admin"), format!("{name}-admin@{name}"));
    Ok(json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": name,
            "cluster": kept(&cluster, &["certificate-authority-data", "server"])?,
        }],
        "users": [{
            "name": &admin,
            "user": kept(&user, &["client-certificate-data", "client-key-data", "token"])?,
        }],
        "contexts": [{ "name": &context, "context": { "cluster": name, "user": &admin } }],
        "current-context": &context,
        "preferences": {},
    }))
}

/// A named entry of a list.
struct Entry<'a> {
    path: String,
    value: &'a Map<String, Value>,
}

fn named<'a>(
    all: &'a Value,
    list: &'static str,
    kind: &'static str,
    name: &str,
) -> Result<Entry<'a>, KubeconfigError> {
    let missing = || Missing { field: format!("{kind} with the name in its current context") };
    let entries = all[list].as_array().ok_or_else(missing)?;
    let at = entries.iter().position(|entry| entry["name"] == name).ok_or_else(missing)?;
    let path = format!("{list}[{at}].{kind}");
    match entries.get(at).and_then(|entry| entry[kind].as_object()) {
        Some(value) => Ok(Entry { path, value }),
        None => Err(Missing { field: path }),
    }
}

impl Entry<'_> {
    fn at(&self, field: &str) -> String {
        format!("{}.{field}", self.path)
    }

    /// Rejects fields that are not accepted. An empty field counts as missing.
    fn has_only(&self, taken: &[&str], refused: &[&str]) -> Result<(), KubeconfigError> {
        for (field, value) in self.value {
            if taken.contains(&field.as_str()) || says_nothing(value) {
                continue;
            }
            // Unknown names are not quoted: they may contain anything.
            return Err(match refused.iter().find(|refused| *refused == field) {
                Some(field) => Refused { field: self.at(field) },
                None => Refused { field: format!("{} (unknown)", self.at("…")) },
            });
        }
        Ok(())
    }

    fn required(&self, field: &'static str) -> Result<&str, KubeconfigError> {
        self.text(field)?.ok_or_else(|| Missing { field: self.at(field) })
    }

    fn text(&self, field: &'static str) -> Result<Option<&str>, KubeconfigError> {
        match self.value.get(field) {
            None => Ok(None),
            Some(value) if says_nothing(value) => Ok(None),
            Some(value) => text_of(value, &self.at(field)).map(Some),
        }
    }

    /// Decodes a base64 field.
    fn bytes(&self, field: &'static str) -> Result<Option<Vec<u8>>, KubeconfigError> {
        let Some(text) = self.text(field)? else { return Ok(None) };
        match STANDARD.decode(text.trim()) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(_) => Err(Wrong { field: self.at(field), problem: "is not base64" }),
        }
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

fn text_of<'a>(value: &'a Value, field: &str) -> Result<&'a str, KubeconfigError> {
    match value.as_str() {
        Some("") | None if says_nothing(value) => Err(Missing { field: field.to_owned() }),
        Some(text) => Ok(text),
        None => Err(Wrong { field: field.to_owned(), problem: "is not a string" }),
    }
}

fn server(cluster: &Entry<'_>, reach: Reach) -> Result<Uri, KubeconfigError> {
    let field = || cluster.at("server");
    let wrong = |problem| Wrong { field: field(), problem };
    let text = cluster.required("server")?;
    let uri: Uri = text.trim().parse().map_err(|_| wrong("is not a URL"))?;
    if uri.scheme_str() != Some("https") {
        return Err(wrong("does not begin with https://"));
    }
    let host = uri.host().unwrap_or_default();
    if host.is_empty() {
        return Err(wrong("has no host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("contains a user name"));
    }
    if uri.query().is_some() {
        return Err(wrong("contains a query"));
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    if ip.is_ok_and(|ip| !reach.has(ip)) {
        return Err(wrong(
            "is not an allowed address: loopback and link-local addresses are not allowed",
        ));
    }
    Ok(uri)
}

fn authority(cluster: &Entry<'_>) -> Result<Vec<Vec<u8>>, KubeconfigError> {
    const FIELD: &str = "certificate-authority-data";
    let wrong = |problem| Wrong { field: cluster.at(FIELD), problem };
    let pem = cluster.bytes(FIELD)?.ok_or_else(|| Missing { field: cluster.at(FIELD) })?;
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|_| wrong("is not PEM"))?;
        found.push(certificate.as_ref().to_vec());
        if found.len() > CERTIFICATES {
            return Err(wrong("has more than 64 certificates"));
        }
    }
    if found.is_empty() { Err(wrong("has no certificate")) } else { Ok(found) }
}

fn auth(user: &Entry<'_>) -> Result<AuthInfo, KubeconfigError> {
    let certificate = user.bytes("client-certificate-data")?.map(|bytes| STANDARD.encode(bytes));
    let key = user.bytes("client-key-data")?.map(|bytes| STANDARD.encode(bytes));
    let token = user.text("token")?;
    match (&certificate, &key, token) {
        (Some(_), None, _) => return Err(Missing { field: user.at("client-key-data") }),
        (None, Some(_), _) => return Err(Missing { field: user.at("client-certificate-data") }),
        (None, None, None) => {
            return Err(Missing {
                field: format!("{} and a token", user.at("client-certificate-data")),
            });
        }
        _ => {}
    }
    if token.is_some_and(|token| http::HeaderValue::from_str(token).is_err()) {
        return Err(Wrong { field: user.at("token"), problem: "is not a valid token" });
    }
    serde_json::from_value(json!({
        "client-certificate-data": certificate, "client-key-data": key, "token": token,
    }))
    .map_err(|_| Wrong { field: user.path.clone(), problem: "cannot be used" })
}
