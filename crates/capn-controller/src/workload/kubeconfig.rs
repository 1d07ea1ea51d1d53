//! What is taken from a kubeconfig, and what is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capn_text::yaml::{self, Bounds, YamlError};
use http::Uri;
use kube::config::AuthInfo;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use super::Reach;

/// Most certificates of an authority.
const CERTIFICATES: usize = 64;

/// A kubeconfig that is not used. Names fields and never values: they are secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KubeconfigError {
    /// It cannot be read.
    #[error("the kubeconfig cannot be read: {0}")]
    Yaml(#[from] YamlError),
    /// It has a field that makes capn run, read or trust something.
    #[error(
        "the kubeconfig has the field {field}, which capn does not take: only inline certificates, keys and tokens are"
    )]
    Refused {
        /// Where it is.
        field: String,
    },
    /// It lacks something.
    #[error("the kubeconfig lacks {field}")]
    Missing {
        /// What.
        field: String,
    },
    /// A field cannot be used.
    #[error("the field {field} of the kubeconfig {problem}")]
    Wrong {
        /// Where it is.
        field: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

use KubeconfigError::{Missing, Refused, Wrong};

/// Where the API server is, and how to be trusted by it.
pub(super) struct Access {
    pub(super) server: Uri,
    /// DER.
    pub(super) authority: Vec<Vec<u8>>,
    pub(super) auth: AuthInfo,
}

/// What of a cluster is taken, and what is known and of no matter here.
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
    /// Reads what the current context leads to.
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

/// The cluster and the user that the current context leads to, with nothing but what is taken.
fn entries(all: &Value) -> Result<(Entry<'_>, Entry<'_>), KubeconfigError> {
    let current = text_of(&all["current-context"], "current-context")?;
    let context = named(all, "contexts", "context", current)?;
    let cluster = named(all, "clusters", "cluster", context.required("cluster")?)?;
    let user = named(all, "users", "user", context.required("user")?)?;
    cluster.has_only(CLUSTER, CLUSTER_REFUSED)?;
    user.has_only(USER, USER_REFUSED)?;
    Ok((cluster, user))
}

/// A kubeconfig for kubectl with what the current context of `text` leads to, under the names `name`,
/// `name-admin` and `name-admin@name`, and nothing else. Other entries of `text` were looked at by nobody, and their names
/// may be those of other clusters of the reader.
///
/// # Errors
///
/// As for [`super::client`].
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

/// An entry of a list, by its name.
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
    let missing = || Missing { field: format!("the {kind} that its current context names") };
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

    /// Refuses whatever is not taken. A field that says nothing is none.
    fn has_only(&self, taken: &[&str], refused: &[&str]) -> Result<(), KubeconfigError> {
        for (field, value) in self.value {
            if taken.contains(&field.as_str()) || says_nothing(value) {
                continue;
            }
            // What is not known here is not repeated: it may be anything.
            return Err(match refused.iter().find(|refused| *refused == field) {
                Some(field) => Refused { field: self.at(field) },
                None => Refused { field: format!("{} that is not known", self.at("…")) },
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

    /// The bytes that a field has as base64.
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
        None => Err(Wrong { field: field.to_owned(), problem: "is not text" }),
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
        return Err(wrong("names no host"));
    }
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err(wrong("has a user name in it"));
    }
    if uri.query().is_some() {
        return Err(wrong("has a query in it"));
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse();
    if ip.is_ok_and(|ip| !reach.has(ip)) {
        return Err(wrong(
            "is an address that capn does not connect to: one of this machine alone, or a link-local one",
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
