use std::collections::HashMap;

use gtmpl_ng::{Context, FuncError, Value as GoValue};

use super::*;

fn release() -> Release {
    Release::new("v0.1.0", "ghcr.io/capn-rs/capn:v0.1.0").unwrap()
}

fn to_go(value: &Value) -> GoValue {
    match value {
        Value::Null => GoValue::Nil,
        Value::Bool(flag) => GoValue::from(*flag),
        Value::Number(number) => GoValue::from(number.as_i64().unwrap()),
        Value::String(text) => GoValue::from(text.clone()),
        Value::Array(items) => GoValue::Array(items.iter().map(to_go).collect()),
        Value::Object(fields) => {
            let fields: HashMap<String, GoValue> =
                fields.iter().map(|(key, value)| (key.clone(), to_go(value))).collect();
            GoValue::Object(fields)
        }
    }
}

fn from_go(value: &GoValue) -> Value {
    match value {
        GoValue::Bool(flag) => (*flag).into(),
        GoValue::String(text) => text.as_str().into(),
        GoValue::Number(number) => number.as_i64().into(),
        GoValue::Array(items) => items.iter().map(from_go).collect(),
        GoValue::Object(fields) | GoValue::Map(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), from_go(value))).collect()
        }
        _ => Value::Null,
    }
}

/// Helm's function with this name.
fn to_json(arguments: &[GoValue]) -> Result<GoValue, FuncError> {
    Ok(GoValue::from(from_go(&arguments[0]).to_string()))
}

/// Renders the templates like Helm, with values changed by `change`.
fn render(change: impl FnOnce(&mut Value)) -> Vec<Value> {
    let files = chart(&release()).unwrap();
    let file = |name: &str| &files.iter().find(|file| file.path == name).unwrap().text;
    let mut values: Value = serde_saphyr::from_str(file("capn/values.yaml")).unwrap();
    change(&mut values);
    let scope = json!({
        "Values": values, "Release": {"Namespace": "team"}, "Chart": {"AppVersion": "v0.1.0"},
    });
    let context = Context::from(to_go(&scope));
    let mut objects = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("capn/templates/")) {
        let mut engine = gtmpl_ng::Template::default();
        engine.add_func("toJson", to_json);
        engine.parse(file.text.as_str()).unwrap();
        let text = engine.render(&context).unwrap();
        if file.path.ends_with(".yaml") && !text.trim().is_empty() {
            objects.push(serde_saphyr::from_str(&text).unwrap());
        }
    }
    objects
}

fn kinds(objects: &[Value]) -> Vec<&str> {
    objects.iter().map(|object| object["kind"].as_str().unwrap()).collect()
}

#[test]
fn the_chart_makes_the_same_objects_as_the_components() {
    let objects = render(|_| {});
    let text = crate::clusterctl::components(&release()).unwrap();
    let text = text
        .replace("capn-system", "team")
        .replace("${CAPI_DIAGNOSTICS_ADDRESS:=:8443}", ":8443")
        .replace("${CAPI_INSECURE_DIAGNOSTICS:=false}", "false")
        .replace("${CAPN_RUN_AS_NON_ROOT:=true}", "true")
        .replace("${CAPN_RUN_AS_USER:=65532}", "65532")
        .replace("${CAPN_LOCAL_SOCKET_NAMESPACES:=default}", "default")
        .replace("${CAPN_VOLUMES:=[]}", "[]")
        .replace("${CAPN_VOLUME_MOUNTS:=[]}", "[]");
    let components: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    let manager: Vec<Value> = components
        .into_iter()
        .filter(|value| {
            !matches!(value["kind"].as_str(), Some("Namespace" | "CustomResourceDefinition"))
        })
        .collect();
    let by_name = |objects: Vec<Value>| {
        let mut objects = objects;
        objects.sort_by_key(|object| format!("{} {}", object["kind"], object["metadata"]["name"]));
        objects
    };
    assert_eq!(by_name(objects), by_name(manager));
}

#[test]
fn values_change_the_objects() {
    let objects = render(|values| {
        values["image"] = "mirror.example/capn@sha256:00".into();
        values["replicas"] = 2.into();
        values["runAsNonRoot"] = false.into();
        values["runAsUser"] = 0.into();
        values["volumes"] = json!([{"name": "s", "hostPath": {"path": "/run/incus.socket"}}]);
        values["networkPolicy"]["enabled"] = false.into();
        values["localSocketNamespaces"] = "lab,ci".into();
        values["serviceMonitor"]["enabled"] = true.into();
    });
    let found = kinds(&objects);
    for kind in ["ServiceMonitor", "Service", "Issuer", "Certificate"] {
        assert!(found.contains(&kind), "{found:?}");
    }
    assert!(!found.contains(&"NetworkPolicy"), "{found:?}");
    let monitor = objects.iter().find(|object| object["kind"] == "ServiceMonitor").unwrap();
    let certificate = objects.iter().find(|object| object["kind"] == "Certificate").unwrap();
    let tls = &monitor["spec"]["endpoints"][0]["tlsConfig"];
    assert_eq!(tls["ca"]["secret"]["name"], certificate["spec"]["secretName"]);
    assert_eq!(tls["serverName"], certificate["spec"]["dnsNames"][0]);
    assert_eq!(tls["serverName"], "capn-controller-manager-metrics.team.svc");
    assert_eq!(tls.get("insecureSkipVerify"), None);
    let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    let args = pod["containers"][0]["args"].to_string();
    assert!(args.contains("--local-socket-namespaces=lab,ci"), "{args}");
    assert_eq!(pod["containers"][0]["image"], "mirror.example/capn@sha256:00");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], false);
    assert_eq!(pod["volumes"][0]["hostPath"]["path"], "/run/incus.socket");
    assert_eq!(deployment["metadata"]["namespace"], "team");
}

#[test]
fn crds_are_in_the_crds_directory() {
    let files = chart(&release()).unwrap();
    let crds = files.iter().filter(|file| file.path.starts_with("capn/crds/"));
    let names: Vec<Value> = crds
        .map(|file| {
            serde_saphyr::from_str::<Value>(&file.text).unwrap()["metadata"]["name"].clone()
        })
        .collect();
    let types: Vec<Value> =
        capn_api::crds().into_iter().map(|crd| crd.metadata.name.into()).collect();
    assert_eq!(names, types);
    let chart: Value = serde_saphyr::from_str(&files[0].text).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!("0.1.0"), &json!("v0.1.0")));
}
