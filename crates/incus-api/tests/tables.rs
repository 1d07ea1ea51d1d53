//! Table tests of the types.

use incus_api::request::form_encode;
use incus_api::{
    Event, EventKind, EventLifecycle, ExecControl, ExecPost, FileHeaders, FileKind, Instance,
    InstanceFilter, InstanceSource, InstanceType, InstancesPost, Network, Operation,
    OperationClass, Reply, Request, StatusCode,
};
use serde_json::{Value, json};

#[test]
fn status_codes_round_trip_and_know_final_states() {
    for (number, code, is_final, success) in [
        (100, StatusCode::OperationCreated, false, false),
        (103, StatusCode::Running, false, false),
        (112, StatusCode::Error, false, false),
        (177, StatusCode::Other(177), false, false),
        (200, StatusCode::Success, true, true),
        (299, StatusCode::Other(299), true, true),
        (400, StatusCode::Failure, true, false),
        (401, StatusCode::Cancelled, true, false),
        (499, StatusCode::Other(499), true, false),
    ] {
        let read: StatusCode = serde_json::from_value(json!(number)).unwrap();
        assert_eq!(read, code);
        assert_eq!(serde_json::to_value(read).unwrap(), json!(number));
        assert_eq!((read.is_final(), read.is_success()), (is_final, success), "{number}");
    }
    assert_eq!(StatusCode::Cancelled.to_string(), "Cancelled");
    assert_eq!(StatusCode::Other(499).to_string(), "status 499");
}

#[test]
fn unknown_enum_values_are_kept() {
    for (word, class) in [
        ("task", OperationClass::Task),
        ("websocket", OperationClass::Websocket),
        ("newer", OperationClass::Other("newer".into())),
    ] {
        let read: OperationClass = serde_json::from_value(json!(word)).unwrap();
        assert_eq!(read, class);
        assert_eq!(serde_json::to_value(read).unwrap(), json!(word));
    }
    let kind: InstanceType = serde_json::from_value(json!("virtual-machine")).unwrap();
    assert_eq!(kind, InstanceType::VirtualMachine);
    let kind: InstanceType = serde_json::from_value(json!("unikernel")).unwrap();
    assert_eq!(kind.to_string(), "unikernel");
    let kind: EventKind = serde_json::from_value(json!("network-acl")).unwrap();
    assert_eq!((kind.as_str(), kind.clone()), ("network-acl", EventKind::NetworkAcl));
}

#[test]
fn null_is_empty_and_unknown_fields_are_ignored() {
    let instance: Instance = serde_json::from_value(json!({
        "name": "a", "config": null, "devices": null, "profiles": null, "expanded_config": null,
        "description": null, "invented_in_2030": {"x": 1},
    }))
    .unwrap();
    assert!(instance.config.is_empty() && instance.profiles.is_empty());
    let network: Network =
        serde_json::from_value(json!({"name": "lo", "used_by": null, "locations": null})).unwrap();
    assert!(network.used_by.is_empty());
    let operation: Operation =
        serde_json::from_value(json!({"resources": null, "metadata": null})).unwrap();
    assert!(operation.resources.is_empty() && !operation.concerns("/1.0/instances/a"));
}

#[test]
fn new_instances_serialize_only_set_fields() {
    let post = InstancesPost {
        name: "web".into(),
        source: InstanceSource::alias("debian/12"),
        ..InstancesPost::default()
    };
    assert_eq!(
        serde_json::to_value(&post).unwrap(),
        json!({
            "name": "web", "type": "container", "ephemeral": false, "config": {}, "devices": {},
            "source": {"type": "image", "alias": "debian/12"},
        })
    );
    let none = InstancesPost { profiles: Some(vec![]), start: true, ..post };
    let json = serde_json::to_value(&none).unwrap();
    assert_eq!((&json["profiles"], &json["start"]), (&json!([]), &json!(true)));
    assert_eq!(
        serde_json::to_value(InstanceSource::remote("https://x", "simplestreams", "a")).unwrap(),
        json!({
            "type": "image", "mode": "pull", "server": "https://x", "protocol": "simplestreams",
            "alias": "a",
        })
    );
}

#[test]
fn exec_uses_the_servers_spelling() {
    let post = ExecPost { command: vec!["id".into()], ..ExecPost::default() };
    let json = serde_json::to_value(&post).unwrap();
    assert_eq!(json["wait-for-websocket"], json!(false));
    assert_eq!(json["record-output"], json!(false));
    assert!(json.get("width").is_none());
    assert_eq!(
        serde_json::to_value(ExecControl::Signal { signal: 9 }).unwrap(),
        json!({"command": "signal", "signal": 9})
    );
    let resize = ExecControl::WindowResize { args: [("width".into(), "80".into())].into() };
    assert_eq!(
        serde_json::to_value(resize).unwrap(),
        json!({"command": "window-resize", "args": {"width": "80"}})
    );
}

#[test]
fn paths_and_queries_are_escaped() {
    for (request, expected) in [
        (Request::get(&[]), "/1.0"),
        (Request::get(&["instances", "a"]), "/1.0/instances/a"),
        (
            Request::get(&["images", "aliases", "capn/kubeadm/v1.36.0"]),
            "/1.0/images/aliases/capn%2Fkubeadm%2Fv1.36.0",
        ),
        (Request::get(&["x"]).query("path", "/a b/ü&=#"), "/1.0/x?path=%2Fa%20b%2F%C3%BC%26%3D%23"),
        (Request::get(&["x"]).query_opt("a", None).query_opt("b", Some("c")), "/1.0/x?b=c"),
    ] {
        assert_eq!(request.path_and_query(), expected);
    }
    assert_eq!(form_encode([("a", "b c"), ("d&", "=")]), "a=b%20c&d%26=%3D");
    let request = Request::put(&["x"]).if_match(Some("tag")).if_match(None).json(&1).unwrap();
    assert_eq!(request.headers(), [("If-Match".to_owned(), "tag".to_owned())]);
    assert_eq!(request.body(), Some(&Value::from(1)));
}

#[test]
fn operations_are_matched_to_resources() {
    for (listed, asked, expected) in [
        ("/1.0/instances/web", "/1.0/instances/web", true),
        ("/1.0/instances/web?project=lab", "/1.0/instances/web", true),
        ("/1.0/containers/web", "/1.0/instances/web", true),
        ("/1.0/instances/web", "/1.0/instances/we", false),
        ("/1.0/instances/web", "/1.0/images/web", false),
    ] {
        let resources = [("instances".to_owned(), vec![listed.to_owned()])].into();
        let operation = Operation { resources, ..Operation::default() };
        assert_eq!(operation.concerns(asked), expected, "{listed} {asked}");
    }
    let operation: Operation = serde_json::from_value(json!({
        "metadata": {"create_instance_from_image_unpack_progress": "Unpacking: 10%", "other": 1}
    }))
    .unwrap();
    assert_eq!(operation.progress(), Some("Unpacking: 10%"));
    assert_eq!(Operation::default().progress(), None);
}

#[test]
fn a_lifecycle_names_its_instance() {
    for (source, expected) in [
        ("/1.0/instances/web", Some("web")),
        ("/1.0/instances/web?project=lab", Some("web")),
        ("/1.0/containers/web/snapshots/s", Some("web")),
        ("/1.0/virtual-machines/vm", Some("vm")),
        ("/1.0/images/abc", None),
        ("/1.0/instances/", None),
        ("", None),
    ] {
        let event = EventLifecycle { source: source.into(), ..EventLifecycle::default() };
        assert_eq!(event.instance(), expected, "{source}");
    }
    assert!(Event::default().lifecycle().is_none());
}

#[test]
fn file_headers_are_sent_to_both_servers_and_read_from_either() {
    let headers = FileHeaders { kind: FileKind::File, mode: Some(0o640), uid: Some(1), gid: None };
    let sent = headers.to_headers();
    for (key, value) in [
        ("X-Incus-type", "file"),
        ("X-LXD-type", "file"),
        ("X-LXD-mode", "0640"),
        ("X-Incus-uid", "1"),
        ("X-Incus-write", "overwrite"),
    ] {
        assert!(sent.contains(&(key.into(), value.into())), "{key} in {sent:?}");
    }
    assert!(!sent.iter().any(|(key, _)| key.ends_with("gid")));
    for prefix in ["X-Incus-", "X-LXD-"] {
        let read = FileHeaders::from_headers(|name| {
            let field = name.strip_prefix(prefix)?;
            Some(match field {
                "type" => "symlink",
                "mode" => "0777",
                "uid" => "not a number",
                _ => return None,
            })
        });
        let expected =
            FileHeaders { kind: FileKind::Symlink, mode: Some(0o777), uid: None, gid: None };
        assert_eq!(read, expected);
    }
}

#[test]
fn only_safe_filters_are_sent_to_the_server() {
    let filter = InstanceFilter::new();
    for (filter, expected) in [
        (filter.clone(), None),
        (filter.clone().name("web"), Some("name eq web")),
        (filter.clone().config("user.a", "x"), Some("config.user.a eq x")),
        (
            filter.clone().config("user.a", "x").name("web"),
            Some("config.user.a eq x and name eq web"),
        ),
        (filter.clone().config("user.a", "x y"), None),
        (filter.clone().config("user.a", ""), None),
        (filter.clone().config("user.a", "x*").name("web"), Some("name eq web")),
    ] {
        assert_eq!(filter.expression().as_deref(), expected);
    }
    let mut instance = Instance { name: "web".into(), ..Instance::default() };
    instance.config.insert("user.a".into(), "x y".into());
    assert!(InstanceFilter::new().config("user.a", "x y").matches(&instance));
    assert!(!InstanceFilter::new().config("user.a", "x").matches(&instance));
    assert!(!InstanceFilter::new().config("user.b", "").matches(&instance));
    assert!(!InstanceFilter::new().name("we").matches(&instance));
}

#[test]
fn envelopes_are_read_and_written() {
    let operation = Operation { id: "abc".into(), ..Operation::default() };
    let written = Reply::async_json(&operation).to_string();
    assert_eq!(Reply::parse(written.as_bytes()).unwrap(), Reply::Async(Box::new(operation)));
    let written = Reply::error_json(404, "gone").to_string();
    let error = Reply::Error { code: 404, message: "gone".into() };
    assert_eq!(Reply::parse(written.as_bytes()).unwrap(), error);
    let written = Reply::sync_json(json!([1])).to_string();
    assert_eq!(Reply::parse(written.as_bytes()).unwrap(), Reply::Sync(json!([1])));

    // If the operation's body has no id, its path has.
    let json = r#"{"type":"async","operation":"/1.0/operations/xyz?project=p","metadata":{}}"#;
    let Reply::Async(operation) = Reply::parse(json.as_bytes()).unwrap() else { unreachable!() };
    assert_eq!(operation.id, "xyz");
    for wrong in ["", "[]", r#"{"type":"odd"}"#, r#"{"type":"async","metadata":3}"#] {
        assert!(Reply::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
