//! Container images of the Kubernetes end-to-end tests, built from local programs.
//!
//! Each image contains what its Dockerfile in Kubernetes' `test/images` installs, as far as tests
//! depend on it. Substitutes: the web server is busybox's, and the shell of `busybox` is bash if
//! the environment has variables whose names are not valid shell names, which Debian's busybox
//! drops and ConfigMap tests use.

use std::{collections::BTreeMap, fs::File, io::BufWriter, process::Command};

use anyhow::{Context as _, bail};
use camino::{Utf8Path, Utf8PathBuf};
use capn_oci::{ContainerImage, Content, LayerFile, Readers};

use crate::{
    closure::{installed, libraries, program},
    registry,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Directory with coredns and the other binaries of a release
    #[arg(long)]
    kubernetes: Utf8PathBuf,
    /// Directory with agnhost, sample-apiserver and e2e.test of the same release
    #[arg(long)]
    tests: Utf8PathBuf,
    /// Source tree of the release: `test/images` has the data of two images
    #[arg(long)]
    source: Utf8PathBuf,
    /// Output archive
    #[arg(long)]
    out: Utf8PathBuf,
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const PASSWD_AGNHOST: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n\
                              user-defined-in-image:x:1000:1000::/home/user:/bin/sh\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\n";
const GROUP_AGNHOST: &str = "root:x:0:\nnobody:x:65534:\nuser-defined-in-image:x:1000:\n\
                             group-defined-in-image:x:50000:user-defined-in-image\n";
const PAGE: &str = "<html><body><h1>It works!</h1></body></html>\n";

/// agnhost subcommands that tests call as programs.
const AGNHOST_PROGRAMS: [&str; 10] =
    ["bash", "curl", "dig", "getent", "host", "nslookup", "nc", "ss", "ip", "ipcs"];

/// Writes every image that the tests use and that can be built here.
pub(crate) fn write(arguments: &Arguments) -> anyhow::Result<()> {
    let names = references(&arguments.tests.join("e2e.test"))?;
    let mut images = Vec::new();
    for (name, references) in &names {
        if let Some(image) = image(name, arguments)? {
            images.push(ContainerImage { references: references.clone(), ..image });
        }
    }
    if images.is_empty() {
        bail!("e2e.test uses no image that can be built here");
    }
    let partial = arguments.out.with_extension("partial");
    let file = File::create(&partial).with_context(|| format!("cannot create {partial}"))?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    capn_oci::write_archive(&images, architecture, Readers::Oci, BufWriter::new(file))
        .with_context(|| format!("cannot write {partial}"))?;
    std::fs::rename(&partial, &arguments.out)
        .with_context(|| format!("cannot write {}", arguments.out))?;
    for image in &images {
        println!("{}", image.references.join(" "));
    }
    Ok(())
}

/// Image references that e2e.test may use, by the last part of their names.
fn references(e2e_test: &Utf8Path) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let output = Command::new(e2e_test).arg("--list-images").output();
    let output = output.with_context(|| format!("cannot run {e2e_test}"))?;
    if !output.status.success() {
        bail!("{e2e_test} --list-images: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(by_name(&String::from_utf8_lossy(&output.stdout)))
}

fn by_name(list: &str) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::<String, Vec<String>>::new();
    for reference in list.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some((repository, _)) = reference.rsplit_once(':') else { continue };
        let Some(name) = repository.rsplit('/').next() else { continue };
        // Tests of missing images need them to be absent.
        if repository.contains("invalid") || repository.contains("authenticated") {
            continue;
        }
        let references = names.entry(name.to_owned()).or_default();
        if !references.iter().any(|known| known == reference) {
            references.push(reference.to_owned());
        }
    }
    names
}

/// The image with this name; `None` if it cannot be built here.
fn image(name: &str, arguments: &Arguments) -> anyhow::Result<Option<ContainerImage>> {
    let image = match name {
        "agnhost" => agnhost(arguments)?,
        "busybox" => shell(&["sh"], "")?,
        "nonroot" => shell(&["sh"], "1234")?,
        "glibc-dns-testing" => {
            let mut image = shell(&["sh"], "")?;
            for program in ["dig", "getent", "host", "nslookup"] {
                image.files.extend(installed(program)?);
            }
            unique(image)
        }
        "perl" => {
            let mut image = shell(&["perl"], "")?;
            image.files.extend(installed("perl")?);
            unique(image)
        }
        "nginx" => {
            let command = ["busybox", "httpd", "-f", "-p", "80", "-h", "/usr/share/nginx/html"];
            let mut image = shell(&command, "")?;
            image.files.push(text("usr/share/nginx/html/index.html", PAGE));
            // Which the real image has, and the book uses.
            image.files.extend(installed("getent")?);
            unique(image)
        }
        "nautilus" | "kitten" => {
            let mut image = shell(&["test-webserver"], "")?;
            image.entrypoint = vec!["/agnhost".to_owned()];
            image.files.push(program("agnhost", arguments.tests.join("agnhost")));
            let html = arguments.source.join("test/images").join(name).join("html");
            for file in [format!("{name}.jpg"), "data.json".to_owned()] {
                let source = html.join(&file);
                image.files.push(LayerFile {
                    path: file,
                    mode: 0o644,
                    content: Content::Path(source),
                });
            }
            image
        }
        "nonewprivs" => {
            let mut nnp = program("usr/local/bin/nnp", arguments.tests.join("nonewprivs"));
            nnp.mode = 0o4755;
            ContainerImage {
                files: vec![text("etc/passwd", PASSWD), text("etc/group", GROUP), nnp],
                arguments: vec!["nnp".to_owned()],
                ..ContainerImage::default()
            }
        }
        "sample-apiserver" => ContainerImage {
            files: vec![
                text("etc/passwd", PASSWD),
                text("etc/group", GROUP),
                program("kube-sample-apiserver", arguments.tests.join("sample-apiserver")),
            ],
            entrypoint: vec!["/kube-sample-apiserver".to_owned()],
            ..ContainerImage::default()
        },
        _ => return Ok(None),
    };
    Ok(Some(image))
}

fn agnhost(arguments: &Arguments) -> anyhow::Result<ContainerImage> {
    let porter = arguments.source.join("test/images/agnhost/porter");
    let mut image = shell(&["pause"], "")?;
    image.entrypoint = vec!["/agnhost".to_owned()];
    image.files.retain(|file| !file.path.starts_with("etc/"));
    // As the shell, Debian's busybox would use its own nc, which lacks options that tests need.
    image.files.extend(["bin/sh", "bin/ash"].map(|path| LayerFile {
        path: path.to_owned(),
        mode: 0o777,
        content: Content::Link("/usr/bin/bash".to_owned()),
    }));
    image.files.extend([
        text("etc/passwd", PASSWD_AGNHOST),
        text("etc/group", GROUP_AGNHOST),
        text("uploads/.keep", ""),
        program("agnhost", arguments.tests.join("agnhost")),
        LayerFile {
            path: "agnhost-2".to_owned(),
            mode: 0o777,
            content: Content::Link("agnhost".to_owned()),
        },
        program("coredns", arguments.kubernetes.join("coredns")),
    ]);
    image.files.extend(libraries(&arguments.kubernetes.join("coredns"))?);
    for file in ["localhost.crt", "localhost.key"] {
        image.files.push(LayerFile {
            path: file.to_owned(),
            mode: 0o644,
            content: Content::Path(porter.join(file)),
        });
    }
    for program in AGNHOST_PROGRAMS {
        image.files.extend(installed(program)?);
    }
    image.files.extend(registry::files()?);
    Ok(unique(image))
}

/// The shell: busybox's, whose messages tests compare, unless it would drop variables.
const SHELL: &str = r#"#!/usr/bin/bash
while IFS= read -r -d '' entry; do
  case ${entry%%=*} in
    [0-9]* | *[!A-Za-z0-9_]*) exec -a /bin/sh /usr/bin/bash "$@" ;;
  esac
done </proc/self/environ
exec -a /bin/sh /bin/busybox "$@"
"#;

/// busybox with a link for each of its commands, and the shell.
fn shell(arguments: &[&str], user: &str) -> anyhow::Result<ContainerImage> {
    let mut files = vec![
        text("etc/passwd", PASSWD),
        text("etc/group", GROUP),
        text("etc/nsswitch.conf", "hosts: files dns\n"),
        text("root/.keep", ""),
    ];
    files.extend(installed("bash")?);
    files.push(program("bin/busybox", "/bin/busybox"));
    let output = Command::new("/bin/busybox").arg("--list").output();
    let output = output.context("cannot run /bin/busybox; `./test --install` installs it")?;
    for applet in String::from_utf8_lossy(&output.stdout).lines() {
        if matches!(applet, "sh" | "ash") {
            files.push(LayerFile { mode: 0o755, ..text(&format!("bin/{applet}"), SHELL) });
        } else if applet != "busybox" {
            files.push(LayerFile {
                path: format!("bin/{applet}"),
                mode: 0o777,
                content: Content::Link("busybox".to_owned()),
            });
        }
    }
    Ok(unique(ContainerImage {
        files,
        arguments: arguments.iter().map(ToString::to_string).collect(),
        user: user.to_owned(),
        ..ContainerImage::default()
    }))
}

fn text(path: &str, text: &'static str) -> LayerFile {
    LayerFile { path: path.to_owned(), mode: 0o644, content: Content::Text(text) }
}

/// Removes duplicate paths; the last file wins.
fn unique(mut image: ContainerImage) -> ContainerImage {
    let by_path: BTreeMap<_, _> =
        image.files.drain(..).map(|file| (file.path.clone(), file)).collect();
    image.files = by_path.into_values().collect();
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_grouped_by_name_without_intentionally_missing_ones() {
        let names = by_name(
            "registry.k8s.io/e2e-test-images/agnhost:2.63.0\n\
             registry.k8s.io/e2e-test-images/agnhost:2.55\n\
             invalid.registry.k8s.io/invalid/alpine:3.1\n\
             gcr.io/authenticated-image-pulling/agnhost:2.6\n\
             registry.k8s.io/e2e-test-images/agnhost:2.55\n",
        );
        assert_eq!(names.len(), 1, "{names:?}");
        assert_eq!(names["agnhost"].len(), 2, "{names:?}");
    }
}
