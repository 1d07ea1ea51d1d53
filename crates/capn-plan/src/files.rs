//! Files that are injected into an instance between its creation and its first start.

use std::fmt::Write as _;

/// Path where manifests expect the script that turns a stock system into a node.
pub const INSTALL_SCRIPT: &str = "/opt/cluster-api/install-kubeadm.sh";

/// A file that is injected into an instance. Injecting it again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InjectedFile {
    /// A file owned by root.
    File {
        /// Path. Missing parent directories are created.
        path: String,
        /// Content.
        text: String,
        /// Permission bits. On servers without `image_template_permissions`, the files of virtual
        /// machines always have mode 0644.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Path.
        path: String,
        /// Target of the link.
        target: String,
    },
    /// Replacements in a text file of the image. A missing file stays missing.
    Edit {
        /// Path.
        path: String,
        /// Pairs of the text to replace and its replacement. The replacement must not contain the
        /// original text, or a second pass would replace it again.
        changes: Vec<(String, String)>,
    },
}

impl InjectedFile {
    /// Returns the path of the file.
    pub fn path(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } | Self::Edit { path, .. } => path,
        }
    }
}

/// Returns whether bootstrap data runs the script at [`INSTALL_SCRIPT`] but does not contain it.
///
/// The script is injected only in that case: an instance without injected files is created and
/// started by one request.
pub fn calls_install_script(user_data: &str) -> bool {
    let mentions = || user_data.lines().filter(|line| line.contains(INSTALL_SCRIPT));
    let brings = mentions().any(|line| {
        let line = line.trim_start().trim_start_matches("- ").trim_start();
        line.strip_prefix("path:").is_some_and(|path| path.trim_matches(QUOTES) == INSTALL_SCRIPT)
    });
    !brings && mentions().any(|line| !line.trim_start().starts_with('#'))
}

const QUOTES: [char; 3] = [' ', '"', '\''];

/// Escapes the text as a template that the server renders back to the same text. Servers render the
/// templates of an instance with pongo2, whose delimiters must be escaped.
pub fn as_template(text: &str) -> String {
    const MARKS: [(&str, &str); 6] = [
        ("{{", "openvariable"),
        ("}}", "closevariable"),
        ("{%", "openblock"),
        ("%}", "closeblock"),
        ("{#", "opencomment"),
        ("#}", "closecomment"),
    ];
    let mut template = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((mark, name)) = MARKS.iter().find(|(mark, _)| rest.starts_with(mark)) {
            // Writing to a String cannot fail.
            write!(template, "{{% templatetag {name} %}}").ok();
            rest = rest.get(mark.len()..).unwrap_or_default();
        } else {
            template.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    template
}

/// Returns the template name of a file: its whole path, so that two files never share one.
pub fn template_name(path: &str) -> String {
    format!("capn-{}.tpl", path.trim_start_matches('/').replace('/', "-"))
}

/// Returns the text after the changes of an [`InjectedFile::Edit`], or `None` if nothing changes.
pub fn edited(text: &str, changes: &[(String, String)]) -> Option<String> {
    let after = changes
        .iter()
        .filter(|(from, _)| !from.is_empty())
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    (after != text).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_install_script_is_injected_if_it_is_called_but_not_included() {
        for (user_data, called) in [
            ("runcmd:\n  - sh -xeu /opt/cluster-api/install-kubeadm.sh v1.36.2\n", true),
            ("runcmd:\n- \"/opt/cluster-api/install-kubeadm.sh 'v1.36.2'\"\n", true),
            ("#!/bin/sh\n/opt/cluster-api/install-kubeadm.sh\n", true),
            ("#cloud-config\nruncmd:\n- kubeadm init\n", false),
            ("#cloud-config\n# /opt/cluster-api/install-kubeadm.sh would do it\n", false),
            ("", false),
            (
                "write_files:\n-   path: /opt/cluster-api/install-kubeadm.sh\n    content: x\nruncmd:\n- /opt/cluster-api/install-kubeadm.sh\n",
                false,
            ),
            (
                "write_files:\n- content: x\n  path: \"/opt/cluster-api/install-kubeadm.sh\"\nruncmd:\n- /opt/cluster-api/install-kubeadm.sh\n",
                false,
            ),
        ] {
            assert_eq!(calls_install_script(user_data), called, "{user_data}");
        }
    }

    #[test]
    fn template_delimiters_are_escaped() {
        for (text, template) in [
            ("plain { } % #", "plain { } % #"),
            ("${A}", "${A}"),
            ("{{ v1 }}", "{% templatetag openvariable %} v1 {% templatetag closevariable %}"),
            ("{%", "{% templatetag openblock %}"),
            ("${#list}", "${% templatetag opencomment %}list}"),
            ("ä{{", "ä{% templatetag openvariable %}"),
        ] {
            assert_eq!(as_template(text), template, "{text}");
        }
    }

    #[test]
    fn no_two_files_share_a_template() {
        assert_eq!(template_name("/etc/a/b.yaml"), "capn-etc-a-b.yaml.tpl");
        assert_ne!(template_name("/etc/a/b.yaml"), template_name("/opt/a/b.yaml"));
    }

    #[test]
    fn a_second_edit_changes_nothing() {
        let changes = [("/etc/resolv.conf".to_owned(), "/etc/local-resolv.conf".to_owned())];
        let once = edited("cat >/etc/resolv.conf", &changes).unwrap();
        assert_eq!(once, "cat >/etc/local-resolv.conf");
        assert_eq!(edited(&once, &changes), None);
    }
}
