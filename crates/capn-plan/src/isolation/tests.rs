use incus_api::{Instance, StatusCode};

use super::*;
use crate::devices as strings;

const PRIVILEGED: &str = "security.privileged";

/// The page with the table of allowed settings per isolation.
const PAGE: &str = include_str!("../../../../docs/understand/security.md");

/// Description, an example, and whether it is allowed in each isolation.
type Row = (String, String, Vec<(Isolation, bool)>);

/// Parses the rows of the page's table: description, example, and whether each isolation allows it.
fn rows() -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let rows = PAGE
        .lines()
        .filter(|line| line.starts_with("| config |") || line.starts_with("| device |"));
    rows.map(|line| {
        let cells = cells(line);
        let [what, example, shared, isolated, privileged, ..] = cells.as_slice() else {
            panic!("not a row: {line}");
        };
        let allowed = |cell: &str| match cell {
            "yes" => true,
            "no" => false,
            other => panic!("{other:?} is neither yes nor no: {line}"),
        };
        let modes = [
            (Isolation::Shared, allowed(shared)),
            (Isolation::Isolated, allowed(isolated)),
            (Isolation::Privileged, allowed(privileged)),
        ];
        (what.clone(), example.trim_matches('`').to_owned(), modes.to_vec())
    })
    .collect()
}

fn example(what: &str, example: &str, isolation: Isolation) -> (Config, Devices) {
    let mut config = Config::new();
    if isolation == Isolation::Isolated {
        config.insert(OWN_IDS.into(), "true".into());
    }
    if what == "device" {
        return (config, strings::parse(&[example.to_owned()]).unwrap());
    }
    let (key, value) = example.split_once('=').unwrap();
    config.insert(key.into(), value.into());
    (config, Devices::new())
}

#[test]
fn the_table_of_the_page_holds() {
    let rows = rows();
    assert!(rows.len() > 50, "only {} rows", rows.len());
    for (what, text, modes) in rows {
        for (isolation, allowed) in modes {
            let (config, devices) = example(&what, &text, isolation);
            let own = violations_of_launch(isolation, false, &[], &config, &devices);
            assert_eq!(own.is_empty(), allowed, "{what} {text} in {isolation}: {own:?}");
            // The same setting from a profile that the instance does not override.
            let mut profile = Profile { name: "p".into(), config, devices, ..Profile::default() };
            let ids = profile.config.get_key_value(OWN_IDS).map(|(k, v)| (k.clone(), v.clone()));
            let ids: Config = ids.filter(|_| !text.starts_with(OWN_IDS)).into_iter().collect();
            if !text.starts_with(OWN_IDS) {
                profile.config.remove(OWN_IDS);
            }
            let found = violations_of_launch(isolation, false, &[profile], &ids, &Devices::new());
            assert_eq!(found.is_empty(), allowed, "{what} {text} of a profile in {isolation}");
            let named = |violation: &Violation| violation.source == Source::Profile("p".into());
            assert!(found.iter().all(named), "{found:?}");
        }
    }
}

#[test]
fn the_last_layer_decides() {
    let profile = |value: &str| Profile {
        name: "p".into(),
        config: Config::from([(PRIVILEGED.to_owned(), value.to_owned())]),
        ..Profile::default()
    };
    let own = Config::from([(PRIVILEGED.to_owned(), "false".to_owned())]);
    let none = Config::new();
    for (profiles, own, count) in [
        (vec![profile("true")], &none, 1),
        (vec![profile("true"), profile("false")], &none, 0),
        (vec![profile("false"), profile("true")], &none, 1),
        (vec![profile("true")], &own, 0),
    ] {
        let found = violations_of_launch(Isolation::Shared, false, &profiles, own, &Devices::new());
        assert_eq!(found.len(), count, "{profiles:?} {own:?}");
    }
}

#[test]
fn an_isolated_node_has_ids_of_its_own() {
    let found = |isolation, is_virtual_machine| {
        violations_of_launch(isolation, is_virtual_machine, &[], &Config::new(), &Devices::new())
    };
    assert_eq!(found(Isolation::Isolated, false).len(), 1);
    assert!(found(Isolation::Isolated, true).is_empty(), "it has a kernel of its own");
    assert!(found(Isolation::Shared, false).is_empty());
}

#[test]
fn violations_are_listed_without_control_characters() {
    let mut config =
        Config::from([("raw.lxc".to_owned(), format!("a\u{1b}[2J{}", "x".repeat(500)))]);
    config.extend((0..20).map(|number| (format!("raw.{number}"), "x".to_owned())));
    let found = violations_of_launch(Isolation::Shared, false, &[], &config, &Devices::new());
    let text = message(Isolation::Shared, &found);
    assert!(text.contains("config raw.0=x configures the node and bypasses"), "{text}");
    assert!(text.contains("; and 13 more. Remove it, or set spec.isolation"), "{text}");
    let text = found.iter().find(|it| it.setting.starts_with("config raw.lxc")).unwrap();
    assert!(text.to_string().starts_with(r"config raw.lxc=a\u{1b}[2Jxxx"), "{text}");
    assert!(text.to_string().len() < 160, "{text}");
}

fn instance(running: bool, config: &[(&str, &str)], devices: &[&str]) -> InstanceFull {
    let config: Config =
        config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let strings: Vec<String> = devices.iter().map(|text| (*text).to_owned()).collect();
    let instance = Instance {
        status_code: if running { StatusCode::Running } else { StatusCode::Stopped },
        expanded_devices: strings::parse(&strings).unwrap(),
        expanded_config: config.clone(),
        config,
        ..Instance::default()
    };
    InstanceFull { instance, ..InstanceFull::default() }
}

#[test]
fn the_actual_isolation_of_an_instance_is_reported() {
    let root = "root,type=disk,path=/,pool=default";
    for (config, devices, expected) in [
        (&[][..], &[root][..], Isolation::Shared),
        (&[(OWN_IDS, "true")], &[root], Isolation::Isolated),
        (&[(OWN_IDS, "true"), (PRIVILEGED, "true")], &[root], Isolation::Privileged),
        (&[(OWN_IDS, "true")], &[root, "h,type=disk,source=/,path=/h"], Isolation::Privileged),
        // The key was removed, and the instance still runs as it was started.
        (&[(OWN_IDS, "true"), (CURRENT_IDS, "[]")], &[root], Isolation::Privileged),
    ] {
        let found = of_instance(&instance(true, config, devices));
        assert_eq!(found, Some(expected), "{config:?} {devices:?}");
    }
    let stopped = instance(false, &[(CURRENT_IDS, "[]")], &[root]);
    assert_eq!(of_instance(&stopped), Some(Isolation::Shared), "it starts with a map");
}

#[test]
fn keys_and_values_cannot_add_lines_to_the_configuration_of_lxc() {
    let hook = "1\nlxc.hook.pre-start = /bin/sh";
    for (key, value, is_refused) in [
        ("linux.sysctl.net.ipv4.ip_forward", hook, true),
        ("linux.sysctl.net.ipv4.ip_forward", "1\rx", true),
        ("linux.sysctl.net.ipv4.ip_local_port_range", "1024\t65000", false),
        ("environment.A", hook, true),
        ("environment.A=1\nlxc.hook.pre-start = b\nlxc.environment = B", "1", true),
        ("limits.kernel.nofile = 1\nlxc.hook.pre-start = b\nlxc.prlimit.core", "1", true),
        ("limits.kernel.nofile", "1024:2048", false),
        ("security.syscalls.deny", "keyctl\nbpf errno 1", false),
        ("security.syscalls.deny", "[all]\nbpf allow", true),
        ("security.syscalls.deny", "bpf allow", true),
        ("cloud-init.user-data", "#cloud-config\na: b\n", false),
        ("user.note", "a\nb", false),
        ("user.a\nlxc.hook.pre-start", "b", true),
        ("environment.A B", "1", true),
    ] {
        let config = Config::from([(key.to_owned(), value.to_owned())]);
        let profile = Profile { name: "p".into(), config: config.clone(), ..Profile::default() };
        let found = violations_of_launch(Isolation::Shared, false, &[], &config, &Devices::new());
        assert_eq!(!found.is_empty(), is_refused, "{key} {value}");
        let none = Config::new();
        let found =
            violations_of_launch(Isolation::Shared, false, &[profile], &none, &Devices::new());
        assert_eq!(!found.is_empty(), is_refused, "profile: {key} {value}");
    }
    for (name, key, value, is_refused) in [
        ("a", "path", "/a\nlxc.x = y", true),
        ("a", "path\n", "/a", true),
        ("a\nb", "path", "/a", true),
        ("a", "path", "/a", false),
    ] {
        let device = Config::from([
            ("type".to_owned(), "disk".to_owned()),
            ("pool".to_owned(), "default".to_owned()),
            ("source".to_owned(), "data".to_owned()),
            (key.to_owned(), value.to_owned()),
        ]);
        let devices = Devices::from([(name.to_owned(), device)]);
        let found = violations_of_launch(Isolation::Shared, false, &[], &Config::new(), &devices);
        assert_eq!(!found.is_empty(), is_refused, "{name} {key} {value}");
    }
}
