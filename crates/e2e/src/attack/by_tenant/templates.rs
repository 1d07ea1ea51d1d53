//! Go templates of the haproxy configuration.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use crate::attack::fixture::{Fixture, has_conditions};
use crate::attack::hostile::Simulated;
use crate::attack::table::{Attack, AttackGroup, AttackResult, Attacker, Target};
use crate::attack::text::nested;

pub(super) fn all() -> Vec<Attack> {
    let parsed = AttackGroup::new("templates", Attacker::Tenant, Target::Both)
        .gate("length and depth of a template are checked before it is parsed")
        .add("a template of 1,000 nested parentheses", |s| {
            parse(s, format!("{{{{ {} }}}}", nested("(", 1000, "1", ")")))
        })
        .add("a template of 5,000 nested conditions", |s| {
            parse(s, nested("{{ if true }}", 5000, "x", "{{ end }}"))
        })
        .add("a template of 5,000 nested loops", |s| {
            parse(s, nested("{{ range .BackendServers }}", 5000, "x", "{{ end }}"))
        })
        .add("a template with a pipe of 50,000 parts", |s| {
            parse(s, format!("{{{{ 1 {} }}}}", "| print ".repeat(50_000)))
        })
        .add("a template of 20,000 fields of a field", |s| {
            parse(s, format!("{{{{ .a{} }}}}", ".a".repeat(20_000)))
        })
        .add("a template of a megabyte that never ends", |s| parse(s, "{{ if ".repeat(170_000)))
        .end();
    let rendered = AttackGroup::new("templates", Attacker::Tenant, Target::Both)
        .gate("what a template may do while it is rendered is counted")
        .add("a template that calls itself for ever", |s| {
            render(s, r#"{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}"#.into())
        })
        .add("a template that doubles its text 40 times", |s| render(s, doubling(40)))
        .add("a template that pads to a thousand million characters", |s| {
            render(s, r#"{{ printf "%1000000000d" 1 }}"#.into())
        })
        .add("a template with loops in loops", |s| {
            render(s, nested("{{ range .BackendServers }}", 60, "x", "{{ end }}"))
        })
        .end();
    [parsed, rendered].into_iter().flatten().collect()
}

fn doubling(times: usize) -> String {
    let mut text = r#"{{ define "t0" }}xxxxxxxx{{ end }}"#.to_owned();
    for level in 1..=times {
        let before = level - 1;
        text.push_str(&format!(
            r#"{{{{ define "t{level}" }}}}{{{{ template "t{before}" . }}}}{{{{ template "t{before}" . }}}}{{{{ end }}}}"#
        ));
    }
    text + &format!(r#"{{{{ template "t{times}" . }}}}"#)
}

/// The template is parsed before the server is contacted.
async fn parse(fixture: Arc<Fixture>, template: String) -> AttackResult {
    let spec = json!({
        "secretRef": { "name": "nobody" }, "unprivileged": true,
        "loadBalancer": { "lxc": { "customHAProxyConfigTemplate": template } },
    });
    // Refused at once, or by a condition.
    if fixture.lxc_cluster(spec).await.is_ok() {
        fixture.judged_cluster().await?;
    }
    Ok(())
}

/// The template is rendered for a load balancer that runs on the tenant's server.
async fn render(fixture: Arc<Fixture>, template: String) -> AttackResult {
    let incus = Simulated::start().await?;
    fixture.secret("identity", incus.identity()?).await?;
    let image = json!({ "image": { "name": "capn/test" } });
    let spec = json!({
        "secretRef": { "name": "identity" }, "unprivileged": true,
        "loadBalancer": { "lxc": {
            "instanceSpec": image, "customHAProxyConfigTemplate": template,
        } },
    });
    if fixture.lxc_cluster(spec).await.is_ok() {
        // It is rendered for two control planes before anything is created; errors become a
        // condition.
        let judged = fixture.judged_cluster().await?;
        ensure!(has_conditions(&judged), "a controller does not come back from the template");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    fixture.keep(incus);
    Ok(())
}
