//! The templates of capn: rendered with their examples, compared with golden files, applied to an
//! API server with the definitions of capn and Cluster API, and parsed with the types.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not know for tests"
)]

mod class;
mod flannel;
mod flavors;
mod page;
mod plane;

use std::collections::BTreeMap;

use capn_template::{Flavor, Template};
use serde_json::Value;

/// The variables of a shell after it has read an example.
fn example(script: &str) -> BTreeMap<String, String> {
    let exports = script.lines().filter_map(|line| line.strip_prefix("export "));
    exports
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next().unwrap(),
                None => value.split(" #").next().unwrap().trim(),
            };
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// The variables of a flavor's example, a cluster name, and these.
fn values(flavor: &Flavor, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut values = example(flavor.example);
    let more = [("CLUSTER_NAME", "demo")].iter().chain(more);
    values.extend(more.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    values
}

/// The objects of a flavor with its example's variables and these.
fn objects(name: &str, more: &[(&str, &str)]) -> Vec<Value> {
    let flavor = capn_template::flavor::find(name).unwrap();
    let text = Template::new(flavor.template).unwrap().render(&values(flavor, more)).unwrap();
    parse(&text)
}

fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

fn of_kind<'v>(objects: &'v [Value], kind: &str) -> &'v Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn yaml(objects: &[Value]) -> String {
    let texts = objects.iter().map(|object| serde_saphyr::to_string(object).unwrap());
    texts.map(|text| format!("---\n{}\n", text.trim_end())).collect()
}
