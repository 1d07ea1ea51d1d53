//! Selectors of labels and fields.

use std::sync::Arc;

use serde_json::json;

use super::watches::open;
use crate::attack::scene::Scene;
use crate::attack::table::{Attack, Class, Done, On, Who};

pub(super) fn all() -> Vec<Attack> {
    Class::new("selectors", Who::Tenant, On::Serve)
        .gate("the length of a selector, its parts and values are bounded")
        .add("a selector of labels with 7,000 requirements", |s| {
            select(
                s,
                "labelSelector",
                (0..7000).map(|n| format!("a{n}!=b")).collect::<Vec<_>>().join(","),
            )
        })
        .add("a selector of labels with a set of 10,000 values", |s| {
            let values: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
            select(s, "labelSelector", format!("a+notin+({})", values.join(",")))
        })
        .add("a selector of labels of 60,000 parentheses", |s| {
            select(s, "labelSelector", "(".repeat(60_000))
        })
        .add("a selector of fields with 3,500 requirements", |s| {
            let parts = vec!["metadata.name!=a"; 3500];
            select(s, "fieldSelector", parts.join(","))
        })
        .add("a selector of fields of backslashes", |s| {
            select(s, "fieldSelector", format!("metadata.name={}", "%5C".repeat(20_000)))
        })
        .add("190 watches with a set of 60,000 empty values while much is written", watched)
        .end()
}

/// A selector is many times as large in memory as in the address, and each watch keeps its own.
async fn watched(scene: Arc<Scene>) -> Done {
    let set = ",".repeat(60_000);
    let path = format!("{}?watch=true&labelSelector=a+notin+({set})", scene.core("configmaps"));
    scene.keep(open(&scene.tenant, 190, &path).await?);
    // Each watch looks at each object that is written.
    for number in 0..40 {
        let map = json!({ "metadata": { "name": format!("m{number}"), "labels": { "a": "2" } } });
        drop(scene.tenant.post(&scene.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn select(scene: Arc<Scene>, kind: &'static str, selector: String) -> Done {
    for number in 0..20 {
        let map =
            json!({ "metadata": { "name": format!("map-{number}"), "labels": { "a": "1" } } });
        scene.tenant.post(&scene.core("configmaps"), &map).await?.granted()?;
    }
    let path = format!("{}?{kind}={selector}", scene.core("configmaps"));
    // Each way is tried, however the one before was answered.
    drop(scene.tenant.get(&path).await);
    drop(scene.tenant.get(&format!("{path}&watch=true&timeoutSeconds=1")).await);
    drop(scene.tenant.delete(&path).await);
    Ok(())
}
