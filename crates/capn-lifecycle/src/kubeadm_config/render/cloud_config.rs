//! The cloud-config of a machine.
//!
//! Keys have a fixed order: `write_files`, `bootcmd`, `runcmd`, `ntp`, `users`, `disk_setup`,
//! `fs_setup`, `mounts`. The first line makes cloud-init treat it as a Jinja template, so values
//! may use `{{ v1.local_hostname }}` and `{{ ds.meta_data.… }}`. After kubeadm has succeeded, the
//! node has the file `/run/cluster-api/bootstrap-success.complete`, which is part of the contract
//! with infrastructure providers.

use std::fmt::{self, Write as _};

use capi_api::bootstrap::{DiskSetup, Encoding, Filesystem, Ntp, Partition, User};

use super::yaml::{block, quoted, scalar};

const HEADER: &str = "## template: jinja\n#cloud-config\n\n";
/// Written last, so that its directory exists when success is recorded.
const PLACEHOLDER: &str = "/run/cluster-api/placeholder";
const RECORD_SUCCESS: &str = "echo success > /run/cluster-api/bootstrap-success.complete";

/// A file with its content.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TextFile {
    pub(crate) path: String,
    pub(crate) owner: Option<String>,
    pub(crate) permissions: Option<String>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) append: bool,
    pub(crate) content: String,
}

/// The kubeadm command to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Init,
    Join,
}

impl Command {
    fn config_path(self) -> &'static str {
        match self {
            Self::Init => "/run/kubeadm/kubeadm.yaml",
            Self::Join => "/run/kubeadm/kubeadm-join-config.yaml",
        }
    }

    /// Returns the name of the command.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Join => "join",
        }
    }

    fn line(self, verbosity: Option<i32>) -> String {
        let name = self.name();
        let verbosity = verbosity.map(|level| format!(" --v {level}")).unwrap_or_default();
        format!("kubeadm {name} --config {}{verbosity} && {RECORD_SUCCESS}", self.config_path())
    }
}

/// Content of a cloud-config.
#[derive(Clone, Debug)]
pub(crate) struct UserData<'a> {
    /// Files: certificates first, then those of the user.
    pub(crate) files: Vec<TextFile>,
    pub(crate) command: Command,
    /// kubeadm configuration documents.
    pub(crate) documents: Vec<String>,
    pub(crate) verbosity: Option<i32>,
    pub(crate) boot_commands: &'a [String],
    pub(crate) pre_kubeadm_commands: &'a [String],
    pub(crate) post_kubeadm_commands: &'a [String],
    pub(crate) ntp: Option<&'a Ntp>,
    /// Users with resolved passwords: `passwdFrom` is ignored.
    pub(crate) users: Vec<User>,
    pub(crate) disk_setup: Option<&'a DiskSetup>,
    pub(crate) mounts: &'a [Vec<String>],
}

impl fmt::Display for UserData<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HEADER)?;
        f.write_str("write_files:\n")?;
        for file in &self.files {
            write_file(f, file)?;
        }
        let documents: String =
            self.documents.iter().map(|document| format!("---\n{document}")).collect();
        write_file(f, &own_file(self.command.config_path(), documents))?;
        let note = "Keeps the folder in which the success of kubeadm is recorded.\n";
        write_file(f, &own_file(PLACEHOLDER, note.to_owned()))?;
        if !self.boot_commands.is_empty() {
            f.write_str("bootcmd:\n")?;
            commands(f, self.boot_commands)?;
        }
        f.write_str("runcmd:\n")?;
        commands(f, self.pre_kubeadm_commands)?;
        writeln!(f, "  - '{}'", self.command.line(self.verbosity))?;
        commands(f, self.post_kubeadm_commands)?;
        if let Some(ntp) = self.ntp {
            time(f, ntp)?;
        }
        users(f, &self.users)?;
        if let Some(disks) = self.disk_setup {
            partitions(f, &disks.partitions)?;
            filesystems(f, &disks.filesystems)?;
        }
        mounts(f, self.mounts)
    }
}

fn own_file(path: &str, content: String) -> TextFile {
    TextFile {
        path: path.to_owned(),
        owner: Some("root:root".to_owned()),
        permissions: Some("0640".to_owned()),
        content,
        ..TextFile::default()
    }
}

fn write_file(f: &mut fmt::Formatter<'_>, file: &TextFile) -> fmt::Result {
    let TextFile { path, owner, permissions, encoding, append, content } = file;
    writeln!(f, "-   path: {}", scalar(path))?;
    if let Some(encoding) = encoding {
        writeln!(f, "    encoding: {}", quoted(encoding.as_str()))?;
    }
    if let Some(owner) = owner {
        writeln!(f, "    owner: {}", scalar(owner))?;
    }
    if let Some(permissions) = permissions {
        // The mode is quoted, because YAML would parse it as a number.
        writeln!(f, "    permissions: '{}'", permissions.replace('\'', "''"))?;
    }
    if *append {
        writeln!(f, "    append: true")?;
    }
    write!(f, "    content:{}", block(content, 6))
}

fn commands(f: &mut fmt::Formatter<'_>, list: &[String]) -> fmt::Result {
    list.iter().try_for_each(|command| writeln!(f, "  - {}", quoted(command)))
}

fn time(f: &mut fmt::Formatter<'_>, ntp: &Ntp) -> fmt::Result {
    f.write_str("ntp:\n")?;
    writeln!(f, "  enabled: {}", ntp.enabled.unwrap_or(true))?;
    if !ntp.servers.is_empty() {
        f.write_str("  servers:\n")?;
    }
    ntp.servers.iter().try_for_each(|server| writeln!(f, "    - {}", scalar(server)))
}

fn users(f: &mut fmt::Formatter<'_>, users: &[User]) -> fmt::Result {
    if !users.is_empty() {
        f.write_str("users:\n")?;
    }
    for user in users {
        let text = |value: &Option<String>| value.as_deref().map(scalar);
        let yes = |value: Option<bool>| (value == Some(true)).then(|| "true".to_owned());
        writeln!(f, "  - name: {}", scalar(&user.name))?;
        for (key, value) in [
            ("passwd", text(&user.passwd)),
            ("gecos", text(&user.gecos)),
            ("groups", text(&user.groups)),
            ("homedir", text(&user.home_dir)),
            ("inactive", yes(user.inactive)),
            ("lock_passwd", user.lock_password.map(|lock| lock.to_string())),
            ("shell", text(&user.shell)),
            ("primary_group", text(&user.primary_group)),
            ("sudo", text(&user.sudo)),
        ] {
            if let Some(value) = value {
                writeln!(f, "    {key}: {value}")?;
            }
        }
        if !user.ssh_authorized_keys.is_empty() {
            f.write_str("    ssh_authorized_keys:\n")?;
        }
        for key in &user.ssh_authorized_keys {
            writeln!(f, "      - {}", scalar(key))?;
        }
    }
    Ok(())
}

fn partitions(f: &mut fmt::Formatter<'_>, partitions: &[Partition]) -> fmt::Result {
    if !partitions.is_empty() {
        f.write_str("disk_setup:\n")?;
    }
    for partition in partitions {
        writeln!(f, "  {}:", scalar(&partition.device))?;
        if let Some(kind) = &partition.table_type {
            writeln!(f, "    table_type: {}", scalar(kind))?;
        }
        if partition.disk_layout.is_empty() {
            writeln!(f, "    layout: {}", partition.layout.unwrap_or(false))?;
        } else {
            f.write_str("    layout:\n")?;
            for part in &partition.disk_layout {
                match &part.partition_type {
                    Some(kind) => writeln!(
                        f,
                        "      - [{}, {}]",
                        part.percentage,
                        quoted(partition_type(kind))
                    )?,
                    None => writeln!(f, "      - {}", part.percentage)?,
                }
            }
        }
        if partition.overwrite == Some(true) {
            f.write_str("    overwrite: true\n")?;
        }
    }
    Ok(())
}

/// Returns cloud-init's number of a partition type. Other values, such as a GUID, are passed
/// through.
fn partition_type(name: &str) -> &str {
    match name {
        "Linux" => "83",
        "LinuxSwap" => "82",
        "LinuxRAID" => "fd",
        "LVM" => "8e",
        "Fat32" => "0c",
        "NTFS" => "07",
        "LinuxExtended" => "85",
        other => other,
    }
}

fn filesystems(f: &mut fmt::Formatter<'_>, filesystems: &[Filesystem]) -> fmt::Result {
    if !filesystems.is_empty() {
        f.write_str("fs_setup:\n")?;
    }
    for fs in filesystems {
        writeln!(f, "  - label: {}", fs.label.as_deref().map_or("null".into(), scalar))?;
        writeln!(f, "    filesystem: {}", scalar(&fs.filesystem))?;
        writeln!(f, "    device: {}", scalar(&fs.device))?;
        if let Some(partition) = &fs.partition {
            writeln!(f, "    partition: {}", scalar(partition))?;
        }
        if fs.overwrite == Some(true) {
            f.write_str("    overwrite: true\n")?;
        }
        if let Some(replaced) = &fs.replace_fs {
            writeln!(f, "    replace_fs: {}", scalar(replaced))?;
        }
        if !fs.extra_opts.is_empty() {
            f.write_str("    extra_opts:\n")?;
        }
        for option in &fs.extra_opts {
            writeln!(f, "      - {}", scalar(option))?;
        }
    }
    Ok(())
}

fn mounts(f: &mut fmt::Formatter<'_>, mounts: &[Vec<String>]) -> fmt::Result {
    if mounts.iter().any(|mount| !mount.is_empty()) {
        f.write_str("mounts:\n")?;
    }
    for mount in mounts {
        let mut lead = "  - ";
        for field in mount {
            let mut line = String::new();
            write!(line, "{lead}- {}", scalar(field))?;
            writeln!(f, "{line}")?;
            lead = "    ";
        }
    }
    Ok(())
}
