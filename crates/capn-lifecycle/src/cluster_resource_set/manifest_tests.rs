//! Tests of the parser for tenants' manifests.

use super::*;

fn values(values: &[(&str, &str)]) -> Values {
    values.iter().map(|(key, text)| ((*key).to_owned(), text.as_bytes().to_vec())).collect()
}

fn shown(texts: &[(&str, &str)]) -> Result<Vec<String>, String> {
    let read = parse(&values(texts)).map_err(|error| error.to_string())?;
    Ok(read.iter().map(ToString::to_string).collect())
}

fn object(kind: &str, name: &str) -> String {
    format!("apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}}}\n---\n")
}

#[test]
fn documents_of_a_value_are_sorted_as_upstream_sorts_them() {
    let first: String =
        ["Service", "Pod", "ConfigMap", "Role", "Secret", "CustomResourceDefinition", "Namespace"]
            .into_iter()
            .map(|kind| object(kind, "a"))
            .collect();
    let second = object("Namespace", "b");
    assert_eq!(
        shown(&[("2", &second), ("1", &first)]).unwrap(),
        [
            "Namespace a",
            "CustomResourceDefinition a",
            "Secret a",
            "ConfigMap a",
            "Pod a",
            "Service a",
            "Role a",
            "Namespace b",
        ]
    );
}

#[test]
fn yaml_json_and_lists_are_read() {
    let json =
        r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","namespace":"n"}}"#;
    for (text, expected) in [
        (json.to_owned(), vec!["Deployment n/d"]),
        (format!("[{json},{json}]"), vec!["Deployment n/d", "Deployment n/d"]),
        (format!("{json}\n---\n{json}"), vec!["Deployment n/d", "Deployment n/d"]),
        (format!("kind: List\napiVersion: v1\nitems: [{json}]"), vec!["Deployment n/d"]),
        ("kind: List\napiVersion: v1\n".to_owned(), vec![]),
        (format!("---\n# a comment\n---\n{json}\n---\n"), vec!["Deployment n/d"]),
        (String::new(), vec![]),
    ] {
        assert_eq!(shown(&[("k", &text)]).unwrap(), expected, "{text}");
    }
    let read = parse(&values(&[("k", json)])).unwrap();
    assert_eq!(
        serde_json::from_str::<Value>(&read[0].json).unwrap(),
        serde_json::from_str::<Value>(json).unwrap()
    );
}

#[test]
fn an_invalid_object_is_rejected_by_position_without_quoting_it() {
    let with =
        |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name:?}}}");
    let long = "hunter2".repeat(100);
    for (text, expected) in [
        ("hunter2: [", "key k: line 1: it is not YAML of the expected form"),
        ("hunter2", "key k: document 1 has no valid apiVersion"),
        ("[hunter2]", "key k: document 1 has no valid apiVersion"),
        ("apiVersion: v1\nhunter2: x", "key k: document 1 has no valid kind"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {generateName: hunter2}",
            "document 1 has no valid metadata.name",
        ),
        ("apiVersion: a/b/hunter2\nkind: Pod\nmetadata: {name: a}", "no valid apiVersion"),
        ("apiVersion: ../hunter2\nkind: Pod\nmetadata: {name: a}", "no valid apiVersion"),
        ("apiVersion: v1\nkind: Pod/hunter2\nmetadata: {name: a}", "no valid kind"),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: ../hunter2}",
            "no valid metadata.namespace",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: 7}",
            "no valid metadata.namespace",
        ),
        (&with("../hunter2"), "no valid metadata.name"),
        (&with(".."), "no valid metadata.name"),
        (&with("hunter2?dryRun=All"), "no valid metadata.name"),
        (&with("hunter2%2f"), "no valid metadata.name"),
        (&with("hunter2 x"), "no valid metadata.name"),
        (&with(&long), "no valid metadata.name"),
    ] {
        let error = shown(&[("k", text)]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{text}: {error}");
    }
    assert_eq!(shown(&[("k", &with("system:a:b"))]).unwrap(), ["ConfigMap system:a:b"]);
    let binary = Values::from([("k".to_owned(), vec![0xff, 0xfe])]);
    assert_eq!(parse(&binary).unwrap_err().to_string(), "key k is not text");
}

#[test]
fn excessive_input_is_rejected() {
    let many = object("Pod", "a").repeat(600);
    let deep = format!("a: {}{}", "[".repeat(1000), "]".repeat(1000));
    let long = " ".repeat(2 << 20);
    assert_eq!(shown(&[("a", &many)]).unwrap().len(), 600);
    for texts in
        [&[("a", many.as_str()), ("b", many.as_str())][..], &[("a", &deep)], &[("a", &long)]]
    {
        assert!(shown(texts).is_err());
    }
    assert_eq!(parse(&values(&[("a", &many), ("b", &many)])), Err(ManifestError::TooMany));
}

#[test]
fn the_hash_is_that_of_upstream() {
    // printf 'onetwo' | sha256sum
    assert_eq!(
        hash(&values(&[("b", "two"), ("a", "one")])),
        "sha256:25b6746d5172ed6352966a013d93ac846e1110d5a25e8f183b5931f4688842a1"
    );
    assert_ne!(hash(&values(&[("a", "1")])), hash(&values(&[("a", "2")])));
}
