//! Roles, reviews and impersonation, in process.

use std::time::Duration;

use futures::StreamExt;
use http::Request;
use k8s_openapi::api::authorization::v1::{SelfSubjectAccessReview, SubjectAccessReview};
use kube::{
    Api, Client, Error,
    api::{ListParams, Patch, PatchParams, PostParams, WatchEvent},
};
use kube_plane::{Plane, PlaneOptions};
use serde_json::{Value, json};

use crate::support::{api, call, eventually, failure, get, plane, widget};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const JSON: &str = "application/json";

async fn create(client: &Client, path: &str, object: Value) {
    let body = object.to_string();
    call(client, "POST", path, JSON, &body).await.unwrap_or_else(|e| panic!("{path} {body}: {e}"));
}

/// A role in `default` and a binding of the same name to a subject.
async fn allow(client: &Client, name: &str, verbs: &[&str], resource: &str, subject: Value) {
    let rule = json!({"verbs": verbs, "apiGroups": ["example.org"], "resources": [resource]});
    let role = json!({"metadata": {"name": name}, "rules": [rule]});
    create(client, &format!("{RBAC}/namespaces/default/roles"), role).await;
    let binding = json!({
        "metadata": {"name": name}, "roleRef": {"kind": "Role", "name": name},
        "subjects": [subject],
    });
    create(client, &format!("{RBAC}/namespaces/default/rolebindings"), binding).await;
}

/// A GET with headers.
async fn get_with(client: &Client, path: &str, headers: &[(&str, &str)]) -> Result<Value, Error> {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    client.request(request.body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn a_user_has_only_the_permissions_of_their_roles() {
    let plane = plane().await;
    let admin = plane.client();
    let jane = plane.client_as("jane", &["dev"]);
    let list = || async { api(&jane).list(&ListParams::default()).await };
    let refused = failure(list().await);
    assert_eq!(refused.0, 403);
    assert_eq!(
        refused.2,
        "widgets.example.org is forbidden: User \"jane\" cannot list resource \"widgets\" in API \
         group \"example.org\" in the namespace \"default\""
    );
    let group = json!({"kind": "Group", "name": "dev"});
    allow(&admin, "read", &["list", "get"], "widgets", group).await;
    assert_eq!(list().await.unwrap().items.len(), 0);
    let new = widget("one", json!({"size": "S"}));
    let refused = failure(api(&jane).create(&PostParams::default(), &new).await);
    assert!(refused.2.contains("User \"jane\" cannot create resource \"widgets\""), "{refused:?}");
    api(&admin).create(&PostParams::default(), &new).await.unwrap();
    assert_eq!(list().await.unwrap().items.len(), 1);
    api(&jane).get("one").await.unwrap();
    let refused = failure(api(&jane).get_status("one").await);
    assert!(refused.2.contains("widgets.example.org \"one\" is forbidden"), "{refused:?}");
    assert!(refused.2.contains("cannot get resource \"widgets/status\""), "{refused:?}");
    let everywhere = get(&jane, "/apis/example.org/v1/widgets").await;
    assert!(failure(everywhere).2.ends_with("at the cluster scope"));
    // Removed permissions are gone with the next request.
    let binding = format!("{RBAC}/namespaces/default/rolebindings/read");
    call(&admin, "DELETE", &binding, JSON, "").await.unwrap();
    assert_eq!(failure(list().await).0, 403);
}

#[tokio::test]
async fn a_watch_ends_when_its_permission_is_revoked() {
    let plane = plane().await;
    let admin = plane.client();
    let jane = plane.client_as("jane", &[]);
    let user = || json!({"kind": "User", "name": "jane"});
    allow(&admin, "watch", &["watch"], "widgets", user()).await;
    let watch = |namespace: &str| {
        let path = format!("/apis/example.org/v1/namespaces/{namespace}/widgets?watch=1");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let jane = jane.clone();
        async move { jane.request_events::<Value>(request).await.map(StreamExt::boxed) }
    };
    let mut events = watch("default").await.unwrap();
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(60), events.next()).await;
        event.expect("an event within a minute")
    };
    let new = |name: &str| widget(name, json!({"size": "S"}));
    api(&admin).create(&PostParams::default(), &new("one")).await.unwrap();
    assert!(matches!(next().await, Some(Ok(WatchEvent::Added(_)))));
    // Another change of roles does not matter.
    allow(&admin, "list", &["list"], "widgets", user()).await;
    api(&admin).create(&PostParams::default(), &new("two")).await.unwrap();
    assert!(matches!(next().await, Some(Ok(WatchEvent::Added(_)))));
    let binding = format!("{RBAC}/namespaces/default/rolebindings/watch");
    call(&admin, "DELETE", &binding, JSON, "").await.unwrap();
    api(&admin).create(&PostParams::default(), &new("three")).await.unwrap();
    let Some(Ok(WatchEvent::Error(status))) = next().await else { panic!("the watch goes on") };
    assert_eq!(status.code, 403);
    assert!(status.message.contains("cannot watch resource \"widgets\""), "{status:?}");
    assert!(next().await.is_none());
}

#[tokio::test]
async fn an_apply_that_creates_needs_the_right_to_create() {
    let plane = plane().await;
    let admin = plane.client();
    let robot = plane.client_as("system:serviceaccount:default:robot", &[]);
    let account = json!({"kind": "ServiceAccount", "name": "robot", "namespace": "default"});
    allow(&admin, "patch", &["patch"], "widgets", account.clone()).await;
    let new = widget("one", json!({"size": "S"}));
    let apply = || async {
        let params = PatchParams::apply("robot");
        api(&robot).patch("one", &params, &Patch::Apply(&new)).await
    };
    let refused = failure(apply().await);
    assert!(refused.2.contains("cannot create resource \"widgets\""), "{refused:?}");
    allow(&admin, "create", &["create"], "widgets", account).await;
    apply().await.unwrap();
    apply().await.unwrap();
}

#[tokio::test]
async fn users_may_read_discovery_and_health_only() {
    let plane = plane().await;
    let jane = plane.client_as("jane", &[]);
    for path in ["/api", "/apis", "/apis/example.org/v1", "/openapi/v3", "/version"] {
        get(&jane, path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
    }
    // An unknown path reveals nothing to unauthorized users.
    for (path, message) in [
        ("/", "forbidden: User \"jane\" cannot get path \"/\""),
        ("/nothing", "forbidden: User \"jane\" cannot get path \"/nothing\""),
        ("/apis/x.io/v1/things", "things.x.io is forbidden: User \"jane\" cannot list resource"),
    ] {
        let (code, reason, found) = failure(get(&jane, path).await);
        assert_eq!((code, reason.as_str()), (403, "Forbidden"), "{path}");
        assert!(found.starts_with(message), "{found}");
    }
    let (code, ..) = failure(get(&plane.client(), "/apis/x.io/v1/things").await);
    assert_eq!(code, 404);
}

#[tokio::test]
async fn impersonation_needs_permission() {
    let plane = plane().await;
    let admin = plane.client();
    let maps = "/api/v1/namespaces/default/configmaps";
    let as_jane = [("Impersonate-User", "jane"), ("Impersonate-Group", "dev")];
    let refused = failure(get_with(&admin, maps, &as_jane).await);
    assert!(refused.2.contains("User \"jane\" cannot list resource \"configmaps\""), "{refused:?}");
    let masters = [("Impersonate-User", "jane"), ("Impersonate-Group", "system:masters")];
    get_with(&admin, maps, &masters).await.unwrap();
    // A user needs permission for the user and for each group.
    let proxy = plane.client_as("proxy", &[]);
    let refused = failure(get_with(&proxy, "/version", &as_jane).await);
    assert_eq!(
        refused.2,
        "users \"jane\" is forbidden: User \"proxy\" cannot impersonate resource \"users\" in API \
         group \"\" at the cluster scope"
    );
    let rules = json!([
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["jane"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["serviceaccounts"]},
    ]);
    let role = json!({"metadata": {"name": "proxy"}, "rules": rules});
    create(&admin, &format!("{RBAC}/clusterroles"), role).await;
    let binding = json!({
        "metadata": {"name": "proxy"}, "roleRef": {"kind": "ClusterRole", "name": "proxy"},
        "subjects": [{"kind": "User", "name": "proxy"}],
    });
    create(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    get_with(&proxy, "/version", &as_jane[..1]).await.unwrap();
    let refused = failure(get_with(&proxy, "/version", &masters).await);
    assert!(refused.2.starts_with("groups \"system:masters\" is forbidden"), "{refused:?}");
    let robot = [("Impersonate-User", "system:serviceaccount:default:robot")];
    get_with(&proxy, "/version", &robot).await.unwrap();
    // Incomplete or unsupported impersonation must not succeed silently.
    for headers in [
        &[("Impersonate-Group", "dev")][..],
        &[("Impersonate-User", "jane"), ("Impersonate-Uid", "1")],
        &[("Impersonate-Extra-Scopes", "x")],
    ] {
        assert_eq!(failure(get_with(&admin, "/version", headers).await).0, 400, "{headers:?}");
    }
}

#[tokio::test]
async fn access_reviews_match_authorization() {
    let plane = plane().await;
    let admin = plane.client();
    let jane = plane.client_as("jane", &["dev"]);
    let group = json!({"kind": "Group", "name": "dev"});
    allow(&admin, "read", &["list"], "widgets", group).await;
    let asked = |verb: &str| json!({"verb": verb, "group": "example.org", "resource": "widgets", "namespace": "default"});
    let myself = |client: &Client, verb: &str| {
        let review: SelfSubjectAccessReview =
            serde_json::from_value(json!({"spec": {"resourceAttributes": asked(verb)}})).unwrap();
        let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
        async move { api.create(&PostParams::default(), &review).await.unwrap().status.unwrap() }
    };
    assert!(myself(&admin, "delete").await.allowed);
    assert!(!myself(&jane, "delete").await.allowed);
    let status = myself(&jane, "list").await;
    assert!(status.allowed);
    let reason = "RBAC: allowed by RoleBinding \"read/default\" of Role \"read\" to Group \"dev\"";
    assert_eq!(status.reason.as_deref(), Some(reason));

    let others = |client: &Client, spec: Value| {
        let review: SubjectAccessReview = serde_json::from_value(json!({ "spec": spec })).unwrap();
        let api: Api<SubjectAccessReview> = Api::all(client.clone());
        async move { api.create(&PostParams::default(), &review).await }
    };
    let spec = json!({"user": "erik", "groups": ["dev"], "resourceAttributes": asked("list")});
    assert!(others(&admin, spec.clone()).await.unwrap().status.unwrap().allowed);
    assert_eq!(failure(others(&jane, spec).await).0, 403);
    let alone = json!({"user": "erik", "resourceAttributes": asked("list")});
    assert!(!others(&admin, alone).await.unwrap().status.unwrap().allowed);
    let path = json!({"groups": ["system:authenticated"],
        "nonResourceAttributes": {"verb": "get", "path": "/apis"}});
    assert!(others(&admin, path).await.unwrap().status.unwrap().allowed);
    for wrong in [json!({"resourceAttributes": asked("list")}), json!({"user": "erik"})] {
        assert_eq!(failure(others(&admin, wrong).await).0, 422);
    }

    let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
    for (namespace, code) in [("default", None), ("other", Some(422))] {
        let mut asked = asked("list");
        asked["namespace"] = namespace.into();
        let body = json!({"spec": {"user": "x", "groups": ["dev"], "resourceAttributes": asked}});
        let answer = call(&admin, "POST", local, JSON, &body.to_string()).await;
        match code {
            None => assert_eq!(answer.unwrap()["status"]["allowed"], true),
            Some(code) => assert_eq!(failure(answer).0, code),
        }
    }

    let rules = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
    let body = json!({"spec": {"namespace": "default"}}).to_string();
    let answer = call(&jane, "POST", rules, JSON, &body).await.unwrap();
    let found = answer["status"]["resourceRules"].to_string();
    assert!(found.contains("\"widgets\"") && !found.contains("\"*\""), "{found}");
    let answer = call(&admin, "POST", rules, JSON, &body).await.unwrap();
    assert_eq!(answer["status"]["resourceRules"][0]["verbs"], json!(["*"]));

    let token = "/apis/authentication.k8s.io/v1/tokenreviews";
    let body = json!({"spec": {"token": "x"}}).to_string();
    let answer = call(&admin, "POST", token, JSON, &body).await.unwrap();
    assert_eq!(answer["status"]["authenticated"], false);
    assert_eq!(failure(call(&jane, "POST", token, JSON, &body).await).0, 403);
}

#[tokio::test]
async fn role_bindings_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let path = Some(dir.path().join("plane.db"));
        Plane::open(PlaneOptions { path, ..PlaneOptions::default() })
    };
    let plane = open().await.unwrap();
    let binding = json!({
        "metadata": {"name": "me"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "me"}],
    });
    create(&plane.client(), &format!("{RBAC}/clusterrolebindings"), binding).await;
    plane.close().await;
    let plane = open().await.unwrap();
    get(&plane.client_as("me", &[]), "/").await.unwrap();
    get(&plane.client_as("me", &[]), "/api/v1/secrets").await.unwrap();
    assert_eq!(failure(get(&plane.client_as("you", &[]), "/api/v1/secrets").await).0, 403);
    plane.close().await;
}

async fn try_create(client: &Client, path: &str, object: Value) -> Result<Value, Error> {
    call(client, "POST", path, JSON, &object.to_string()).await
}

#[tokio::test]
async fn roles_cannot_grant_more_than_their_author_has() {
    let plane = plane().await;
    let admin = plane.client();
    let jane = plane.client_as("jane", &[]);
    let user = json!({"kind": "User", "name": "jane"});
    let roles = format!("{RBAC}/namespaces/default/roles");
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let rule = |verbs: &[&str], resource: &str| {
        let group = if resource == "widgets" { "example.org" } else { "rbac.authorization.k8s.io" };
        json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]})
    };
    let role = |name: &str, rules: &[Value]| json!({"metadata": {"name": name}, "rules": rules});
    let bind = |name: &str, kind: &str, role: &str, subject: &Value| {
        json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role},
            "subjects": [subject]})
    };
    let mine = [
        rule(&["get", "list"], "widgets"),
        rule(&["create", "update", "patch", "get"], "roles"),
        rule(&["create", "update", "patch"], "rolebindings"),
    ];
    create(&admin, &roles, role("jane", &mine)).await;
    create(&admin, &bindings, bind("jane", "Role", "jane", &user)).await;
    create(&admin, &roles, role("all", &[rule(&["*"], "widgets")])).await;

    let refused =
        failure(try_create(&jane, &roles, role("r", &[rule(&["delete"], "widgets")])).await);
    assert_eq!(refused.0, 403);
    assert!(
        refused.2.contains("attempting to grant RBAC permissions not currently held"),
        "{refused:?}"
    );
    assert!(refused.2.contains("Resources:[\"widgets\"], Verbs:[\"delete\"]"), "{refused:?}");
    create(&jane, &roles, role("r", &[rule(&["get"], "widgets")])).await;
    let more = json!({"rules": [rule(&["get", "delete"], "widgets")]}).to_string();
    let path = format!("{roles}/r");
    let merge = "application/merge-patch+json";
    assert_eq!(failure(call(&jane, "PATCH", &path, merge, &more).await).0, 403);
    let apply = role("r", &[rule(&["*"], "widgets")]);
    let mut apply = apply.as_object().unwrap().clone();
    apply.extend([
        ("apiVersion".to_owned(), json!("rbac.authorization.k8s.io/v1")),
        ("kind".to_owned(), json!("Role")),
    ]);
    let apply = Value::Object(apply).to_string();
    for path in [format!("{path}?fieldManager=m&force=true"), format!("{roles}/new?fieldManager=m")]
    {
        let body = apply.replace("\"r\"", if path.contains("/new") { "\"new\"" } else { "\"r\"" });
        let found = call(&jane, "PATCH", &path, "application/apply-patch+yaml", &body).await;
        assert_eq!(failure(found).0, 403, "{path}");
    }
    let label = r#"{"metadata": {"labels": {"a": "b"}}}"#;
    call(&jane, "PATCH", &path, merge, label).await.unwrap();

    // Bindings to roles with more permissions than the user has, or to a missing role.
    for (kind, name) in [("Role", "all"), ("ClusterRole", "cluster-admin"), ("Role", "none")] {
        let refused = failure(try_create(&jane, &bindings, bind("b", kind, name, &user)).await);
        assert_eq!(refused.0, 403, "{kind} {name}: {refused:?}");
    }
    create(&jane, &bindings, bind("good", "Role", "r", &json!({"kind": "User", "name": "erik"})))
        .await;
    // The verbs `bind` and `escalate` allow it.
    let verbs = [rule(&["bind"], "roles"), rule(&["escalate"], "roles")];
    create(&admin, &roles, role("verbs", &verbs)).await;
    create(&admin, &bindings, bind("verbs", "Role", "verbs", &user)).await;
    create(&jane, &bindings, bind("b", "Role", "all", &user)).await;
    call(&jane, "PATCH", &path, merge, &more).await.unwrap();
    let refused = failure(
        try_create(&jane, &bindings, bind("c", "ClusterRole", "cluster-admin", &user)).await,
    );
    assert_eq!(refused.0, 403, "bind is about roles only");
}

#[tokio::test]
async fn aggregated_cluster_roles_collect_rules() {
    let plane = plane().await;
    let admin = plane.client();
    let roles = format!("{RBAC}/clusterroles");
    let rule = |verb: &str| json!({"verbs": [verb], "apiGroups": ["example.org"], "resources": ["widgets"]});
    let sum = |name: &str, key: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels}, "aggregationRule": {
            "clusterRoleSelectors": [{"matchLabels": {key: "true"}}]}})
    };
    create(&admin, &roles, sum("top", "to-top", json!({}))).await;
    create(&admin, &roles, sum("middle", "to-middle", json!({"to-top": "true"}))).await;
    // Roles that select each other converge too.
    create(&admin, &roles, sum("x", "to-x", json!({"to-y": "true"}))).await;
    create(&admin, &roles, sum("y", "to-y", json!({"to-x": "true"}))).await;
    for (name, label) in [("one", "to-middle"), ("two", "to-top"), ("three", "to-x")] {
        let part =
            json!({"metadata": {"name": name, "labels": {label: "true"}}, "rules": [rule(name)]});
        create(&admin, &roles, part).await;
    }
    let verbs = |name: &str| {
        let (admin, path) = (admin.clone(), format!("{roles}/{name}"));
        async move {
            let role = get(&admin, &path).await.unwrap();
            let rules = role["rules"].as_array().cloned().unwrap_or_default();
            let mut verbs: Vec<String> =
                rules.iter().map(|rule| rule["verbs"][0].as_str().unwrap().to_owned()).collect();
            verbs.sort();
            verbs.join(" ")
        }
    };
    for (name, expected) in [("top", "one two"), ("middle", "one"), ("x", "three"), ("y", "three")]
    {
        eventually(&format!("{name} has {expected}"), || async { verbs(name).await == expected })
            .await;
    }
    let other = r#"{"metadata": {"labels": {"to-middle": null}}}"#;
    call(&admin, "PATCH", &format!("{roles}/one"), "application/merge-patch+json", other)
        .await
        .unwrap();
    eventually("the rule is gone", || async { verbs("top").await == "two" }).await;
    // An aggregation rule needs all permissions, since others write the collected rules.
    let jane = plane.client_as("jane", &[]);
    let write = json!({"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"]});
    create(&admin, &roles, json!({"metadata": {"name": "writer"}, "rules": [write]})).await;
    let binding = json!({"metadata": {"name": "writer"}, "roleRef": {"kind": "ClusterRole", "name": "writer"},
        "subjects": [{"kind": "User", "name": "jane"}]});
    create(&admin, &format!("{RBAC}/clusterrolebindings"), binding).await;
    assert_eq!(failure(try_create(&jane, &roles, sum("mine", "to-mine", json!({}))).await).0, 403);
}

#[tokio::test]
async fn names_in_paths_are_decoded() {
    let plane = plane().await;
    let admin = plane.client();
    let roles = format!("{RBAC}/clusterroles");
    for (name, encoded) in [("a b", "a%20b"), ("system:node", "system%3Anode")] {
        create(&admin, &roles, json!({"metadata": {"name": name}})).await;
        let read = get(&admin, &format!("{roles}/{encoded}")).await.unwrap();
        assert_eq!(read["metadata"]["name"], name);
        call(&admin, "DELETE", &format!("{roles}/{encoded}"), JSON, "").await.unwrap();
    }
    for bad in ["a%2Fb", "%2e%2e", "a%00", "%zz"] {
        assert_eq!(failure(get(&admin, &format!("{roles}/{bad}")).await).0, 400, "{bad}");
    }
}
