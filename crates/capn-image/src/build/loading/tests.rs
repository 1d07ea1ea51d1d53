use std::{os::unix::fs::MetadataExt, process::Command};

use capn_oci::LayerFile;

use super::*;
use crate::{recipe::SCRIPTS, tree::Tree};

/// An image with a program named `nft`: this test itself, which needs libraries.
fn image() -> ContainerImage {
    let path = Utf8PathBuf::from_path_buf(std::env::current_exe().unwrap()).unwrap();
    let program = |name: &str| LayerFile {
        path: name.to_owned(),
        mode: 0o755,
        content: Content::Path(path.clone()),
    };
    ContainerImage {
        references: vec!["registry.k8s.io/kube-proxy:v1".to_owned()],
        files: vec![program("usr/lib/xtables/libxt_mine.so")],
        ..ContainerImage::default()
    }
}

/// Output of this machine's ldd.
fn needs(image: &ContainerImage) -> Vec<String> {
    let file = elf_files(image).unwrap()[0].to_string();
    let output = Command::new("ldd").arg(&file).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    Libraries::parse(&said, std::slice::from_ref(&file)).of(&file).to_vec()
}

async fn tried(image: ContainerImage) -> Result<(), BuildError> {
    let held = tempfile::tempdir().unwrap();
    let directory = Utf8Path::from_path(held.path()).unwrap();
    for (name, text) in SCRIPTS {
        std::fs::write(directory.join(name), text).unwrap();
    }
    load(directory, Stage::Kubernetes, &[image], directory, &mut |_| {}).await
}

#[tokio::test]
async fn a_missing_plugin_library_is_reported_with_image_and_file() {
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("SKIPPED: images are tried as root");
        return;
    }
    let root = Tree::new(vec!["/".into()]);
    let mut whole = image();
    let libraries = needs(&whole);
    assert!(libraries.iter().any(|path| path.ends_with("/libc.so.6")), "{libraries:?}");
    add_libraries(&mut whole, &root, |_| &libraries).unwrap();
    tried(whole.clone()).await.unwrap();

    whole.files.retain(|file| !file.path.ends_with("/libc.so.6"));
    let error = tried(whole).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot load /usr/lib/xtables/libxt_mine.so of container image \
         registry.k8s.io/kube-proxy:v1: the library libc.so.6 is missing"
    );
}

#[test]
fn the_libraries_of_every_file_go_into_the_image_once() {
    let held = tempfile::tempdir().unwrap();
    let at = Utf8Path::from_path(held.path()).unwrap();
    std::fs::create_dir_all(at.join("usr/lib/xtables")).unwrap();
    for name in ["libc.so.6", "libm.so.6", "xtables/libxt_statistic.so", "xtables/libxt_tcp.so"] {
        std::fs::write(at.join("usr/lib").join(name), "\x7fELF").unwrap();
    }
    let plugin = |name: &str| LayerFile {
        path: format!("usr/lib/xtables/{name}"),
        mode: 0o644,
        content: Content::Path(at.join("usr/lib/xtables").join(name)),
    };
    let files = vec![plugin("libxt_statistic.so"), plugin("libxt_tcp.so")];
    let mut image = ContainerImage { files, ..ContainerImage::default() };
    let both = ["/lib/libm.so.6".to_owned(), "/lib/libc.so.6".to_owned()];
    let root = Tree::new(vec![at.to_owned()]);
    add_libraries(&mut image, &root, |path| match path.as_str().contains("statistic") {
        true => &both,
        false => &both[1..],
    })
    .unwrap();
    let paths: Vec<_> = image.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths[2..], ["lib/libm.so.6", "lib/libc.so.6"]);

    let nowhere = ["/lib/libnone.so.1".to_owned()];
    let error = add_libraries(&mut image, &root, |_| &nowhere).unwrap_err();
    assert_eq!(error.1, "/lib/libnone.so.1");
}

#[test]
fn both_loader_messages_for_a_missing_library_are_parsed() {
    let table = [
        ("\tlibm.so.6 => not found", "the library libm.so.6 is missing"),
        (
            "/x.so: error while loading shared libraries: libm.so.6: cannot open shared object \
             file: No such file or directory",
            "the library libm.so.6 is missing",
        ),
        ("undefined symbol: log\t(/x.so)", "undefined symbol: log\t(/x.so)"),
    ];
    for (said, text) in table {
        assert_eq!(problem(said), text);
    }
}
