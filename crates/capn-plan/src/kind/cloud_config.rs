//! Converts the subset of cloud-config that Cluster API's bootstrap providers write (`write_files`
//! and `runcmd`) to a shell script.

use capn_text::yaml::{self, Bounds, YamlError};
use serde::Deserialize;
use thiserror::Error;

/// Bootstrap data that cannot be converted to a script. Final: the bootstrap configuration or the
/// type of the machine must change.
#[derive(Debug, Error)]
pub enum CloudConfigError {
    /// It has another format, such as a script or Ignition.
    #[error("the bootstrap data is not a cloud-config, which instances of type kind require")]
    NotCloudConfig,
    /// It is not valid YAML, or uses a feature that only cloud-init supports.
    #[error("the bootstrap data uses a feature that instances of type kind do not support")]
    Parse(#[source] YamlError),
    /// A file has an unknown encoding or mode.
    #[error("the file {path} in the bootstrap data has the unsupported {what} {value:?}")]
    File {
        /// Path of the file.
        path: String,
        /// `encoding` or `permissions`.
        what: &'static str,
        /// The value.
        value: String,
    },
}

impl CloudConfigError {
    /// Returns what the user can do.
    pub fn hint(&self) -> &'static str {
        "use only files, commands and kubeadm settings in the bootstrap configuration, or another spec.instanceType"
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
    /// Deferred files are also written before all commands.
    #[serde(rename = "defer")]
    _defer: bool,
}

/// A shell command line, or a program and its arguments.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Words(Vec<String>),
}

const TEMPLATE_MARK: &str = "## template: jinja";
const CONFIG_MARK: &str = "#cloud-config";

/// Renders a script that does what cloud-init would do on the machine `name`: it writes the files,
/// then runs the commands one after the other. The script fails if a file cannot be written or the
/// last command fails.
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
    let mut script =
        String::from("#!/bin/sh\n# Generated from the bootstrap data of the machine.\nset -eu\n");
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

/// Replaces the cloud-init variables that Cluster API bootstrap data uses; all of them stand for
/// the name.
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

/// Quotes one shell word.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    #[test]
    fn files_are_written_and_commands_run_as_cloud_init_would() {
        let directory = std::env::temp_dir().join(format!("capn-t-kind-{}", std::process::id()));
        let at = directory.display();
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
        let read = |name: &str| std::fs::read_to_string(directory.join(name)).unwrap();
        let found = (read("deep/plain"), read("decoded"), read("ran"));
        std::fs::remove_dir_all(&directory).unwrap();
        assert!(ended.success());
        assert_eq!(found.0, "it's demo-a \"$HOME\"\n");
        assert_eq!(found.1, "hello world");
        assert_eq!(found.2, "ran\na b\n");
    }

    #[test]
    fn features_that_need_cloud_init_are_rejected() {
        for (user_data, part) in [
            ("#!/bin/sh\necho\n", "not a cloud-config"),
            ("{\"ignition\":{}}", "not a cloud-config"),
            ("#cloud-config\nusers: []\n", "do not support"),
            ("#cloud-config\nwrite_files:\n- path: /a\n  source: {}\n", "do not support"),
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
