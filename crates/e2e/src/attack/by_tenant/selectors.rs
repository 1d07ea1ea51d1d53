//! Label and field selectors.

use std::sync::Arc;

use serde_json::json;

use super::watches::open;
use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("selectors", Attacker::Tenant, Target::Serve)
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

/// A selector takes many times more memory than its URL, and each watch keeps its own copy.
async fn watched(fixture: Arc<Fixture>) -> AttackResult {
    let set = ",".repeat(60_000);
    let path = format!("{}?watch=true&labelSelector=a+notin+({set})", fixture.core("configmaps"));
    fixture.keep(open(&fixture.tenant, 190, &path).await?);
    // Each watch evaluates each object that is written.
    for number in 0..40 {
        let map = json!({ "metadata": { "name": format!("m{number}"), "labels": { "a": "2" } } });
        drop(fixture.tenant.post(&fixture.core("configmaps"), &map).await);
    }
    Ok(())
}

async fn select(fixture: Arc<Fixture>, kind: &'static str, selector: String) -> AttackResult {
    for number in 0..20 {
        let map =
            json!({ "metadata": { "name": format!("map-{number}"), "labels": { "a": "1" } } });
        fixture.tenant.post(&fixture.core("configmaps"), &map).await?.granted()?;
    }
    let path = format!("{}?{kind}={selector}", fixture.core("configmaps"));
    // Every variant is tried, whatever the response to the previous one.
    drop(fixture.tenant.get(&path).await);
    drop(fixture.tenant.get(&format!("{path}&watch=true&timeoutSeconds=1")).await);
    drop(fixture.tenant.delete(&path).await);
    Ok(())
}
