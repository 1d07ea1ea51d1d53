//! The table of variables in docs/reference/templates.md is generated from the templates. `CAPN_UPDATE=1
//! cargo test -p capn-template` updates it.

use std::collections::BTreeMap;
use std::path::Path;

use capn_template::flavor::FLAVORS;
use capn_template::{Template, Variable};

const BEGIN: &str = "<!-- variables -->\n";
const END: &str = "<!-- /variables -->";

#[test]
fn the_page_lists_every_variable() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/templates.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let table = table();
    if std::env::var_os("CAPN_UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(written == table, "the table is old: CAPN_UPDATE=1 cargo test -p capn-template");
}

fn table() -> String {
    let mut found: BTreeMap<String, (Variable, BTreeMap<String, Vec<&str>>)> = BTreeMap::new();
    for flavor in FLAVORS {
        for variable in Template::new(flavor.template).unwrap().variables() {
            let default = match variable.default.as_deref() {
                None => "required".to_owned(),
                Some("" | "\"\"") => "empty".to_owned(),
                // The text decides between the two.
                Some(default) if default.contains("${") => "by `PRIVILEGED`".to_owned(),
                Some(default) => format!("`{default}`"),
            };
            let (_, defaults) = found
                .entry(variable.name.clone())
                .or_insert_with(|| (variable.clone(), BTreeMap::new()));
            defaults.entry(default).or_default().push(flavor.name);
        }
    }
    let mut table =
        String::from("\n| variable | kind | default | is | flavors |\n|---|---|---|---|---|\n");
    for (name, (variable, defaults)) in &found {
        let most = defaults.values().map(Vec::len).max().unwrap();
        let common = defaults.iter().find(|(_, flavors)| flavors.len() == most).unwrap().0;
        let mut shown = common.clone();
        for (default, flavors) in defaults.iter().filter(|(default, _)| *default != common) {
            shown.push_str(&format!("; {}: {default}", flavors.join(", ")));
        }
        let flavors: Vec<&str> = defaults.values().flatten().copied().collect();
        let flavors = shown_flavors(&flavors);
        let kind = variable.kind.to_string().replace('|', "\\|");
        let is = variable.description.trim_end_matches('.');
        table.push_str(&format!("| `{name}` | {kind} | {shown} | {is} | {flavors} |\n"));
    }
    table.push('\n');
    table
}

fn shown_flavors(flavors: &[&str]) -> String {
    let without: Vec<&str> =
        FLAVORS.iter().map(|flavor| flavor.name).filter(|name| !flavors.contains(name)).collect();
    match without.len() {
        0 => "all".to_owned(),
        1..=3 => format!("all but {}", without.join(", ")),
        _ => {
            let with =
                FLAVORS.iter().map(|flavor| flavor.name).filter(|name| flavors.contains(name));
            with.collect::<Vec<_>>().join(", ")
        }
    }
}
