use std::borrow::Cow;

use serde_json::{Value, json};

use super::*;
use crate::{
    identity::AUTHENTICATED,
    rbac::{RequestTarget, ResourceAttributes},
};

fn objects() -> Vec<Part> {
    let rule = |verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]| json!({"verbs": verbs, "apiGroups": groups, "resources": resources, "resourceNames": names});
    let role = |name: &str, rules: &[Value]| json!({"metadata": {"name": name}, "rules": rules});
    let cluster_roles = [
        role("all", &[rule(&["*"], &["*"], &["*"], &[])]),
        role("secret-reader", &[rule(&["get", "watch", "list"], &[""], &["secrets"], &[])]),
        role("status", &[rule(&["update"], &["g.io"], &["*/status", "things/scale"], &[])]),
        role("one-map", &[rule(&["update", "get"], &[""], &["configmaps"], &["mine"])]),
        role("paths", &[json!({"verbs": ["get"], "nonResourceURLs": ["/metrics", "/logs/*"]})]),
    ];
    let pods = rule(&["get", "list"], &[""], &["pods", "pods/log"], &[]);
    let roles = [json!({"metadata": {"name": "pods", "namespace": "default"}, "rules": [pods]})];
    let binding = |name: &str, namespace: Option<&str>, role: (&str, &str), subject: Value| {
        json!({
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": GROUP, "kind": role.0, "name": role.1}, "subjects": [subject],
        })
    };
    let subject = |kind: &str, name: &str| json!({"kind": kind, "name": name});
    let account = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "bots"});
    let cluster = |name: &str, role: &str, subject: Value| {
        binding(name, None, ("ClusterRole", role), subject)
    };
    let cluster_bindings = [
        cluster("root", "all", subject("User", "root")),
        cluster("managers", "secret-reader", subject("Group", "manager")),
        cluster("robot", "status", account.clone()),
        cluster("maps", "one-map", subject("User", "jane")),
        cluster("paths", "paths", subject("User", "jane")),
        cluster("gone", "nowhere", subject("User", "lost")),
        cluster("bots", "one-map", subject("Group", "system:serviceaccounts:bots")),
    ];
    let bindings = [
        binding("pods", Some("default"), ("Role", "pods"), subject("User", "jane")),
        binding("dave", Some("dev"), ("ClusterRole", "secret-reader"), subject("User", "dave")),
        binding("elsewhere", Some("dev"), ("Role", "pods"), subject("User", "dave")),
        binding("robot", Some("dev"), ("ClusterRole", "all"), account),
    ];
    fn read<T: serde::de::DeserializeOwned>(values: impl IntoIterator<Item = Value>) -> Vec<T> {
        values.into_iter().map(|value| serde_json::from_value(value).unwrap()).collect()
    }
    let roles = read::<Role>(roles).into_iter().map(|role| Part::Role(role.into()));
    let cluster_roles = read::<ClusterRole>(cluster_roles).into_iter();
    let cluster_roles = cluster_roles.map(|role| Part::ClusterRole(role.into()));
    let bindings = read(bindings).into_iter().map(Part::Binding);
    let cluster_bindings = read(cluster_bindings).into_iter().map(Part::ClusterBinding);
    roles.chain(cluster_roles).chain(bindings).chain(cluster_bindings).collect()
}

/// `verb [group.]resource[/subresource] [-n namespace] [name]` or `verb /path`.
fn attributes(text: &str) -> Attributes<'_> {
    let mut words = text.split(' ');
    let verb = Cow::from(words.next().unwrap());
    let about = words.next().unwrap();
    if about.starts_with('/') {
        return Attributes { verb, target: RequestTarget::Path(about.into()) };
    }
    let (resource, subresource) = about.split_once('/').unwrap_or((about, ""));
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    let mut target = ResourceAttributes {
        group: group.into(),
        resource: resource.into(),
        subresource: subresource.into(),
        ..ResourceAttributes::default()
    };
    while let Some(word) = words.next() {
        if word == "-n" {
            target.namespace = words.next().unwrap().into();
        } else {
            target.name = word.into();
        }
    }
    Attributes { verb, target: RequestTarget::Resource(target) }
}

#[test]
fn names_follow_the_rules_of_kubernetes() {
    let policy = Policy::new(objects().iter());
    let robot = "system:serviceaccount:bots:robot";
    for (user, groups, what, allowed) in [
        // Everything, including subresources, all groups, and paths of no other rule.
        ("root", "", "delete things.g.io/status -n x a", true),
        ("root", "", "* *.*", true),
        ("root", "", "get /metrics", false),
        // A role in its namespace.
        ("jane", "", "list pods -n default", true),
        ("jane", "", "get pods/log -n default a", true),
        ("jane", "", "get pods/exec -n default a", false),
        ("jane", "", "create pods -n default", false),
        ("jane", "", "list pods -n other", false),
        ("jane", "", "list pods", false),
        ("jane", "", "list pods.apps -n default", false),
        // A cluster role in one namespace, and a role that is missing in the binding's namespace.
        ("dave", "", "get secrets -n dev a", true),
        ("dave", "", "get secrets -n prod a", false),
        ("dave", "", "list secrets", false),
        ("dave", "", "list pods -n dev", false),
        // A group in all namespaces.
        ("erik", "manager", "watch secrets", true),
        ("erik", "manager", "watch secrets -n any", true),
        ("erik", "manager", "delete secrets -n any a", false),
        ("erik", "managers", "watch secrets", false),
        ("manager", "", "watch secrets", false),
        // Names: no list and no create without one.
        ("jane", "", "update configmaps -n any mine", true),
        ("jane", "", "update configmaps -n any yours", false),
        ("jane", "", "get configmaps -n any", false),
        ("jane", "", "delete configmaps -n any mine", false),
        // Subresources.
        (robot, "", "update things.g.io/status -n x a", true),
        (robot, "", "update others.g.io/status -n x a", true),
        (robot, "", "update others.h.io/status -n x a", false),
        (robot, "", "update things.g.io -n x a", false),
        (robot, "", "update things.g.io/scale -n x a", true),
        (robot, "", "update others.g.io/scale -n x a", false),
        (robot, "", "delete secrets -n dev a", true),
        // Service accounts and their groups.
        ("robot", "", "update things.g.io/status -n x a", false),
        (robot, "", "get configmaps -n x mine", true),
        ("system:serviceaccount:bots:other", "", "get configmaps -n x mine", true),
        ("system:serviceaccount:dev:robot", "", "get configmaps -n x mine", false),
        // Paths.
        ("jane", "", "get /metrics", true),
        ("jane", "", "get /metrics/more", false),
        ("jane", "", "get /logs/", true),
        ("jane", "", "get /logs/a/b", true),
        ("jane", "", "get /logs", false),
        ("jane", "", "create /metrics", false),
        // Permissions of all users.
        ("nobody", "", "get /apis/g.io/v1", true),
        ("nobody", "", "get /version", true),
        ("nobody", "", "get /", false),
        ("nobody", "", "create selfsubjectaccessreviews.authorization.k8s.io", true),
        ("nobody", "", "create subjectaccessreviews.authorization.k8s.io", false),
        ("nobody", "", "get secrets -n default a", false),
        ("system:anonymous", "", "get /healthz", true),
        ("system:anonymous", "", "get /apis", false),
    ] {
        let groups = groups.split(' ').filter(|group| !group.is_empty()).map(str::to_owned);
        let who = Identity::named(user, groups.collect());
        let what_attributes = attributes(what);
        assert_eq!(policy.allows(&who, &what_attributes), allowed, "{user} {what}");
        assert_eq!(policy.decide(&who, &what_attributes).allowed, allowed, "{user} {what}");
    }
}

#[test]
fn decisions_give_a_reason() {
    let policy = Policy::new(objects().iter());
    let reason = |user: &str, groups: &[&str], what: &str| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        policy.decide(&Identity::named(user, groups), &attributes(what)).reason
    };
    assert_eq!(
        reason("jane", &[], "list pods -n default"),
        "RBAC: allowed by RoleBinding \"pods/default\" of Role \"pods\" to User \"jane\""
    );
    assert_eq!(
        reason("erik", &["manager"], "list secrets"),
        "RBAC: allowed by ClusterRoleBinding \"managers\" of ClusterRole \"secret-reader\" to \
         Group \"manager\""
    );
    assert_eq!(
        reason("lost", &[], "list secrets"),
        "RBAC: clusterrole.rbac.authorization.k8s.io \"nowhere\" not found"
    );
    assert_eq!(reason("jane", &[], "list secrets"), "");
}

#[test]
fn user_rules_combine_namespace_and_cluster_roles() {
    let policy = Policy::new(objects().iter());
    let resources = |user: &str, namespace: &str| {
        let who = Identity::named(user, Vec::new());
        let rules = policy.rules(&who, namespace).into_iter();
        let mut resources: Vec<String> =
            rules.flat_map(|rule| rule.resources.clone().unwrap_or_default()).collect();
        resources.sort();
        resources.join(" ")
    };
    let everybody = "selfsubjectaccessreviews selfsubjectreviews selfsubjectrulesreviews";
    assert_eq!(resources("nobody", "default"), everybody);
    assert_eq!(resources("jane", "default"), format!("configmaps pods pods/log {everybody}"));
    assert_eq!(resources("jane", "dev"), format!("configmaps {everybody}"));
    let who = Identity { user: "jane".into(), groups: Arc::new([]) };
    assert!(policy.decide(&who, &attributes("get /apis")).reason.is_empty());
    let who = Identity { user: "x".into(), groups: Arc::new([AUTHENTICATED.to_owned()]) };
    assert!(policy.allows(&who, &attributes("get /apis")));
}

#[test]
fn a_role_that_is_granted_many_times_counts_once() {
    let role = Part::Role(
        serde_json::from_value::<Role>(json!({
            "metadata": {"namespace": "default", "name": "large"},
            "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}],
        }))
        .unwrap()
        .into(),
    );
    let subjects = [
        json!({"kind": "User", "name": "jane"}),
        json!({"kind": "User", "name": "jane"}),
        json!({"kind": "Group", "name": "team"}),
    ];
    let bindings = (0..100).map(|n| {
        let binding = json!({
            "metadata": {"namespace": "default", "name": format!("b{n}")},
            "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "large"},
            "subjects": subjects,
        });
        Part::Binding(serde_json::from_value(binding).unwrap())
    });
    let parts: Vec<Part> = std::iter::once(role).chain(bindings).collect();
    let policy = Policy::new(parts.iter());
    let who = Identity::named("jane", vec!["team".to_owned()]);
    let pods = |rule: &&&PolicyRule| rule.resources.iter().flatten().any(|name| name == "pods");
    assert_eq!(policy.rules(&who, "default").iter().filter(pods).count(), 1);
}
