//! The part of cloud-config that Cluster API's bootstrap providers write (`write_files` and
//! `runcmd`), as a shell script.

use capn_text::yaml::{self, Bounds, YamlError};
use serde::Deserialize;
use thiserror::Error;

/// Bootstrap data that cannot be turned into a script. Final: the bootstrap configuration has to
/// change, or the machine's type.
#[derive(Debug, Error)]
pub enum CloudConfigError {
    /// It is something else, such as a script or Ignition.
    #[error("the bootstrap data is no cloud-config, which instances of type kind need")]
    NotCloudConfig,
    /// It has a part that only cloud-init can carry out, or is no YAML.
    #[error("the bootstrap data has what instances of type kind do not understand")]
    Parse(#[source] YamlError),
    /// A file has an encoding or mode that is not known.
    #[error("the bootstrap data's file {path} has the {what} {value:?}")]
    File {
        /// Path of the file.
        path: String,
        /// `encoding` or `permissions`.
        what: &'static str,
        /// What is there.
        value: String,
    },
}

impl CloudConfigError {
    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        "use only files, commands and what kubeadm needs in the bootstrap configuration, or another spec.instanceType"
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct CloudConfig {
    write_files: Vec<File>,
    runcmd: Vec<Command>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    path: String,
    content: String,
    owner: Option<String>,
    permissions: Option<String>,
    encoding: String,
    append: bool,
    /// Files are written before all commands in any case.
    #[serde(rename = "defer")]
    _defer: bool,
}

/// A line of shell, or a program and its arguments.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Words(Vec<String>),
}

const TEMPLATE_MARK: &str = "## template: jinja";
const CONFIG_MARK: &str = "#cloud-config";

/// The script that does on the machine `name` what cloud-init would: writes the files, then runs
/// the commands one after the other. It fails when a file cannot be written or the last command
/// fails.
pub(super) fn script(user_data: &str, name: &str) -> Result<String, CloudConfigError> {
    let rendered = match user_data.trim_start().starts_with(TEMPLATE_MARK) {
        true => with_name(user_data, name),
        false => user_data.to_owned(),
    };
    if !rendered.lines().take(3).any(|line| line.trim() == CONFIG_MARK) {
        return Err(CloudConfigError::NotCloudConfig);
    }
    let config: Option<CloudConfig> =
        yaml::from_str(&rendered, Bounds::OBJECT).map_err(CloudConfigError::Parse)?;
    let config = config.unwrap_or_default();
    let mut script = String::from(
        "#!/bin/sh\n# What the bootstrap data says, made into a script when the machine was.\nset -eu\n",
    );
    for file in &config.write_files {
        script.push_str(&put(file)?);
    }
    script.push_str("set +eu\n");
    for command in &config.runcmd {
        match command {
            Command::Line(line) => script.push_str(line),
            Command::Words(words) => {
                let words: Vec<_> = words.iter().map(|word| quoted(word)).collect();
                script.push_str(&words.join(" "));
            }
        }
        script.push('\n');
    }
    Ok(script)
}

/// The variables of cloud-init that bootstrap data of Cluster API uses all stand for the name.
fn with_name(text: &str, name: &str) -> String {
    const VARIABLES: [&str; 4] = [
        "v1.local_hostname",
        "ds.meta_data.local_hostname",
        "ds.meta_data.hostname",
        "v1.hostname",
    ];
    VARIABLES.iter().fold(text.to_owned(), |text, variable| {
        text.replace(&format!("{{{{ {variable} }}}}"), name)
            .replace(&format!("{{{{{variable}}}}}"), name)
    })
}

fn put(file: &File) -> Result<String, CloudConfigError> {
    let wrong = |what, value: &str| CloudConfigError::File {
        path: file.path.clone(),
        what,
        value: value.to_owned(),
    };
    let decode = match file.encoding.as_str() {
        "" | "text/plain" => "",
        "b64" | "base64" => " | base64 -d",
        "gz+b64" | "gz+base64" | "gzip+b64" | "gzip+base64" => " | base64 -d | gunzip",
        other => return Err(wrong("encoding", other)),
    };
    let mode = file.permissions.as_deref().unwrap_or("0644");
    if mode.is_empty() || !mode.chars().all(|c| ('0'..='7').contains(&c)) {
        return Err(wrong("permissions", mode));
    }
    let path = quoted(&file.path);
    let owner = quoted(file.owner.as_deref().unwrap_or("root:root"));
    let into = if file.append { ">>" } else { ">" };
    Ok(format!(
        "mkdir -p \"$(dirname {path})\"\nprintf '%s' {}{decode} {into}{path}\nchmod {mode} {path}\nchown {owner} {path}\n",
        quoted(&file.content)
    ))
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn files_are_written_and_commands_run_as_cloud_init_would() {
        let folder = std::env::temp_dir().join(format!("capn-t-kind-{}", std::process::id()));
        let at = folder.display();
        let owner = String::from_utf8(Process::new("id").arg("-un").output().unwrap().stdout);
        let owner = owner.unwrap().trim().to_owned();
        let user_data = format!(
            "## template: jinja
#cloud-config

write_files:
-   path: {at}/deep/plain
    owner: {owner}
    permissions: '0640'
    content: |
      it's {{{{ ds.meta_data.local_hostname }}}} \"$HOME\"
-   path: {at}/decoded
    owner: {owner}
    encoding: base64
    content: aGVsbG8=
-   path: {at}/decoded
    owner: {owner}
    append: true
    content: ' world'
runcmd:
  - 'false'
  - 'echo ran >{at}/ran'
  - [ sh, -c, 'echo \"a b\" >>{at}/ran' ]
"
        );
        let script = script(&user_data, "demo-a").unwrap();
        let ended = Process::new("sh").args(["-c", &script]).status().unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        let found = (read("deep/plain"), read("decoded"), read("ran"));
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(ended.success());
        assert_eq!(found.0, "it's demo-a \"$HOME\"\n");
        assert_eq!(found.1, "hello world");
        assert_eq!(found.2, "ran\na b\n");
    }

    #[test]
    fn what_only_cloud_init_can_do_is_refused() {
        for (user_data, part) in [
            ("#!/bin/sh\necho\n", "no cloud-config"),
            ("{\"ignition\":{}}", "no cloud-config"),
            ("#cloud-config\nusers: []\n", "do not understand"),
            ("#cloud-config\nwrite_files:\n- path: /a\n  source: {}\n", "do not understand"),
            ("#cloud-config\nwrite_files:\n- path: /a\n  encoding: zip\n", "encoding \"zip\""),
            (
                "#cloud-config\nwrite_files:\n- path: /a\n  permissions: 'u=rw'\n",
                "permissions \"u=rw\"",
            ),
        ] {
            let error = script(user_data, "a").unwrap_err().to_string();
            assert!(error.contains(part), "{user_data}: {error}");
        }
        assert!(script("#cloud-config\n", "a").is_ok());
    }
}
