//! Contents of `spec.files`: from the spec, from Secrets, and from templates.
//!
//! A file with `contentFormat: Template` is a Go text template. Its only value is
//! `.controlPlane.version`: the full version of the control plane object, with a leading `v`. The
//! key `controlPlane` is absent if that version is unknown, so that a template can test for it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use capi_api::KubeadmConfig;
use capi_api::bootstrap::{Encoding, FileContentFormat, SecretKeySource};
use capn_text::template::{self, Bounds};
use gtmpl_ng::{Context, Value as Go};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use semver::Version;

use super::observe::Inputs;
use super::render::cloud_config::TextFile;
use super::validate::{Problem, problem};

/// Maximum size of a template, in bytes. It is larger than the limit of `content`, because a Secret
/// may be larger.
const TEMPLATE_BYTES: usize = 128 << 10;
/// Maximum size of a rendered template, in bytes. The limit is that of upstream.
const OUTPUT_BYTES: usize = 1 << 20;
/// Maximum size of all files and passwords of one KubeadmConfig, in bytes. The bootstrap data is
/// stored in a Secret, and Kubernetes limits that to as much.
const CONTENT_BYTES: usize = 1 << 20;
/// Time limit for all templates of one KubeadmConfig. Typical ones take microseconds.
const TIME: Duration = Duration::from_millis(500);

/// Version of the control plane, according to the control plane object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum ControlPlaneVersion {
    /// The Cluster has no control plane object, or that object has no `spec.version`.
    #[default]
    Unknown,
    /// `spec.version` of the control plane object.
    Known(String),
    /// The control plane object is unreadable. Holds the reason.
    Unreadable(String),
}

/// What the files and passwords of one KubeadmConfig may still take, in bytes. It is checked before
/// a value is copied: the same large Secret may be named many times.
#[derive(Clone, Debug)]
pub(super) struct Budget(usize);

impl Default for Budget {
    fn default() -> Self {
        Self(CONTENT_BYTES)
    }
}

impl Budget {
    /// Takes the size of a value of a field.
    pub(super) fn take(&mut self, bytes: usize, field: &str) -> Result<(), Problem> {
        match self.0.checked_sub(bytes) {
            Some(left) => self.0 = left,
            None => {
                return problem(format!(
                    "{field}: all files and passwords have more than {CONTENT_BYTES} bytes together"
                ));
            }
        }
        Ok(())
    }
}

/// Returns whether any file is a template.
pub(super) fn has_templates(config: &KubeadmConfig) -> bool {
    config.spec.files.iter().any(|file| file.content_format == Some(FileContentFormat::Template))
}

/// Returns the files of a KubeadmConfig with their contents.
pub(super) fn files(
    config: &KubeadmConfig,
    inputs: &Inputs,
    budget: &mut Budget,
) -> Result<Vec<TextFile>, Problem> {
    let mut data = None;
    let mut left = TIME;
    let mut files = Vec::new();
    for (index, file) in config.spec.files.iter().enumerate() {
        let mut text = TextFile {
            path: file.path.clone(),
            owner: file.owner.clone(),
            permissions: file.permissions.clone(),
            encoding: file.encoding,
            append: file.append == Some(true),
            content: file.content.clone().unwrap_or_default(),
        };
        let is_template = file.content_format == Some(FileContentFormat::Template);
        if let Some(source) = &file.content_from {
            let field = format!("spec.files[{index}].contentFrom.secret");
            let bytes = lookup(&inputs.secrets, &source.secret, &field)?;
            if is_template && std::str::from_utf8(&bytes.0).is_err() {
                return problem(format!("{field}: the template is not UTF-8 text"));
            }
            budget.take(bytes.0.len(), &field)?;
            (text.content, text.encoding) = as_text(bytes, file.encoding);
        }
        if is_template {
            let data = match &data {
                Some(data) => data,
                None => data.insert(template_data(&inputs.control_plane_version)?),
            };
            let begun = Instant::now();
            text.content = render(&text.content, data, left)
                .map_err(|error| Problem(format!("spec.files[{index}]: {error}")))?;
            left = left.saturating_sub(begun.elapsed());
            budget.take(text.content.len(), &format!("spec.files[{index}]"))?;
        }
        files.push(text);
    }
    Ok(files)
}

/// Returns the data of all templates.
fn template_data(version: &ControlPlaneVersion) -> Result<Go, Problem> {
    let version = match version {
        ControlPlaneVersion::Unknown => return Ok(Go::Map(HashMap::new())),
        ControlPlaneVersion::Unreadable(why) => {
            return problem(format!("cannot read the version of the control plane: {why}"));
        }
        ControlPlaneVersion::Known(version) => version,
    };
    let Some(full) = in_full(version) else {
        return problem(format!("the version of the control plane is not valid: {version}"));
    };
    let control_plane = HashMap::from([("version".to_owned(), Go::from(full))]);
    Ok(Go::Map(HashMap::from([("controlPlane".to_owned(), Go::Map(control_plane))])))
}

/// Returns a version with three numbers and a leading `v`: `1.36` becomes `v1.36.0`.
fn in_full(version: &str) -> Option<String> {
    let text = version.trim();
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, suffix) = text.split_at(end);
    let mut numbers: Vec<u64> =
        numbers.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    // Only a complete version may have a suffix.
    if numbers.len() > 3 || (numbers.len() < 3 && !suffix.is_empty()) {
        return None;
    }
    numbers.resize(3, 0);
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    let version = Version::parse(&format!("{}{suffix}", numbers.join("."))).ok()?;
    Some(format!("v{version}"))
}

/// Renders a template as content of a file. See [`crate::render_file_template`].
pub(crate) fn render_for(text: &str, version: &str) -> Result<String, String> {
    let known = ControlPlaneVersion::Known(version.to_owned());
    let data = template_data(&known).map_err(|problem| problem.0)?;
    render(text, &data, TIME)
}

/// Renders a template.
fn render(text: &str, data: &Go, time: Duration) -> Result<String, String> {
    let bounds = Bounds { template_bytes: TEMPLATE_BYTES, output_bytes: OUTPUT_BYTES, time };
    let mut engine = template::engine_within(text, bounds).map_err(|error| error.to_string())?;
    engine.parse(text).map_err(|error| format!("cannot parse the template: {error}"))?;
    engine
        .render(&Context::from(data.clone()))
        .map_err(|error| format!("cannot execute the template: {error}"))
}

/// Returns bytes as text. Binary data is encoded as base64, which the node decodes.
fn as_text(bytes: &ByteString, encoding: Option<Encoding>) -> (String, Option<Encoding>) {
    use base64::Engine as _;
    match std::str::from_utf8(&bytes.0) {
        Ok(text) => (text.to_owned(), encoding),
        Err(_) => {
            let encoding = match encoding {
                Some(Encoding::Gzip | Encoding::GzipBase64) => Encoding::GzipBase64,
                Some(Encoding::Base64) | None => Encoding::Base64,
            };
            (base64::engine::general_purpose::STANDARD.encode(&bytes.0), Some(encoding))
        }
    }
}

/// Returns the value of a key in a Secret.
pub(super) fn lookup<'a>(
    secrets: &'a BTreeMap<String, Option<Secret>>,
    source: &SecretKeySource,
    field: &str,
) -> Result<&'a ByteString, Problem> {
    let SecretKeySource { name, key } = source;
    let Some(secret) = secrets.get(name).and_then(Option::as_ref) else {
        return problem(format!("{field}: the Secret {name} does not exist"));
    };
    match secret.data.as_ref().and_then(|data| data.get(key)) {
        Some(bytes) => Ok(bytes),
        None => problem(format!("{field}: the Secret {name} has no key {key}")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UNKNOWN: ControlPlaneVersion = ControlPlaneVersion::Unknown;

    fn rendered(file: Value, version: ControlPlaneVersion) -> Result<String, String> {
        let config: KubeadmConfig =
            serde_json::from_value(json!({ "metadata": {}, "spec": { "files": [file] } })).unwrap();
        let secret: Secret = serde_json::from_value(json!({ "data": {
            "text": "dj17eyAuY29udHJvbFBsYW5lLnZlcnNpb24gfX0=", "bytes": "/wA=",
        } }))
        .unwrap();
        let inputs = Inputs {
            control_plane_version: version,
            secrets: [("s".to_owned(), Some(secret))].into(),
            ..Inputs::default()
        };
        files(&config, &inputs, &mut Budget::default())
            .map(|mut files| files.remove(0).content)
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn files_from_one_large_secret_have_a_total_limit() {
        let file =
            json!({ "path": "/a", "contentFrom": { "secret": { "name": "s", "key": "k" } } });
        let config = |count: usize| -> KubeadmConfig {
            let spec = json!({ "files": vec![file.clone(); count] });
            serde_json::from_value(json!({ "metadata": {}, "spec": spec })).unwrap()
        };
        let data = BTreeMap::from([("k".to_owned(), ByteString(vec![b'a'; CONTENT_BYTES / 2]))]);
        let secret = Secret { data: Some(data), ..Secret::default() };
        let inputs =
            Inputs { secrets: [("s".to_owned(), Some(secret))].into(), ..Inputs::default() };
        let count = |n| files(&config(n), &inputs, &mut Budget::default()).map(|files| files.len());
        assert_eq!(count(2).map_err(|problem| problem.to_string()), Ok(2));
        let error = count(3).unwrap_err().to_string();
        assert!(error.starts_with("spec.files[2].contentFrom.secret: all files"), "{error}");
    }

    fn template(content: &str) -> Value {
        json!({ "path": "/b", "contentFormat": "Template", "content": content })
    }

    fn known(version: &str) -> ControlPlaneVersion {
        ControlPlaneVersion::Known(version.to_owned())
    }

    // The first six cases are those of TestRenderTemplates, Cluster API v1.14,
    // bootstrap/kubeadm/reconcilers/kubeadmconfig/template_test.go.
    #[test]
    fn templates_are_rendered_as_upstream_renders_them() {
        let guarded = "{{ if .controlPlane }}v={{ .controlPlane.version }}{{ end }}done";
        let plain = json!({ "path": "/a", "content": "hello {{ .controlPlane.version }}" });
        let raw = json!({ "path": "/a", "content": "{{", "contentFormat": "Raw" });
        let from_secret = json!({ "path": "/a", "contentFormat": "Template",
            "contentFrom": { "secret": { "name": "s", "key": "text" } } });
        for (file, version, expected) in [
            (plain, known("v1.29.0"), "hello {{ .controlPlane.version }}"),
            (template("v={{ .controlPlane.version }}"), known("v1.29.0"), "v=v1.29.0"),
            (template(guarded), UNKNOWN, "done"),
            (template(guarded), known("v1.29.0"), "v=v1.29.0done"),
            (raw, known("v1.29.0"), "{{"),
            (from_secret, known("v1.29.0"), "v=v1.29.0"),
            // Go prints an absent key like this.
            (template("{{ .controlPlane.version }}"), UNKNOWN, "<no value>"),
            (template(""), UNKNOWN, ""),
            // Go's functions are available, sprig's are not.
            (
                template("{{ if ge .controlPlane.version \"v1.3\" }}new{{ else }}old{{ end }}"),
                known("v1.29.0"),
                "old",
            ),
            (template("{{- range 3 }}{{ . }}{{ end }}"), UNKNOWN, "012"),
            (template(&"x".repeat(10_240)), UNKNOWN, &"x".repeat(10_240)),
        ] {
            assert_eq!(rendered(file.clone(), version).as_deref(), Ok(expected), "{file}");
        }
    }

    #[test]
    fn a_template_that_cannot_be_rendered_is_named_by_its_field() {
        let binary = json!({ "path": "/a", "contentFormat": "Template",
            "contentFrom": { "secret": { "name": "s", "key": "bytes" } } });
        let missing = ControlPlaneVersion::Unreadable("it does not exist".to_owned());
        let wide = "{{printf \"%999999s\" \"\"}}".repeat(3);
        let long = "{{ range 9000 }}".to_owned() + &"x".repeat(200) + "{{ end }}";
        for (file, version, expected) in [
            (
                template("{{ .controlPlane.version "),
                known("v1.29.0"),
                "spec.files[0]: cannot parse the template: ",
            ),
            (
                template("{{ range .controlPlane.version }}{{ end }}"),
                known("v1.29.0"),
                "spec.files[0]: cannot execute the template: ",
            ),
            (template(&wide), UNKNOWN, "spec.files[0]: cannot execute the template: "),
            (template(&long), UNKNOWN, "spec.files[0]: cannot execute the template: "),
            (template("{{ quote 1 }}"), UNKNOWN, "spec.files[0]: cannot parse the template: "),
            (binary, UNKNOWN, "spec.files[0].contentFrom.secret: the template is not UTF-8 text"),
            (template("x"), missing, "cannot read the version of the control plane: it does"),
            (template("x"), known("new"), "the version of the control plane is not valid: new"),
        ] {
            let error = rendered(file.clone(), version).unwrap_err();
            assert!(error.starts_with(expected), "{file}: {error}");
        }
        let range = rendered(template("{{ range 1000000000 }}{{ end }}"), UNKNOWN);
        assert!(range.is_err(), "{range:?}");
    }

    // As resolveFiles of Cluster API v1.14 normalizes it, with ParseTolerant of blang/semver.
    #[test]
    fn the_version_of_the_control_plane_is_given_in_full() {
        for (text, expected) in [
            ("v1.36.2", Some("v1.36.2")),
            ("1.36.2", Some("v1.36.2")),
            ("1.35", Some("v1.35.0")),
            (" v1 ", Some("v1.0.0")),
            ("v1.036.02", Some("v1.36.2")),
            ("v1.36.2-rc.0+k3s1", Some("v1.36.2-rc.0+k3s1")),
            ("1.36-rc.0", None),
            ("1.2.3.4", None),
            ("", None),
            ("latest", None),
        ] {
            assert_eq!(in_full(text).as_deref(), expected, "{text:?}");
        }
    }
}
