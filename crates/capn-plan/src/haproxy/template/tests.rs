use super::*;

fn haproxy(template: &str) -> Haproxy {
    Haproxy {
        frontend_port: 8443,
        backend_port: 6443,
        ipv6: true,
        backends: BTreeMap::from([
            ("b".to_owned(), "fd42::7".parse().unwrap()),
            ("a".to_owned(), "10.0.0.7".parse().unwrap()),
        ]),
        check: super::super::Check::Healthz,
        template: Some(Template(template.to_owned())),
    }
}

/// A typical template for the Go provider.
const USUAL: &str = r#"
global
  log /dev/log local0
frontend control-plane
  bind *:{{ .FrontendControlPlanePort }}
  {{ if .IPv6 -}}
  bind :::{{ .FrontendControlPlanePort }}
  {{- end }}
  default_backend kube-apiservers
backend kube-apiservers
  option httpchk GET /healthz
  {{- range $server, $backend := .BackendServers }}
  server {{ $server }} {{ JoinHostPort $backend.Address $.BackendControlPlanePort }} weight {{ $backend.Weight }} check check-ssl verify none
  {{- end }}
"#;

#[test]
fn a_template_for_the_go_provider_renders_the_same_text() {
    let text = haproxy(USUAL).render().unwrap();
    // Rendered by Go's text/template from the same values.
    let go = "
global
  log /dev/log local0
frontend control-plane
  bind *:8443
  bind :::8443
  default_backend kube-apiservers
backend kube-apiservers
  option httpchk GET /healthz
  server a 10.0.0.7:6443 weight 100 check check-ssl verify none
  server b [fd42::7]:6443 weight 100 check check-ssl verify none
";
    assert_eq!(text, go);
    assert!(Template::new(USUAL).is_ok());
}

#[test]
fn other_go_template_features_work() {
    for (template, text) in [
        ("{{ len .BackendServers }}", "2"),
        ("{{ with index .BackendServers \"a\" }}{{ .Address }}{{ end }}", "10.0.0.7"),
        ("{{ $n := 0 }}{{ range .BackendServers }}{{ $n = .Weight }}{{ end }}{{ $n }}", "100"),
        (
            "{{ if and .IPv6 (eq .FrontendControlPlanePort \"8443\") }}yes{{ else }}no{{ end }}",
            "yes",
        ),
        ("{{/* nothing */}}{{ printf \"%s-%d\" .BackendControlPlanePort 7 }}", "6443-7"),
        ("{{ define \"x\" }}<{{ . }}>{{ end }}{{ template \"x\" .IPv6 }}", "<true>"),
        ("plain", "plain"),
    ] {
        assert_eq!(haproxy(template).render().as_deref(), Ok(text), "{template}");
    }
}

#[test]
fn an_error_names_its_line() {
    for (template, parts) in [
        ("a\nb {{ .IPv6\nc }}", &["line 3", "function c"][..]),
        ("a\n\n{{ if .IPv6 }}x", &["line 3"]),
        ("{{ end }}", &["line 1"]),
        ("a\n{{ nosuch .IPv6 }}", &["line 2", "nosuch"]),
        ("a\n{{ .Servers }}", &["line 2", "Servers"]),
        ("a\n{{ range .BackendServers }}\n{{ .Port }}\n{{ end }}", &["line 3", "Port"]),
        ("a\n{{ .BackendServers.nosuch }}", &["line 2", "<no value>"]),
        ("{{ JoinHostPort \"a\" }}", &["line 1", "JoinHostPort", "2 argument"]),
        ("{{ JoinHostPort \"a\" 6443 }}", &["line 1", "JoinHostPort", "strings"]),
        ("{{ range 9999999 }}x{{ end }}", &["line 1", "iterations"]),
    ] {
        let error = Template::new(template).unwrap_err();
        for part in parts {
            assert!(error.to_string().contains(part), "{template:?}: {error} lacks {part:?}");
        }
    }
}

#[test]
fn a_malicious_template_is_rejected_before_parsing() {
    let deep = format!("a\n{{{{ {}.{} }}}}", "(".repeat(1000), ")".repeat(1000));
    let chain = format!("{{{{ if . }}}}{}{{{{ end }}}}", "{{ else if . }}".repeat(2000));
    for (template, part) in [
        (deep, "line 2: parentheses are nested deeper than 32 levels"),
        (chain, "more than 64 `else` branches"),
        ("x".repeat(1 << 20), "longer than 32768 bytes"),
    ] {
        let error = Template::new(&template).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
