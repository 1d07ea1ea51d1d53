//! flannel in templates: capn's own, enabled by a label, and that of the default flavor, which
//! follows the pod CIDRs.

use std::process::Command;

use capn_template::{Template, flavor};
use serde_json::{Value, json};

use super::{objects, of_kind, parse, values};

/// flannel's configuration for these CIDRs.
fn net_conf(pod_cidr: &[(&str, &str)]) -> Value {
    let objects = objects("default", pod_cidr);
    let manifest = of_kind(&objects, "ConfigMap")["data"]["cni.yaml"].as_str().unwrap();
    let manifest = parse(manifest);
    let script = of_kind(&manifest, "ConfigMap")["data"]["net-conf.sh"].as_str().unwrap();
    let containers = &of_kind(&manifest, "DaemonSet")["spec"]["template"]["spec"]["initContainers"];
    let cidrs = containers[2]["env"][0]["value"].as_str().unwrap();
    let ran = Command::new("sh").args(["-c", script]).env("POD_CIDR", cidrs).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn the_network_is_the_first_of_each_family() {
    let vxlan = json!({ "Type": "vxlan" });
    let v4 = |network: &str| json!({ "Network": network, "Backend": vxlan });
    assert_eq!(net_conf(&[]), v4("10.244.0.0/16"));
    assert_eq!(net_conf(&[("POD_CIDR", "[10.7.0.0/16, 10.8.0.0/16]")]), v4("10.7.0.0/16"));
    assert_eq!(
        net_conf(&[("POD_CIDR", r#"["fd00:7::/56", "10.7.0.0/16"]"#)]),
        json!({ "Network": "10.7.0.0/16", "EnableIPv6": true, "IPv6Network": "fd00:7::/56", "Backend": vxlan })
    );
    assert_eq!(
        net_conf(&[("POD_CIDR", "[fd00:7::/56]")]),
        json!({ "EnableIPv4": false, "EnableIPv6": true, "IPv6Network": "fd00:7::/56", "Backend": vxlan })
    );
}

#[test]
fn a_variable_chooses_the_flannel_that_capn_runs() {
    for name in ["default", "autoscaler", "development", "ubuntu", "kube-vip", "ovn"] {
        let objects = objects(name, &[("CNI", "flannel")]);
        let labels = &of_kind(&objects, "Cluster")["metadata"]["labels"];
        assert_eq!(labels["capn.cluster.x-k8s.io/cni"], "flannel", "{name}");
        let flavor = flavor::find(name).unwrap();
        let template = Template::new(flavor.template).unwrap();
        let refused = template.render(&values(flavor, &[("CNI", "calico")])).unwrap_err();
        assert!(refused.to_string().contains("CNI is `calico`"), "{name}: {refused}");
    }
}
