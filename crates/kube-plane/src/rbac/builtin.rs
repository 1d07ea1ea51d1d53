//! Default roles of Kubernetes, which are not stored and cannot be removed.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::identity::{AUTHENTICATED, UNAUTHENTICATED};

/// The role with all permissions. It is created when a plane is opened, if it is missing.
pub(crate) const CLUSTER_ADMIN: &str = "cluster-admin";

/// A default role and its groups.
pub(super) struct DefaultRole {
    pub(super) name: &'static str,
    pub(super) groups: &'static [&'static str],
    pub(super) rules: Vec<PolicyRule>,
}

/// Returns the default roles.
pub(super) fn defaults() -> [DefaultRole; 3] {
    let paths = |paths: &[&str]| PolicyRule {
        verbs: texts(&["get"]),
        non_resource_urls: Some(texts(paths)),
        ..PolicyRule::default()
    };
    let create = |group: &str, resources: &[&str]| PolicyRule {
        verbs: texts(&["create"]),
        api_groups: Some(texts(&[group])),
        resources: Some(texts(resources)),
        ..PolicyRule::default()
    };
    [
        DefaultRole {
            name: "system:basic-user",
            groups: &[AUTHENTICATED],
            rules: vec![
                create(
                    "authorization.k8s.io",
                    &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ),
                create("authentication.k8s.io", &["selfsubjectreviews"]),
            ],
        },
        DefaultRole {
            name: "system:discovery",
            groups: &[AUTHENTICATED],
            rules: vec![paths(&["/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"])],
        },
        DefaultRole {
            name: "system:public-info-viewer",
            groups: &[AUTHENTICATED, UNAUTHENTICATED],
            rules: vec![paths(&[
                "/healthz",
                "/healthz/*",
                "/livez",
                "/livez/*",
                "/readyz",
                "/readyz/*",
                "/version",
                "/version/*",
            ])],
        },
    ]
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}
