//! Converts a Container Linux Config to Ignition 2.3.
//!
//! The keys are those of the specification of Flatcar's Container Linux Config Transpiler
//! (doc/configuration.md). Its sections for Flatcar programs (`etcd`, `flannel`, `docker`, `update`
//! and `locksmith`) are not supported; the same result can be achieved with files and drop-ins.

use capn_text::yaml::{self, Bounds};
use serde_json::{Map, Value, json};

use super::reader::{Findings, Table};
use super::{ROOT, data_url};

/// Unsupported sections.
const PROGRAMS: &[&str] = &["etcd", "flannel", "docker", "update", "locksmith"];
const FILE_MODE: i64 = 0o644;
const DIRECTORY_MODE: i64 = 0o755;
const MIB: u64 = 1 << 20;

/// Returns the Ignition configuration of a Container Linux Config. Problems are reported as
/// findings.
pub(super) fn convert(text: &str, findings: &Findings) -> Value {
    let mut documents: Vec<Value> = match yaml::documents(text, Bounds::FILE) {
        Ok(documents) => documents,
        Err(error) => {
            findings.error("", error.to_string());
            return json!({});
        }
    };
    if documents.len() > 1 {
        findings.error("", "it has more than one document");
    }
    let Some(document) = documents.pop() else {
        findings.warning("", "it is empty");
        return json!({});
    };
    let mut table = Table::of(String::new(), &document, findings);
    if table.number("version").is_some_and(|version| version != 0) {
        table.error("version", "only version 0 is known");
    }
    for program in PROGRAMS {
        if table.has(program) {
            table.error(program, "is not supported; write the drop-in in systemd.units");
            table.table(program);
        }
    }
    let mut out = Out::default();
    out.object("ignition", ignition(table.table("ignition")));
    out.object("storage", storage(table.table("storage")));
    out.object("systemd", units(table.table("systemd"), true));
    out.object("networkd", units(table.table("networkd"), false));
    out.object("passwd", passwd(table.table("passwd")));
    table.finish();
    out.into_value()
}

/// Returns a JSON object without empty members.
#[derive(Default)]
struct Out(Map<String, Value>);

impl Out {
    fn value(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.value(key, value);
        }
    }

    fn text(&mut self, key: &str, value: Option<String>) {
        self.some(key, value.filter(|text| !text.is_empty()));
    }

    fn flag(&mut self, key: &str, value: Option<bool>) {
        self.some(key, value.filter(|flag| *flag));
    }

    fn list(&mut self, key: &str, list: Vec<impl Into<Value>>) {
        if !list.is_empty() {
            self.value(key, list.into_iter().map(Into::into).collect::<Vec<Value>>());
        }
    }

    fn object(&mut self, key: &str, object: Out) {
        if !object.0.is_empty() {
            self.value(key, object.0);
        }
    }

    fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

fn ignition(mut table: Table<'_>) -> Out {
    let mut config = table.table("config");
    let append = config.tables("append").into_iter().map(|one| reference(one).into_value());
    let append: Vec<_> = append.collect();
    let mut references = Out::default();
    references.list("append", append);
    if config.has("replace") {
        references.object("replace", reference(config.table("replace")));
    }
    config.finish();
    let mut timeouts = table.table("timeouts");
    let mut times = Out::default();
    times.some("httpResponseHeaders", timeouts.number("http_response_headers"));
    times.some("httpTotal", timeouts.number("http_total"));
    timeouts.finish();
    let mut security = table.table("security");
    let mut tls = security.table("tls");
    let authorities = tls.tables("certificate_authorities").into_iter();
    let authorities: Vec<_> = authorities.map(|one| reference(one).into_value()).collect();
    tls.finish();
    security.finish();
    let mut out = Out::default();
    out.object("config", references);
    out.object("timeouts", times);
    if !authorities.is_empty() {
        out.value("security", json!({ "tls": { "certificateAuthorities": authorities } }));
    }
    table.finish();
    out
}

/// Returns a resource that Ignition fetches.
fn reference(mut table: Table<'_>) -> Out {
    let mut out = Out::default();
    out.value("source", table.text("source").unwrap_or_default());
    out.object("verification", verification(table.table("verification")));
    table.finish();
    out
}

fn verification(mut table: Table<'_>) -> Out {
    let mut hash = table.table("hash");
    let (function, sum) = (hash.text("function"), hash.text("sum"));
    hash.finish();
    table.finish();
    let mut out = Out::default();
    if let (Some(function), Some(sum)) = (function, sum) {
        out.value("hash", format!("{function}-{sum}"));
    }
    out
}

fn storage(mut table: Table<'_>) -> Out {
    let mut out = Out::default();
    out.list("disks", table.tables("disks").into_iter().map(disk).collect());
    out.list("raid", table.tables("raid").into_iter().map(raid).collect());
    out.list("filesystems", table.tables("filesystems").into_iter().map(filesystem).collect());
    out.list("files", table.tables("files").into_iter().map(file).collect());
    out.list("directories", table.tables("directories").into_iter().map(directory).collect());
    out.list("links", table.tables("links").into_iter().map(link).collect());
    table.finish();
    out
}

fn disk(mut table: Table<'_>) -> Value {
    let mut out = Out::default();
    out.value("device", table.text("device").unwrap_or_default());
    out.flag("wipeTable", table.flag("wipe_table"));
    out.list("partitions", table.tables("partitions").into_iter().map(partition).collect());
    table.finish();
    out.into_value()
}

fn partition(mut table: Table<'_>) -> Value {
    let mut out = Out::default();
    out.some("label", table.text("label"));
    out.some("number", table.number("number").filter(|number| *number != 0));
    for (key, name) in [("size", "sizeMiB"), ("start", "startMiB")] {
        let Some(text) = table.text(key).filter(|text| !text.is_empty()) else { continue };
        match mebibytes(&text) {
            Some(size) => out.value(name, size),
            None => table.error(key, "is not a size in whole MiB, such as 512MiB"),
        }
    }
    out.text("guid", table.text("guid"));
    let kind = table.text("type_guid").map(|kind| match kind.as_str() {
        "raid_containing_root" => "be9067b9-ea49-4f15-b4f6-f36f8c9e1818".to_owned(),
        "linux_filesystem_data" => "0fc63daf-8483-4772-8e79-3d69d8477de4".to_owned(),
        "swap_partition" => "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f".to_owned(),
        "raid_partition" => "a19d880f-05fc-4d3b-a006-743f0f84911e".to_owned(),
        _ => kind,
    });
    out.text("typeGuid", kind);
    table.finish();
    out.into_value()
}

/// Parses a size in MiB. `KB`, `MB` and so on are also multiples of 1024.
fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let power = match unit.trim() {
        "" if number == 0 => 0,
        "B" => 0,
        "KB" | "KiB" => 1,
        "MB" | "MiB" => 2,
        "GB" | "GiB" => 3,
        "TB" | "TiB" => 4,
        _ => return None,
    };
    let bytes = number.checked_mul(1024_u64.checked_pow(power)?)?;
    (bytes % MIB == 0).then_some(bytes / MIB)
}

fn raid(mut table: Table<'_>) -> Value {
    let mut out = Out::default();
    out.value("name", table.text("name").unwrap_or_default());
    out.value("level", table.text("level").unwrap_or_default());
    out.value("devices", table.texts("devices"));
    out.some("spares", table.number("spares").filter(|spares| *spares != 0));
    out.list("options", table.texts("options"));
    table.finish();
    out.into_value()
}

fn filesystem(mut table: Table<'_>) -> Value {
    let mut out = Out::default();
    out.text("name", table.text("name"));
    out.some("path", table.text("path"));
    if table.has("mount") {
        let mut mount = table.table("mount");
        let mut to = Out::default();
        to.value("device", mount.text("device").unwrap_or_default());
        to.value("format", mount.text("format").unwrap_or_default());
        to.flag("wipeFilesystem", mount.flag("wipe_filesystem"));
        to.some("label", mount.text("label"));
        to.some("uuid", mount.text("uuid"));
        to.list("options", mount.texts("options"));
        if mount.has("create") {
            let mut create = mount.table("create");
            let mut options = Out::default();
            options.flag("force", create.flag("force"));
            options.list("options", create.texts("options"));
            create.finish();
            to.value("create", options.into_value());
        }
        mount.finish();
        out.value("mount", to.into_value());
    }
    table.finish();
    out.into_value()
}

/// Common fields of files, directories and links.
fn node(table: &mut Table<'_>) -> Out {
    let mut out = Out::default();
    let filesystem = table.text("filesystem").filter(|name| !name.is_empty());
    out.value("filesystem", filesystem.unwrap_or_else(|| ROOT.to_owned()));
    out.value("path", table.text("path").unwrap_or_default());
    out.some("overwrite", table.flag("overwrite"));
    for key in ["user", "group"] {
        let mut owner = table.table(key);
        let mut to = Out::default();
        to.some("id", owner.number("id"));
        to.text("name", owner.text("name"));
        owner.finish();
        out.object(key, to);
    }
    out
}

fn mode(table: &mut Table<'_>, default: i64, is_told: bool) -> i64 {
    table.number("mode").unwrap_or_else(|| {
        if is_told {
            table.warning("mode", &format!("is not set; it becomes {default:#o}"));
        }
        default
    })
}

fn file(mut table: Table<'_>) -> Value {
    let mut out = node(&mut table);
    let append = table.flag("append");
    out.flag("append", append);
    out.value("mode", mode(&mut table, FILE_MODE, append != Some(true)));
    let mut contents = table.table("contents");
    let inline = contents.text("inline").filter(|text| !text.is_empty());
    let mut remote = contents.table("remote");
    let url = remote.text("url").filter(|url| !url.is_empty());
    let mut to = Out::default();
    to.text("compression", remote.text("compression"));
    to.object("verification", verification(remote.table("verification")));
    remote.finish();
    if contents.text("local").is_some() {
        contents.error("local", "local files are not supported; use inline or remote");
    }
    if inline.is_some() && url.is_some() {
        contents.error("inline", "set one of inline and remote.url");
    }
    contents.finish();
    to.value("source", url.unwrap_or_else(|| data_url(inline.unwrap_or_default().as_bytes())));
    out.value("contents", to.into_value());
    table.finish();
    out.into_value()
}

fn directory(mut table: Table<'_>) -> Value {
    let mut out = node(&mut table);
    out.value("mode", mode(&mut table, DIRECTORY_MODE, true));
    table.finish();
    out.into_value()
}

fn link(mut table: Table<'_>) -> Value {
    let mut out = node(&mut table);
    out.flag("hard", table.flag("hard"));
    out.value("target", table.text("target").unwrap_or_default());
    table.finish();
    out.into_value()
}

/// Converts systemd units, or networkd files, which have fewer keys.
fn units(mut table: Table<'_>, is_systemd: bool) -> Out {
    let unit = |mut table: Table<'_>| {
        let mut out = Out::default();
        out.value("name", table.text("name").unwrap_or_default());
        if is_systemd {
            out.flag("enable", table.flag("enable"));
            out.some("enabled", table.flag("enabled"));
            out.flag("mask", table.flag("mask"));
        }
        out.text("contents", table.text("contents"));
        let dropin = |mut table: Table<'_>| {
            let mut out = Out::default();
            out.value("name", table.text("name").unwrap_or_default());
            out.text("contents", table.text("contents"));
            table.finish();
            out.into_value()
        };
        out.list("dropins", table.tables("dropins").into_iter().map(dropin).collect());
        table.finish();
        out.into_value()
    };
    let mut out = Out::default();
    out.list("units", table.tables("units").into_iter().map(unit).collect());
    table.finish();
    out
}

fn passwd(mut table: Table<'_>) -> Out {
    let user = |mut table: Table<'_>| {
        let mut out = Out::default();
        out.value("name", table.text("name").unwrap_or_default());
        out.some("passwordHash", table.text("password_hash"));
        out.list("sshAuthorizedKeys", table.texts("ssh_authorized_keys"));
        account(&mut table, &mut out);
        if table.has("create") {
            let mut create = table.table("create");
            let mut to = Out::default();
            account(&mut create, &mut to);
            create.finish();
            out.value("create", to.into_value());
        }
        table.finish();
        out.into_value()
    };
    let group = |mut table: Table<'_>| {
        let mut out = Out::default();
        out.value("name", table.text("name").unwrap_or_default());
        out.some("gid", table.number("gid"));
        out.text("passwordHash", table.text("password_hash"));
        out.flag("system", table.flag("system"));
        table.finish();
        out.into_value()
    };
    let mut out = Out::default();
    out.list("users", table.tables("users").into_iter().map(user).collect());
    out.list("groups", table.tables("groups").into_iter().map(group).collect());
    table.finish();
    out
}

/// Common fields of an account and its `create`.
fn account(table: &mut Table<'_>, out: &mut Out) {
    out.some("uid", table.number("uid"));
    for (key, name) in [
        ("gecos", "gecos"),
        ("home_dir", "homeDir"),
        ("primary_group", "primaryGroup"),
        ("shell", "shell"),
    ] {
        out.text(name, table.text(key));
    }
    for (key, name) in [
        ("no_create_home", "noCreateHome"),
        ("no_user_group", "noUserGroup"),
        ("no_log_init", "noLogInit"),
        ("system", "system"),
    ] {
        out.flag(name, table.flag(key));
    }
    out.list("groups", table.texts("groups"));
}
