//! What pages show exists: commands with their options, annotations of capn, and fields of its kinds.
//! `CAPN_UPDATE=1 cargo test -p capn pages` writes the page of the kinds anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every page of the documentation and its text, but the help that is generated from the commands.
fn pages() -> Vec<(String, String)> {
    let mut found = vec![("README.md".to_owned(), root().join("README.md"))];
    let mut directories = vec!["docs".to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{directory}/{}", entry.file_name().to_str().unwrap());
            if entry.path().is_dir() {
                directories.push(name);
            } else if name.ends_with(".md") && name != "docs/cli/reference.md" {
                found.push((name, entry.path()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(name, path)| (name, std::fs::read_to_string(path).unwrap())).collect()
}

/// Words of the first simple command in a line of a shell; what follows `|`, `;`, `&`, `#` or a redirection is left.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\'' | '"' => {
                let quoted = word.get_or_insert_default();
                quoted.extend(characters.by_ref().take_while(|next| *next != character));
            }
            '|' | ';' | '&' | '>' | '<' | '#' if word.is_none() || character != '#' => break,
            // The end of `$(…)`, in which the command may be.
            ')' => break,
            character if character.is_whitespace() => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    words.extend(word);
    words
}

/// Commands of capn in the code blocks of a page, joined where a line ends in a backslash.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut language = None;
    let joined = page.replace("\\\n", " ");
    for line in joined.lines() {
        let line = line.trim();
        if let Some(fence) = line.strip_prefix("```") {
            language = if language.is_some() { None } else { Some(fence.to_owned()) };
            continue;
        }
        if !matches!(language.as_deref(), Some("" | "sh" | "console")) {
            continue;
        }
        // A synopsis is no command: it has brackets or alternatives.
        let is_synopsis = language.as_deref() == Some("") && line.contains(['[', '|', '…']);
        let line = line.strip_prefix("$ ").unwrap_or(line);
        let line = line.strip_prefix("sudo ").unwrap_or(line);
        if line.starts_with("capn ") && !is_synopsis {
            found.push(words(line));
        }
    }
    found
}

/// `` `capn …` `` within text.
fn inline(page: &str) -> Vec<Vec<String>> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if !fenced {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.filter(|span| span.starts_with("capn ")).map(words));
        }
    }
    found
}

/// The command that words lead to, and an option in them that it does not have.
fn unknown_option(words: &[String]) -> Option<String> {
    let root = capn::cli::Cli::command();
    let mut command: &Command = &root;
    let mut options: BTreeSet<String> = long_options(command);
    for word in words.iter().skip(1) {
        if word == "--" {
            break;
        }
        if let Some(option) = word.strip_prefix("--") {
            let option = option.split(['=', '[']).next().unwrap_or_default();
            if !options.contains(option) && option != "help" {
                return Some(format!("`{}` has no option --{option}", command.get_name()));
            }
        } else if let Some(child) = command.find_subcommand(word) {
            command = child;
            options.extend(long_options(command));
        } else if command.has_subcommands()
            && command.get_positionals().next().is_none()
            && word.chars().all(|character| character.is_ascii_lowercase())
        {
            return Some(format!("`{}` has no command `{word}`", command.get_name()));
        }
    }
    None
}

fn long_options(command: &Command) -> BTreeSet<String> {
    command.get_arguments().filter_map(|argument| argument.get_long()).map(str::to_owned).collect()
}

#[test]
fn every_command_in_a_code_block_is_one_that_capn_takes() {
    let mut problems = Vec::new();
    let mut count = 0;
    for (name, text) in pages() {
        for words in commands(&text) {
            count += 1;
            if let Err(error) = capn::cli::Cli::command().try_get_matches_from(&words)
                && !matches!(
                    error.kind(),
                    clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
                )
            {
                problems.push(format!("{name}: {}: {error}", words.join(" ")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(count > 100, "only {count} commands were found");
}

#[test]
fn commands_within_text_have_the_options_that_they_name() {
    let mut problems = Vec::new();
    for (name, text) in pages() {
        for words in inline(&text) {
            if let Some(problem) = unknown_option(&words) {
                problems.push(format!("{name}: {}: {problem}", words.join(" ")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn words_are_those_of_a_shell() {
    assert_eq!(
        words("capn exec a -- sh -c 'echo b c' >file # said"),
        ["capn", "exec", "a", "--", "sh", "-c", "echo b c"]
    );
    assert_eq!(words(r#"capn up "ci-$ID" | cat"#), ["capn", "up", "ci-$ID"]);
}

/// Rust sources of the crates, without their tests.
fn sources() -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root().join("crates")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if !matches!(name.as_str(), "tests" | "target" | "e2e" | "capn-fuzz") {
                    directories.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn every_label_and_annotation_of_capn_is_on_its_page() {
    let page = std::fs::read_to_string(root().join("docs/reference/annotations.md")).unwrap();
    let prefix = "\"capn.cluster.x-k8s.io/";
    let mut known = BTreeSet::new();
    for source in sources() {
        for rest in source.split(prefix).skip(1) {
            let name: String = rest.chars().take_while(|character| *character != '"').collect();
            // `v1alpha1` is the version of configuration files.
            if name != "v1alpha1" && name.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                known.insert(name);
            }
        }
    }
    assert!(known.len() > 15, "{known:?}");
    for name in known {
        assert!(page.contains(&format!("| `capn.cluster.x-k8s.io/{name}` |")), "{name} is missing");
    }
}

#[test]
fn the_page_of_the_kinds_is_what_the_definitions_say() {
    let path = root().join("docs/reference/kinds.md");
    let mut page = String::from(
        "# Kinds\n\nThe kinds of the API group `infrastructure.cluster.x-k8s.io`, with the fields of their specs. \
         Generated from the definitions\nby `CAPN_UPDATE=1 cargo test -p capn pages`. `kubectl explain` shows the \
         same, with the status.\n",
    );
    for definition in capn_api::crds() {
        let definition = serde_json::to_value(definition).unwrap();
        let version = &definition["spec"]["versions"][0];
        let schema = &version["schema"]["openAPIV3Schema"];
        page.push_str(&format!(
            "\n## {}\n\n{}\n\n| field | type | meaning |\n|---|---|---|\n",
            definition["spec"]["names"]["kind"].as_str().unwrap(),
            sentence(schema)
        ));
        fields(&schema["properties"]["spec"], "spec", &mut page);
    }
    if std::env::var_os("CAPN_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/reference/kinds.md is old: CAPN_UPDATE=1 cargo test -p capn pages"
    );
}

fn fields(schema: &Value, path: &str, page: &mut String) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, field) in properties {
        let path = format!("{path}.{name}");
        let is_list = field["type"] == "array";
        let inner = if is_list { &field["items"] } else { field };
        let mut kind = inner["type"].as_str().unwrap_or("any").to_owned();
        if let Some(values) = inner["enum"].as_array() {
            let values: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            kind = values.join(", ");
        }
        if inner["additionalProperties"].is_object() {
            "map".clone_into(&mut kind);
        }
        if is_list {
            kind = format!("list of {kind}");
        }
        if required.iter().any(|name_| name_ == name) {
            kind.push_str(", required");
        }
        page.push_str(&format!("| `{path}` | {kind} | {} |\n", sentence(field)));
        fields(inner, &if is_list { format!("{path}[]") } else { path }, page);
    }
}

/// A description in one line, as a cell of a table.
fn sentence(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
