use capn_template::flavor::{CLASS, find};

use super::values::Variables;
use super::*;
use crate::environment::Environment;

fn map(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn options_override_the_environment_which_overrides_the_file() {
    let given = Variables {
        options: map(&[("A", "option")]),
        variables: map(&[("A", "variable"), ("B", "variable")]),
        configured: map(&[("A", "file"), ("B", "file"), ("C", "file"), ("D", "file")]),
    };
    let all = [("A", "environment"), ("B", "environment"), ("C", "environment")];
    let values = given.values(["A", "B", "C", "D", "E"].into_iter(), &Environment::with(all));
    let expected = [("A", "option"), ("B", "variable"), ("C", "environment"), ("D", "file")];
    assert_eq!(values, map(&expected));
}

#[test]
fn lists_and_numbers_of_a_configuration_file_become_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = camino::Utf8PathBuf::try_from(dir.path().join("clusterctl.yaml")).unwrap();
    let text = "providers:\n- name: incus\nPOD_CIDR: [10.7.0.0/16]\nPRIVILEGED: false\n\
                WORKER_MACHINE_COUNT: 3\nLXC_SECRET_NAME: s\nEMPTY:\n";
    std::fs::write(&path, text).unwrap();
    let found = values::configured(&path).unwrap();
    let expected = [
        ("EMPTY", ""),
        ("LXC_SECRET_NAME", "s"),
        ("POD_CIDR", r#"["10.7.0.0/16"]"#),
        ("PRIVILEGED", "false"),
        ("WORKER_MACHINE_COUNT", "3"),
        ("providers", r#"[{"name":"incus"}]"#),
    ];
    assert_eq!(found, map(&expected));
    std::fs::write(&path, "- a\n").unwrap();
    let error = values::configured(&path).unwrap_err();
    assert!(error.to_string().ends_with("expected a map of names and values"), "{error}");
}

fn documents(name: &str) -> Vec<Document> {
    let read = LoadedTemplate::new(&source::of_flavor(find(name).unwrap())).unwrap();
    let values = map(&[
        ("CLUSTER_NAME", "demo"),
        ("KUBERNETES_VERSION", "v1.36.2"),
        ("LXC_SECRET_NAME", "s"),
        ("LOAD_BALANCER", "lxc: {}"),
    ]);
    read.documents(&values, "apart").unwrap()
}

#[test]
fn a_topology_includes_its_class_in_the_same_namespace() {
    let documents = documents("default");
    assert_eq!((documents[0].kind(), documents[0].name()), ("ClusterClass", CLASS));
    assert!(documents.iter().all(|document| document.namespace() == Some("apart")));
    assert_eq!(documents.iter().filter(|document| document.kind() == "Cluster").count(), 1);
    assert!(classes_to_add(&documents).is_empty());
}

#[test]
fn cluster_scoped_kinds_get_no_namespace() {
    let text = "kind: ClusterRole\napiVersion: rbac.authorization.k8s.io/v1\nmetadata: {name: a}\n";
    let document = Document::new(serde_saphyr::from_str(text).unwrap());
    assert_eq!(namespace::put(document, "apart").namespace(), None);
}
