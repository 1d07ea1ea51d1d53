//! The reference page contains the help of every command, so that changes are visible in review.
//! `CAPN_UPDATE=1 cargo test -p capn reference` updates it.

use std::path::Path;

use clap::CommandFactory as _;

#[test]
fn the_reference_page_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli/reference.md");
    let mut page = String::from(
        "# Reference\n\nThe help of every command. Written by `CAPN_UPDATE=1 cargo test -p capn reference`.\n",
    );
    describe(&capn::cli::Cli::command().term_width(100), "capn", &mut page);
    if std::env::var_os("CAPN_UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/cli/reference.md is outdated; update it: CAPN_UPDATE=1 cargo test -p capn reference"
    );
}

fn describe(command: &clap::Command, path: &str, page: &mut String) {
    let help = command.clone().bin_name(path).render_long_help().to_string();
    let help: Vec<&str> = help.lines().map(str::trim_end).collect();
    page.push_str(&format!("\n## {path}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        let child = child.clone().term_width(100);
        describe(&child, &format!("{path} {}", child.get_name()), page);
    }
}
