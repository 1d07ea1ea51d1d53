//! Protobuf messages: field numbers as in Kubernetes' `generated.proto` files, which never change.

use FieldType::{
    Bool, BytesMap, Json, Message as Sub, Messages as Subs, MicroTime, Number, Text, TextMap,
    Texts, Time,
};

/// Fields of a message: number, JSON name, type.
pub(super) struct Message(pub(super) &'static [(u64, &'static str, FieldType)]);

#[derive(Clone, Copy)]
pub(super) enum FieldType {
    Number,
    Bool,
    Text,
    Texts,
    TextMap,
    BytesMap,
    Time,
    MicroTime,
    /// JSON as bytes in a message.
    Json,
    Message(&'static Message),
    Messages(&'static Message),
}

/// Returns the message of a kind.
pub(super) fn message(version: &str, kind: &str) -> Option<&'static Message> {
    Some(match (version, kind) {
        ("v1", "Namespace") => &NAMESPACE,
        ("v1", "ConfigMap") => &CONFIG_MAP,
        ("v1", "Secret") => &SECRET,
        ("v1", "ServiceAccount") => &SERVICE_ACCOUNT,
        ("v1", "Event") => &EVENT,
        ("events.k8s.io/v1", "Event") => &EVENTS_EVENT,
        ("coordination.k8s.io/v1", "Lease") => &LEASE,
        (_, "DeleteOptions") => &DELETE_OPTIONS,
        ("rbac.authorization.k8s.io/v1", "Role" | "ClusterRole") => &ROLE,
        ("rbac.authorization.k8s.io/v1", "RoleBinding" | "ClusterRoleBinding") => &BINDING,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => &RULES_REVIEW,
        ("authorization.k8s.io/v1", _) => &ACCESS_REVIEW,
        ("authentication.k8s.io/v1", "TokenReview") => &TOKEN_REVIEW,
        ("authentication.k8s.io/v1", _) => &REVIEW,
        _ => return None,
    })
}

pub(super) static UNKNOWN: Message = Message(&[(1, "typeMeta", Sub(&TYPE_META))]);

static TYPE_META: Message = Message(&[(1, "apiVersion", Text), (2, "kind", Text)]);

static METADATA: Message = Message(&[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", Time),
    (10, "deletionGracePeriodSeconds", Number),
    (11, "labels", TextMap),
    (12, "annotations", TextMap),
    (13, "ownerReferences", Subs(&OWNER)),
    (14, "finalizers", Texts),
    (17, "managedFields", Subs(&MANAGED)),
]);

static OWNER: Message = Message(&[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", Bool),
    (7, "blockOwnerDeletion", Bool),
]);

static MANAGED: Message = Message(&[
    (1, "manager", Text),
    (2, "operation", Text),
    (3, "apiVersion", Text),
    (4, "time", Time),
    (6, "fieldsType", Text),
    (7, "fieldsV1", Json),
    (8, "subresource", Text),
]);

static NAMESPACE: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "spec", Sub(&NAMESPACE_SPEC)),
    (3, "status", Sub(&NAMESPACE_STATUS)),
]);
static NAMESPACE_SPEC: Message = Message(&[(1, "finalizers", Texts)]);
static NAMESPACE_STATUS: Message = Message(&[(1, "phase", Text)]);

static CONFIG_MAP: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "data", TextMap),
    (3, "binaryData", BytesMap),
    (4, "immutable", Bool),
]);

static SECRET: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "data", BytesMap),
    (3, "type", Text),
    (4, "stringData", TextMap),
    (5, "immutable", Bool),
]);

static SERVICE_ACCOUNT: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "secrets", Subs(&REFERENCE)),
    (3, "imagePullSecrets", Subs(&LOCAL_REFERENCE)),
    (4, "automountServiceAccountToken", Bool),
]);

static REFERENCE: Message = Message(&[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
]);
static LOCAL_REFERENCE: Message = Message(&[(1, "name", Text)]);

static EVENT: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "involvedObject", Sub(&REFERENCE)),
    (3, "reason", Text),
    (4, "message", Text),
    (5, "source", Sub(&SOURCE)),
    (6, "firstTimestamp", Time),
    (7, "lastTimestamp", Time),
    (8, "count", Number),
    (9, "type", Text),
    (10, "eventTime", MicroTime),
    (11, "series", Sub(&SERIES)),
    (12, "action", Text),
    (13, "related", Sub(&REFERENCE)),
    (14, "reportingComponent", Text),
    (15, "reportingInstance", Text),
]);
static SOURCE: Message = Message(&[(1, "component", Text), (2, "host", Text)]);
static SERIES: Message = Message(&[(1, "count", Number), (2, "lastObservedTime", MicroTime)]);

static EVENTS_EVENT: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "eventTime", MicroTime),
    (3, "series", Sub(&SERIES)),
    (4, "reportingController", Text),
    (5, "reportingInstance", Text),
    (6, "action", Text),
    (7, "reason", Text),
    (8, "regarding", Sub(&REFERENCE)),
    (9, "related", Sub(&REFERENCE)),
    (10, "note", Text),
    (11, "type", Text),
    (12, "deprecatedSource", Sub(&SOURCE)),
    (13, "deprecatedFirstTimestamp", Time),
    (14, "deprecatedLastTimestamp", Time),
    (15, "deprecatedCount", Number),
]);

static LEASE: Message = Message(&[(1, "metadata", Sub(&METADATA)), (2, "spec", Sub(&LEASE_SPEC))]);
static LEASE_SPEC: Message = Message(&[
    (1, "holderIdentity", Text),
    (2, "leaseDurationSeconds", Number),
    (3, "acquireTime", MicroTime),
    (4, "renewTime", MicroTime),
    (5, "leaseTransitions", Number),
    (6, "strategy", Text),
    (7, "preferredHolder", Text),
]);

static DELETE_OPTIONS: Message = Message(&[
    (1, "gracePeriodSeconds", Number),
    (2, "preconditions", Sub(&PRECONDITIONS)),
    (3, "orphanDependents", Bool),
    (4, "propagationPolicy", Text),
    (5, "dryRun", Texts),
]);
static PRECONDITIONS: Message = Message(&[(1, "uid", Text), (2, "resourceVersion", Text)]);

static ROLE: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "rules", Subs(&RULE)),
    (3, "aggregationRule", Sub(&AGGREGATION)),
]);
static RULE: Message = Message(&[
    (1, "verbs", Texts),
    (2, "apiGroups", Texts),
    (3, "resources", Texts),
    (4, "resourceNames", Texts),
    (5, "nonResourceURLs", Texts),
]);
static AGGREGATION: Message = Message(&[(1, "clusterRoleSelectors", Subs(&SELECTOR))]);
static SELECTOR: Message =
    Message(&[(1, "matchLabels", TextMap), (2, "matchExpressions", Subs(&EXPRESSION))]);
static EXPRESSION: Message =
    Message(&[(1, "key", Text), (2, "operator", Text), (3, "values", Texts)]);
static BINDING: Message = Message(&[
    (1, "metadata", Sub(&METADATA)),
    (2, "subjects", Subs(&SUBJECT)),
    (3, "roleRef", Sub(&ROLE_REF)),
]);
static SUBJECT: Message =
    Message(&[(1, "kind", Text), (2, "apiGroup", Text), (3, "name", Text), (4, "namespace", Text)]);
static ROLE_REF: Message = Message(&[(1, "apiGroup", Text), (2, "kind", Text), (3, "name", Text)]);

/// Access reviews: the spec of a self review is the beginning of the spec of the others.
static ACCESS_REVIEW: Message =
    Message(&[(1, "metadata", Sub(&METADATA)), (2, "spec", Sub(&ACCESS_SPEC))]);
static ACCESS_SPEC: Message = Message(&[
    (1, "resourceAttributes", Sub(&RESOURCE_ATTRIBUTES)),
    (2, "nonResourceAttributes", Sub(&PATH_ATTRIBUTES)),
    (3, "user", Text),
    (4, "groups", Texts),
    (6, "uid", Text),
]);
static RESOURCE_ATTRIBUTES: Message = Message(&[
    (1, "namespace", Text),
    (2, "verb", Text),
    (3, "group", Text),
    (4, "version", Text),
    (5, "resource", Text),
    (6, "subresource", Text),
    (7, "name", Text),
]);
static PATH_ATTRIBUTES: Message = Message(&[(1, "path", Text), (2, "verb", Text)]);
static RULES_REVIEW: Message =
    Message(&[(1, "metadata", Sub(&METADATA)), (2, "spec", Sub(&RULES_SPEC))]);
static RULES_SPEC: Message = Message(&[(1, "namespace", Text)]);
static TOKEN_REVIEW: Message =
    Message(&[(1, "metadata", Sub(&METADATA)), (2, "spec", Sub(&TOKEN_SPEC))]);
static TOKEN_SPEC: Message = Message(&[(1, "token", Text), (2, "audiences", Texts)]);
static REVIEW: Message = Message(&[(1, "metadata", Sub(&METADATA))]);
