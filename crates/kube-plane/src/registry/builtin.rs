//! Built-in resources.

use std::sync::OnceLock;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{ConfigMap, Event, Namespace, Secret, ServiceAccount},
    events::v1::Event as EventsV1,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{
    Access, Column, Form, NameRule, Resource, SchemaSource, Source, definition::CRDS,
    resource::api_version,
};
use crate::jsonpath::JsonPath;

/// Groups that a definition may not use.
pub(super) const GROUPS: [&str; 6] = [
    "apiextensions.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "coordination.k8s.io",
    "events.k8s.io",
    RBAC,
];

const RBAC: &str = "rbac.authorization.k8s.io";

/// Id of the built-in schemas.
const SCHEMA: u64 = 1;

pub(super) fn resources() -> Vec<Resource> {
    let mut all = vec![
        Resource {
            namespaced: false,
            name_rule: NameRule::Label,
            status: true,
            short_names: names(&["ns"]),
            source: SchemaSource::Type(schema::<Namespace>),
            columns: columns([text("Status", ".status.phase")]),
            selectable: names(&["status.phase"]),
            ..core("namespaces", "Namespace")
        },
        Resource {
            source: SchemaSource::Type(schema::<Secret>),
            columns: columns([text("Type", ".type"), count("Data", &["data"])]),
            selectable: names(&["type"]),
            ..core("secrets", "Secret")
        },
        Resource {
            short_names: names(&["cm"]),
            source: SchemaSource::Type(schema::<ConfigMap>),
            columns: columns([count("Data", &["data"])]),
            ..core("configmaps", "ConfigMap")
        },
        Resource {
            short_names: names(&["sa"]),
            source: SchemaSource::Type(schema::<ServiceAccount>),
            columns: columns([count("Secrets", &["secrets"])]),
            ..core("serviceaccounts", "ServiceAccount")
        },
        Resource {
            short_names: names(&["ev"]),
            source: SchemaSource::Type(schema::<Event>),
            columns: event_columns(),
            selectable: names(&EVENT_FIELDS),
            ..core("events", "Event")
        },
        Resource {
            short_names: names(&["ev"]),
            source: SchemaSource::Type(schema::<EventsV1>),
            columns: event_columns(),
            selectable: names(&EVENT_FIELDS),
            storage: "events.".into(),
            storage_api_version: "v1".into(),
            form: Form::EventsV1,
            ..new("events.k8s.io", "v1", "events", "Event")
        },
        Resource {
            source: SchemaSource::Type(schema::<Lease>),
            columns: columns([text("Holder", ".spec.holderIdentity")]),
            ..new("coordination.k8s.io", "v1", "leases", "Lease")
        },
        Resource {
            namespaced: false,
            status: true,
            generation: true,
            short_names: names(&["crd", "crds"]),
            categories: names(&["api-extensions"]),
            unconditional: false,
            columns: Box::new([column("Created At", "date", Source::Path(created()))]),
            ..new(
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                "CustomResourceDefinition",
            )
        },
    ];
    debug_assert!(all.iter().any(|resource| *resource.storage == *CRDS));
    all.extend(roles());
    let empty = [
        ("", "pods", "Pod", true, &["po"][..], true),
        ("", "services", "Service", true, &["svc"], true),
        ("", "replicationcontrollers", "ReplicationController", true, &["rc"], true),
        ("", "nodes", "Node", false, &["no"], false),
        ("", "endpoints", "Endpoints", true, &["ep"], false),
        ("", "persistentvolumes", "PersistentVolume", false, &["pv"], false),
        ("", "persistentvolumeclaims", "PersistentVolumeClaim", true, &["pvc"], false),
        ("apps", "deployments", "Deployment", true, &["deploy"], true),
        ("apps", "daemonsets", "DaemonSet", true, &["ds"], true),
        ("apps", "replicasets", "ReplicaSet", true, &["rs"], true),
        ("apps", "statefulsets", "StatefulSet", true, &["sts"], true),
    ];
    all.extend(empty.map(|(group, plural, kind, namespaced, short, in_all)| Resource {
        namespaced,
        short_names: names(short),
        categories: names(if in_all { &["all"] } else { &[] }),
        access: Access::Empty,
        ..new(group, "v1", plural, kind)
    }));
    let reviews = [
        ("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview", false),
        ("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview", false),
        ("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview", false),
        ("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", true),
        ("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview", false),
        ("authentication.k8s.io", "tokenreviews", "TokenReview", false),
    ];
    all.extend(reviews.map(|(group, plural, kind, namespaced)| Resource {
        namespaced,
        access: Access::Review,
        columns: Box::new([]),
        ..new(group, "v1", plural, kind)
    }));
    all
}

/// Roles and bindings.
fn roles() -> [Resource; 4] {
    let role = |plural, kind, namespaced, schema| Resource {
        namespaced,
        name_rule: NameRule::Path,
        source: SchemaSource::Type(schema),
        columns: Box::new([column("Created At", "date", Source::Path(created()))]),
        ..new(RBAC, "v1", plural, kind)
    };
    let binding = |plural, kind, namespaced, schema| Resource {
        columns: columns([column("Role", "string", Source::RoleRef)]),
        ..role(plural, kind, namespaced, schema)
    };
    [
        role("roles", "Role", true, schema::<Role>),
        role("clusterroles", "ClusterRole", false, schema::<ClusterRole>),
        binding("rolebindings", "RoleBinding", true, schema::<RoleBinding>),
        binding("clusterrolebindings", "ClusterRoleBinding", false, schema::<ClusterRoleBinding>),
    ]
}

const EVENT_FIELDS: [&str; 12] = [
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
    "reportingController",
];

fn core(plural: &str, kind: &str) -> Resource {
    new("", "v1", plural, kind)
}

fn new(group: &str, version: &str, plural: &str, kind: &str) -> Resource {
    Resource {
        group: group.into(),
        version: version.into(),
        plural: plural.into(),
        singular: kind.to_lowercase().into(),
        kind: kind.into(),
        list_kind: format!("{kind}List").into(),
        short_names: Box::new([]),
        categories: Box::new([]),
        namespaced: true,
        access: Access::Full,
        name_rule: NameRule::Subdomain,
        storage: format!("{plural}.{group}").into(),
        storage_api_version: api_version(group, version).into(),
        form: Form::Same,
        status: false,
        scale: None,
        columns: columns([]),
        selectable: Box::new([]),
        unconditional: true,
        generation: false,
        builtin: true,
        deprecation: None,
        terminating: false,
        source: SchemaSource::None,
        schema_id: SCHEMA,
        compiled: OnceLock::new(),
    }
}

fn names(names: &[&str]) -> Box<[Box<str>]> {
    names.iter().map(|name| (*name).into()).collect()
}

/// The given columns and the age.
fn columns<const N: usize>(columns: [Column; N]) -> Box<[Column]> {
    columns.into_iter().chain([age()]).collect()
}

fn event_columns() -> Box<[Column]> {
    Box::new([
        column("Last Seen", "string", Source::LastSeen),
        text("Type", ".type"),
        text("Reason", ".reason"),
        column("Object", "string", Source::InvolvedObject),
        text("Message", ".message"),
    ])
}

fn text(name: &str, path: &str) -> Column {
    column(name, "string", Source::Path(JsonPath::parse(path).unwrap_or_default()))
}

fn count(name: &str, path: &'static [&'static str]) -> Column {
    column(name, "string", Source::Count(path))
}

fn created() -> JsonPath {
    JsonPath::parse(".metadata.creationTimestamp").unwrap_or_default()
}

/// Returns the column of every resource, unless its definition has other columns.
pub(super) fn age() -> Column {
    column("Age", "date", Source::Path(created()))
}

fn column(name: &str, kind: &str, source: Source) -> Column {
    Column {
        name: name.into(),
        kind: kind.into(),
        format: "".into(),
        description: "".into(),
        priority: 0,
        source,
    }
}

/// Returns the schema of a k8s-openapi type, without references.
pub(crate) fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Returns the schema of a type, and the schemas it refers to by name, for recursive types.
pub(crate) fn schema_with_parts<T: JsonSchema>() -> (Value, Map<String, Value>) {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.meta_schema = None;
        "/components/schemas".clone_into(settings.definitions_path.to_mut());
    });
    let mut generator = settings.into_generator();
    let schema = T::json_schema(&mut generator).to_value();
    (schema, generator.take_definitions(true))
}
