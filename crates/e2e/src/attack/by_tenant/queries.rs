//! Query parameters.

use std::sync::Arc;

use anyhow::ensure;
use serde_json::json;

use crate::attack::fixture::Fixture;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};

pub(super) fn all() -> Vec<Attack> {
    AttackGroup::new("parameters", Attacker::Tenant, Target::Serve)
        .gate("numbers are read within their bounds, and a panic ends no process")
        .add("timeoutSeconds of 2^63-1", |s| each(s, "watch=true&timeoutSeconds=", NUMBERS))
        .add("limits of every size", |s| each(s, "limit=", NUMBERS))
        .add("resource versions of every size", |s| each(s, "resourceVersion=", NUMBERS))
        .add("resource versions of every size, watched", |s| {
            each(s, "watch=true&timeoutSeconds=1&resourceVersion=", NUMBERS)
        })
        .add("places to continue that nobody gave out", |s| each(s, "limit=1&continue=", TOKENS))
        .add("parameters that contradict each other", |s| each(s, "", CONTRADICTIONS))
        .add("grace periods and preconditions of every size", deletes)
        .gate("the length of an address, with its query, is bounded")
        .add("a query with 7,000 parameters", |s| {
            let query: Vec<String> = (0..7000).map(|n| format!("a{n}=b")).collect();
            one(s, query.join("&"))
        })
        .add("a query of 60,000 percent signs", |s| one(s, "%".repeat(60_000)))
        .end()
}

const NUMBERS: &[&str] = &[
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "-9223372036854775808",
    "0",
    "1e9",
    "0x10",
    "1.5",
    "NaN",
    "%00",
    "+1",
    " 1",
    "99999999999",
    "4294967296",
    "2147483648",
    "\u{660}",
];
const TOKENS: &[&str] = &[
    "a",
    "%00",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIuLi8uLi8ifQ",
    "bnVsbA",
    "W10",
    "eyJydiI6OTIyMzM3MjAzNjg1NDc3NTgwN30",
    "e30",
    "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTEsInN0YXJ0IjoiY2FuYXJ5L2EifQ",
];
const CONTRADICTIONS: &[&str] = &[
    "watch=true&limit=1&continue=a",
    "sendInitialEvents=true",
    "watch=true&sendInitialEvents=true",
    "resourceVersionMatch=Exact",
    "resourceVersionMatch=NotOlderThan&resourceVersion=0&continue=a",
    "watch=true&watch=false",
    "dryRun=None",
    "fieldManager=",
    "allowWatchBookmarks=maybe",
    "watch=true&resourceVersionMatch=Exact&resourceVersion=1",
    "pretty=true&as=Table",
];

async fn one(fixture: Arc<Fixture>, query: String) -> AttackResult {
    drop(fixture.tenant.get(&format!("{}?{query}", fixture.core("configmaps"))).await);
    super::paths::too_long(&fixture, &format!("/healthz?{query}")).await
}

async fn each(fixture: Arc<Fixture>, parameter: &str, values: &[&str]) -> AttackResult {
    let map = json!({ "metadata": { "name": "map" } });
    fixture.tenant.post(&fixture.core("configmaps"), &map).await?.granted()?;
    let asked = values.iter().map(|value| {
        let value: String = match value.is_ascii() {
            true => value.replace(' ', "%20"),
            false => "%D9%A0".to_owned(),
        };
        let path = format!("{}?{parameter}{value}", fixture.core("configmaps"));
        let (caller, mine) = (fixture.tenant.again(), fixture.namespace.clone());
        async move {
            // Endless watches are not read to their end.
            let asked = caller.get(&path);
            if let Ok(Ok(answer)) =
                tokio::time::timeout(std::time::Duration::from_secs(2), asked).await
            {
                ensure!(
                    !answer.text().contains("\"namespace\":\"canary\""),
                    "objects of another namespace than {mine} came back for {path}"
                );
            }
            Ok(())
        }
    });
    futures::future::join_all(asked).await.into_iter().collect()
}

async fn deletes(fixture: Arc<Fixture>) -> AttackResult {
    for options in [
        r#"{"gracePeriodSeconds":-9223372036854775808}"#,
        r#"{"gracePeriodSeconds":9223372036854775807}"#,
        r#"{"preconditions":{"uid":"","resourceVersion":"18446744073709551616"}}"#,
        r#"{"propagationPolicy":"Everything"}"#,
        r#"{"orphanDependents":true,"propagationPolicy":"Foreground"}"#,
        r#"{"dryRun":["All","None"]}"#,
        r#"[]"#,
        r#""a""#,
    ] {
        let map = json!({ "metadata": { "name": "map" } });
        drop(fixture.tenant.post(&fixture.core("configmaps"), &map).await);
        let path = format!("{}/map", fixture.core("configmaps"));
        drop(fixture.tenant.call("DELETE", &path, crate::attack::client::JSON, options).await);
    }
    Ok(())
}
