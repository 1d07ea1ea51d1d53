//! Renders the Ignition configuration, version 2.3, of a machine.
//!
//! It has the same structure as in Cluster API: the unit `kubeadm.service` runs `/etc/kubeadm.sh`
//! once, which runs the pre-kubeadm commands, kubeadm with `/etc/kubeadm.yml`, and the post-kubeadm
//! commands. The script then moves `/etc/kubeadm.yml` away, and the unit does not run without that
//! file. Users, files, disks, mounts and time servers are converted to the corresponding parts of
//! Ignition. `additionalConfig`, a Container Linux Config, is converted and appended.

mod check;
mod container_linux;
mod reader;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use capi_api::bootstrap::{ContainerLinuxConfig, DiskSetup, Encoding, Ntp, User};
use serde_json::{Map, Value, json};

use self::reader::Findings;
use super::Error;
use super::cloud_config::{TextFile, UserData};

const VERSION: &str = "2.3.0";
/// Ignition's name of the filesystem to which files are written.
const ROOT: &str = "root";
const CONFIG_PATH: &str = "/etc/kubeadm.yml";
const SCRIPT_PATH: &str = "/etc/kubeadm.sh";
const SUCCESS: &str =
    "mkdir -p /run/cluster-api && echo success > /run/cluster-api/bootstrap-success.complete";
/// Default file mode, which is the same as in cloud-init.
const FILE_MODE: u32 = 0o644;

const KUBEADM_UNIT: &str = "\
[Unit]
Description=kubeadm
# The script moves this file away when it has succeeded, so it succeeds once.
ConditionPathExists=/etc/kubeadm.yml
After=network.target
[Service]
# The unit ends when the script ends and is not restarted.
Type=oneshot
ExecStart=/bin/bash /etc/kubeadm.sh
[Install]
WantedBy=multi-user.target
";

/// The sshd configuration, up to the users that may log in with a password.
const SSHD: &str = "\
# Users of spec.users without a locked password may log in with it.
Subsystem sftp internal-sftp
ClientAliveInterval 180
UseDNS no
UsePAM yes
# PAM prints these.
PrintLastLog no
PrintMotd no
";

/// Access rules of ntpd: time queries with a rate limit for everyone, and everything else only for
/// the node itself.
const NTP_RULES: &str = "
restrict default nomodify nopeer noquery notrap limited kod
restrict 127.0.0.1
restrict [::1]
";

/// An Ignition configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The JSON text.
    pub(crate) text: String,
    /// Warnings about `additionalConfig`, each with its path.
    pub(crate) warnings: Vec<String>,
}

/// Renders the Ignition configuration of a machine.
///
/// # Errors
///
/// [`Error::Ignition`] with the field, if Ignition does not support it or `additionalConfig` is
/// invalid.
pub(crate) fn render(
    data: &UserData<'_>,
    settings: Option<&ContainerLinuxConfig>,
) -> Result<Rendered, Error> {
    let mut config = base(data)?;
    let findings = Findings::default();
    check::check(&config, &findings);
    if let Some(problem) = findings.into_all().into_iter().next() {
        return Err(refused("spec", problem));
    }
    let mut warnings = Vec::new();
    let additional = settings.and_then(|settings| settings.additional_config.as_deref());
    if let Some(text) = additional.filter(|text| !text.is_empty()) {
        const FIELD: &str = "spec.ignition.containerLinuxConfig.additionalConfig";
        let (converted, errors, found) = convert(text);
        let is_strict = settings.is_some_and(|settings| settings.strict == Some(true));
        let fatal = errors.into_iter().chain(found.iter().filter(|_| is_strict).cloned()).next();
        if let Some(problem) = fatal {
            return Err(refused(FIELD, problem));
        }
        warnings = found;
        append(&mut config, converted);
    }
    if let Some(ignition) = config.get_mut("ignition").and_then(Value::as_object_mut) {
        ignition.insert("version".to_owned(), json!(VERSION));
    }
    let text = serde_json::to_string(&config)
        .map_err(|source| Error::Json { document: "the Ignition configuration", source })?;
    Ok(Rendered { text, warnings })
}

/// Converts a Container Linux Config and checks the result. Returns it with the errors and warnings,
/// each of which names its place.
pub(crate) fn convert(text: &str) -> (Value, Vec<String>, Vec<String>) {
    let findings = Findings::default();
    let converted = container_linux::convert(text, &findings);
    check::check(&converted, &findings);
    let (errors, warnings) = findings.into_parts();
    (converted, errors, warnings)
}

fn refused(field: impl Into<String>, problem: impl Into<String>) -> Error {
    Error::Ignition { field: field.into(), problem: problem.into() }
}

/// Merges a configuration into another one as Ignition does: lists are concatenated, and of two
/// values the later one wins.
fn append(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get_mut(&key) {
                    Some(place) => append(place, value),
                    None => {
                        old.insert(key, value);
                    }
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => old.extend(new),
        (old, new) => *old = new,
    }
}

/// Renders the configuration without `additionalConfig`.
fn base(data: &UserData<'_>) -> Result<Value, Error> {
    if !data.boot_commands.is_empty() {
        return Err(refused("spec.bootCommands", "Ignition does not support boot commands"));
    }
    let mut config = Map::new();
    config.insert("ignition".to_owned(), json!({ "version": VERSION }));
    let users: Vec<_> = data.users.iter().map(user).collect();
    if !users.is_empty() {
        config.insert("passwd".to_owned(), json!({ "users": users }));
    }
    config.insert("systemd".to_owned(), json!({ "units": units(data)? }));
    let mut storage = data.disk_setup.map_or_else(|| Ok(Map::new()), disks)?;
    storage.insert("files".to_owned(), Value::Array(files(data)?));
    config.insert("storage".to_owned(), Value::Object(storage));
    Ok(Value::Object(config))
}

fn user(user: &User) -> Value {
    let mut out = Map::from_iter([("name".to_owned(), json!(user.name))]);
    for (key, value) in [
        ("gecos", &user.gecos),
        ("homeDir", &user.home_dir),
        ("shell", &user.shell),
        ("passwordHash", &user.passwd),
        ("primaryGroup", &user.primary_group),
    ] {
        if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
            out.insert(key.to_owned(), json!(value));
        }
    }
    let groups = user.groups.as_deref().unwrap_or_default().split(',').map(str::trim);
    let groups: Vec<_> = groups.filter(|group| !group.is_empty()).collect();
    if !groups.is_empty() {
        out.insert("groups".to_owned(), json!(groups));
    }
    if !user.ssh_authorized_keys.is_empty() {
        out.insert("sshAuthorizedKeys".to_owned(), json!(user.ssh_authorized_keys));
    }
    Value::Object(out)
}

fn units(data: &UserData<'_>) -> Result<Vec<Value>, Error> {
    let unit = |name: &str, contents: &str| {
        let mut out =
            Map::from_iter([("name".to_owned(), json!(name)), ("enabled".to_owned(), json!(true))]);
        if !contents.is_empty() {
            out.insert("contents".to_owned(), json!(contents));
        }
        Value::Object(out)
    };
    let mut units = vec![unit("kubeadm.service", KUBEADM_UNIT)];
    if is_time_kept(data.ntp) {
        units.push(unit("ntpd.service", ""));
    }
    for (index, mount) in data.mounts.iter().enumerate() {
        let [source, place, options @ ..] = mount.as_slice() else {
            let problem = "a mount must have at least a filesystem and a path";
            return Err(refused(format!("spec.mounts[{index}]"), problem));
        };
        let Some(device) = device(source, data.disk_setup) else {
            let problem = format!("spec.diskSetup has no filesystem with the label {source}");
            return Err(refused(format!("spec.mounts[{index}]"), problem));
        };
        if ![source, place].into_iter().chain(options).all(|text| is_one_line(text)) {
            let problem = "a mount field must be a single line";
            return Err(refused(format!("spec.mounts[{index}]"), problem));
        }
        let contents = format!(
            "[Unit]\nDescription = Mount {source}\n\n[Mount]\nWhat={device}\nWhere={place}\n\
             Options={}\n\n[Install]\nWantedBy=multi-user.target\n",
            options.join(",")
        );
        units.push(unit(&format!("{}.mount", unit_name(place)), &contents));
    }
    Ok(units)
}

/// Returns the device of a mount: that of the filesystem with the label, or what systemd resolves
/// itself.
fn device<'a>(source: &'a str, disks: Option<&'a DiskSetup>) -> Option<&'a str> {
    let mut filesystems = disks.into_iter().flat_map(|disks| &disks.filesystems);
    let labelled = filesystems.rfind(|fs| fs.label.as_deref() == Some(source));
    let found = labelled.map(|fs| fs.device.as_str());
    found.or_else(|| (source.starts_with('/') || source.contains('=')).then_some(source))
}

/// Returns the unit name of a path, without its suffix, like `systemd-escape --path`.
fn unit_name(path: &str) -> String {
    let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".to_owned();
    }
    let mut name = String::new();
    for (index, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => name.push('-'),
            b'.' if index == 0 => name.push_str("\\x2e"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b':' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            other => name.push_str(&format!("\\x{other:02x}")),
        }
    }
    name
}

fn is_time_kept(ntp: Option<&Ntp>) -> bool {
    ntp.is_some_and(|ntp| ntp.enabled == Some(true))
}

fn is_one_line(text: &str) -> bool {
    !text.contains(['\n', '\r'])
}

fn disks(setup: &DiskSetup) -> Result<Map<String, Value>, Error> {
    let mut storage = Map::new();
    let mut disks = Vec::new();
    for (index, partition) in setup.partitions.iter().enumerate() {
        if !partition.disk_layout.is_empty() {
            return Err(refused(
                format!("spec.diskSetup.partitions[{index}].diskLayout"),
                "Ignition takes no percentages; partition the disk in \
                 spec.ignition.containerLinuxConfig.additionalConfig",
            ));
        }
        let mut disk = Map::from_iter([("device".to_owned(), json!(partition.device))]);
        if partition.overwrite == Some(true) {
            disk.insert("wipeTable".to_owned(), json!(true));
        }
        if partition.layout == Some(true) {
            disk.insert("partitions".to_owned(), json!([{}]));
        }
        disks.push(Value::Object(disk));
    }
    let filesystems: Vec<_> = setup
        .filesystems
        .iter()
        .map(|fs| {
            let mut mount = Map::from_iter([
                ("device".to_owned(), json!(fs.device)),
                ("format".to_owned(), json!(fs.filesystem)),
            ]);
            if fs.overwrite == Some(true) {
                mount.insert("wipeFilesystem".to_owned(), json!(true));
            }
            if let Some(label) = &fs.label {
                mount.insert("label".to_owned(), json!(label));
            }
            if !fs.extra_opts.is_empty() {
                mount.insert("options".to_owned(), json!(fs.extra_opts));
            }
            json!({ "name": fs.label.as_deref().unwrap_or_default(), "mount": mount })
        })
        .collect();
    for (key, list) in [("disks", disks), ("filesystems", filesystems)] {
        if !list.is_empty() {
            storage.insert(key.to_owned(), Value::Array(list));
        }
    }
    Ok(storage)
}

fn files(data: &UserData<'_>) -> Result<Vec<Value>, Error> {
    let mut files = Vec::new();
    for (index, user) in data.users.iter().enumerate() {
        if let Some(sudo) = &user.sudo {
            if !is_one_line(sudo) || user.name.contains(['/', '\n']) {
                let problem = "a user name and a sudo rule must be single lines";
                return Err(refused(format!("spec.users[{index}]"), problem));
            }
            let path = format!("/etc/sudoers.d/{}", user.name);
            files.push(own_file(&path, 0o600, &format!("{} {sudo}\n", user.name)));
        }
    }
    let with_password: Vec<_> = data
        .users
        .iter()
        .filter(|user| user.lock_password == Some(false))
        .map(|user| user.name.as_str())
        .collect();
    if !with_password.is_empty() {
        let users = with_password.join(",");
        let contents = format!("{SSHD}\nMatch User {users}\n  PasswordAuthentication yes\n");
        files.push(own_file("/etc/ssh/sshd_config", 0o600, &contents));
    }
    for file in &data.files {
        files.push(users_file(file)?);
    }
    files.push(own_file(SCRIPT_PATH, 0o700, &script(data)));
    let documents: String =
        data.documents.iter().map(|document| format!("---\n{document}")).collect();
    files.push(own_file(CONFIG_PATH, 0o600, &documents));
    if let Some(ntp) = data.ntp.filter(|ntp| is_time_kept(Some(ntp)) && !ntp.servers.is_empty()) {
        let mut contents = "# Servers of spec.ntp.\n".to_owned();
        for server in &ntp.servers {
            if !is_one_line(server) {
                return Err(refused("spec.ntp.servers", "a server must be a single line"));
            }
            contents.push_str(&format!("server {server}\n"));
        }
        contents.push_str(NTP_RULES);
        files.push(own_file("/etc/ntp.conf", 0o644, &contents));
    }
    Ok(files)
}

fn own_file(path: &str, mode: u32, contents: &str) -> Value {
    json!({
        "filesystem": ROOT,
        "path": path,
        "mode": mode,
        "contents": { "source": data_url(contents.as_bytes()) },
    })
}

fn users_file(file: &TextFile) -> Result<Value, Error> {
    let TextFile { path, owner, permissions, encoding, append, content } = file;
    let at = |problem: &str| refused(format!("file {path}"), problem);
    let bytes = match encoding {
        // Like cloud-init, which also appends a newline to text.
        None if content.is_empty() || content.ends_with('\n') => content.clone().into_bytes(),
        None => format!("{content}\n").into_bytes(),
        Some(Encoding::Base64) => {
            let text: String = content.split_ascii_whitespace().collect();
            STANDARD.decode(text).map_err(|_| at("the content is not base64"))?
        }
        Some(Encoding::Gzip | Encoding::GzipBase64) => {
            return Err(at("the format ignition does not support gzip; use base64"));
        }
    };
    let mode = match permissions.as_deref().map(str::trim) {
        None | Some("") => FILE_MODE,
        Some(text) => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
            .map_err(|_| at("the permissions are not an octal number"))?,
    };
    let mut out = Map::from_iter([
        ("filesystem".to_owned(), json!(ROOT)),
        ("path".to_owned(), json!(path)),
        ("mode".to_owned(), json!(mode)),
        ("contents".to_owned(), json!({ "source": data_url(&bytes) })),
    ]);
    if *append {
        out.insert("append".to_owned(), json!(true));
    }
    let (user, group) = match owner.as_deref().unwrap_or_default().split_once(':') {
        Some((user, group)) => (user.trim(), group.trim()),
        None => (owner.as_deref().unwrap_or_default().trim(), ""),
    };
    for (key, name) in [("user", user), ("group", group)] {
        if !name.is_empty() {
            out.insert(key.to_owned(), json!({ "name": name }));
        }
    }
    Ok(Value::Object(out))
}

/// Renders the script that the unit runs. It exits at the first command that fails, so that the
/// unit can be restarted.
fn script(data: &UserData<'_>) -> String {
    let mut script = "#!/bin/bash\nset -e\n".to_owned();
    for command in data.pre_kubeadm_commands {
        script.push('\n');
        script.push_str(command);
    }
    let verbosity = data.verbosity.map(|level| format!(" --v {level}")).unwrap_or_default();
    let name = data.command.name();
    script.push_str(&format!("\n\nkubeadm {name} --config {CONFIG_PATH}{verbosity}\n"));
    script.push_str(&format!("{SUCCESS}\nmv {CONFIG_PATH} /tmp/\n"));
    for command in data.post_kubeadm_commands {
        script.push('\n');
        script.push_str(command);
    }
    let end = script.trim_end_matches('\n').len();
    script.truncate(end);
    script.push('\n');
    script
}

/// Encodes bytes as a `data` URL, percent-encoded like the transpiler does.
pub(super) fn data_url(bytes: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut url = String::with_capacity(bytes.len() + 8);
    url.push_str("data:,");
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => url.push(char::from(*byte)),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => {
                url.push(char::from(*byte));
            }
            other => {
                url.push('%');
                for digit in [other >> 4, other & 15] {
                    url.push(HEX.get(usize::from(digit)).map_or('0', |c| char::from(*c)));
                }
            }
        }
    }
    url
}
