//! What is put into an instance between its making and its first start.

use std::fmt::Write as _;

/// Where manifests expect the script that makes a node of a stock system.
pub const INSTALL_SCRIPT: &str = "/opt/cluster-api/install-kubeadm.sh";

/// One thing that is put into an instance. Putting it in again changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A file of root's.
    File {
        /// Where; missing folders on the way are made.
        path: String,
        /// The text.
        text: String,
        /// Permission bits. Virtual machines of servers without `image_template_permissions`
        /// give their files 0644 whatever is asked for.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: String,
        /// What it points to.
        target: String,
    },
    /// Changes of a text file that the image has. A file that is missing stays so.
    Edit {
        /// Where.
        path: String,
        /// Each text, and what stands in its place afterwards. The second must not hold the
        /// first, or a second change would change it again.
        changes: Vec<(String, String)>,
    },
}

impl Piece {
    /// Where it is put.
    pub fn path(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } | Self::Edit { path, .. } => path,
        }
    }
}

/// Whether bootstrap data runs the script at [`INSTALL_SCRIPT`] without bringing it along.
///
/// Only then it is put into the instance: an instance with nothing to put in is made and started
/// by one request.
pub fn calls_install_script(user_data: &str) -> bool {
    let mentions = || user_data.lines().filter(|line| line.contains(INSTALL_SCRIPT));
    let brings = mentions().any(|line| {
        let line = line.trim_start().trim_start_matches("- ").trim_start();
        line.strip_prefix("path:").is_some_and(|path| path.trim_matches(QUOTES) == INSTALL_SCRIPT)
    });
    !brings && mentions().any(|line| !line.trim_start().starts_with('#'))
}

const QUOTES: [char; 3] = [' ', '"', '\''];

/// The text as a template that the server renders to the text: servers render the templates of an
/// instance with pongo2, whose marks have to be spelled.
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
            // Writing to a text cannot fail.
            write!(template, "{{% templatetag {name} %}}").ok();
            rest = rest.get(mark.len()..).unwrap_or_default();
        } else {
            template.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
    }
    template
}

/// Name of the template of a file: its whole path, so that no two files share one.
pub fn template_name(path: &str) -> String {
    format!("capn-{}.tpl", path.trim_start_matches('/').replace('/', "-"))
}

/// A text file after the changes of an [`Piece::Edit`]; `None` when nothing changes.
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
    fn the_script_is_put_in_where_it_is_called_and_not_brought_along() {
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
    fn marks_of_templates_are_spelled() {
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
