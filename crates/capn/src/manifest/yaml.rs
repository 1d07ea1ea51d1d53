//! Reading and writing YAML.

use serde_json::Value;

use super::Document;
use crate::error::{CommandError, Doing as _};

/// Returns the documents as one YAML stream, with sorted keys.
///
/// # Errors
///
/// Returns an error only if a value has no YAML form, which does not happen with manifests.
pub fn to_yaml(documents: &[Document]) -> Result<String, CommandError> {
    let mut text = String::new();
    for document in documents {
        text.push_str("---\n");
        text.push_str(&value_to_yaml(document.value())?);
    }
    Ok(text)
}

/// Returns a single value as YAML.
///
/// # Errors
///
/// Like [`to_yaml`].
pub(crate) fn value_to_yaml(value: &Value) -> Result<String, CommandError> {
    // Long lines such as keys and selectors are not folded, so that they can be searched and
    // parsed.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text =
        serde_saphyr::to_string_with_options(value, options).doing("cannot write YAML")?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// Parses a stream of YAML or JSON documents. Skips empty documents and expands lists.
///
/// # Errors
///
/// Returns an error with the position of invalid YAML, or with the number of a document that is not
/// an object with `apiVersion`, `kind` and a name.
pub fn parse(text: &str) -> Result<Vec<Document>, CommandError> {
    // Without an excerpt, which may show a line of a Secret.
    let options = serde_saphyr::options! { with_snippet: false };
    let values: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .doing("the text is not valid YAML")?;
    let mut documents = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        let items = match value {
            Value::Null => continue,
            Value::Object(mut list) if list.get("kind").is_some_and(|kind| kind == "List") => {
                match list.remove("items") {
                    Some(Value::Array(items)) => items,
                    _ => Vec::new(),
                }
            }
            other => vec![other],
        };
        for item in items {
            let document = Document::new(item);
            for (what, is) in [
                ("apiVersion", document.api_version()),
                ("kind", document.kind()),
                ("metadata.name", document.name()),
            ] {
                if is.is_empty() {
                    let number = index + 1;
                    return Err(CommandError::new(format!("document {number} has no {what}")));
                }
            }
            documents.push(document);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_documents_and_lists_are_parsed() {
        let text = "---\n---\napiVersion: v1\nkind: List\nitems:\n\
                    - {apiVersion: v1, kind: Secret, metadata: {name: a}}\n---\n\
                    apiVersion: g/v2\nkind: B\nmetadata: {name: b}\n";
        let documents = parse(text).unwrap();
        let shown: Vec<String> = documents.iter().map(Document::shown).collect();
        assert_eq!(shown, ["secret/a", "b.g/b"]);
    }

    #[test]
    fn an_error_does_not_quote_the_document() {
        for text in ["kind: Secret\nstringData: {k: \"S3CRET", "password: S3CRET\nx: 1\n  y: [2\n"]
        {
            let error = parse(text).unwrap_err().render(|_, text| text.to_owned());
            assert!(!error.contains("S3CRET") && error.contains("line"), "{error}");
        }
    }

    #[test]
    fn a_document_without_a_kind_is_named_by_its_number() {
        let error = parse("apiVersion: v1\nkind: A\nmetadata: {name: a}\n---\nx: 1\n").unwrap_err();
        assert_eq!(error.to_string(), "document 2 has no apiVersion");
    }

    #[test]
    fn text_of_several_lines_stays_readable() {
        let document = Document::new(serde_json::json!({"content": "a: 1\nb: 2\n"}));
        assert_eq!(to_yaml(&[document]).unwrap(), "---\ncontent: |\n  a: 1\n  b: 2\n");
    }
}
