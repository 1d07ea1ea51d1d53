//! YAML with slots: values that are set when a package is installed.

use serde_json::Value;

use crate::PackageError;

/// Values of slots.
pub(crate) type Texts = [(Slot, String)];

/// A value that the installing user chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Image,
    ImagePullPolicy,
    Namespace,
    Replicas,
    DiagnosticsAddress,
    InsecureDiagnostics,
    Verbosity,
    RunAsNonRoot,
    RunAsUser,
    Volumes,
    VolumeMounts,
    Resources,
    NodeSelector,
    Tolerations,
    LocalSocketNamespaces,
}

impl Slot {
    /// Returns the placeholder of the slot. YAML writers do not quote it.
    pub(crate) fn mark(self) -> String {
        format!("XX{self:?}XX")
    }
}

/// One document.
pub(crate) fn document(value: &Value) -> Result<String, PackageError> {
    let mut text = serde_saphyr::to_string(value).map_err(PackageError::write("YAML"))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Returns a stream of documents.
pub(crate) fn stream<'a>(
    values: impl IntoIterator<Item = &'a Value>,
) -> Result<String, PackageError> {
    let documents: Result<Vec<String>, _> = values.into_iter().map(document).collect();
    Ok(documents?.join("---\n"))
}

/// Fills slots: replaces each placeholder without adding quotes.
pub(crate) fn fill(mut text: String, texts: &Texts) -> String {
    for (slot, with) in texts {
        text = text.replace(&slot.mark(), with);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slots_are_filled_without_quotes() {
        let value =
            json!({"a": Slot::RunAsNonRoot.mark(), "b": format!("--x={}", Slot::Image.mark())});
        let texts = [(Slot::RunAsNonRoot, "true".to_owned()), (Slot::Image, "${I:=:1}".to_owned())];
        let text = fill(document(&value).unwrap(), &texts);
        assert_eq!(text, "a: true\nb: --x=${I:=:1}\n");
    }
}
