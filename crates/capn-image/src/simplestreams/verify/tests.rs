use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, write::GzEncoder};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::simplestreams::import::{ImageFiles, Import, import};
use crate::simplestreams::load::load;
use crate::simplestreams::source::HttpOptions;

/// A tree with a container and a virtual machine of one version.
struct Tree {
    temp: TempDir,
}

impl Tree {
    fn new() -> Self {
        let tree = Self { temp: tempfile::tempdir().unwrap() };
        for (name, root) in [("r1", &b"hsqs container"[..]), ("r2", &b"QFI\xfb machine"[..])] {
            let root = tree.file(name, root);
            let metadata = tree.metadata();
            let wanted = Import::new(ImageFiles::Split { metadata, root });
            import(&tree.path(), &wanted, jiff::Timestamp::UNIX_EPOCH, &mut |_, _| {}).unwrap();
        }
        tree
    }

    fn path(&self) -> Utf8PathBuf {
        Utf8Path::from_path(self.temp.path()).unwrap().join("tree")
    }

    fn file(&self, name: &str, content: &[u8]) -> Utf8PathBuf {
        let path = Utf8Path::from_path(self.temp.path()).unwrap().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn metadata(&self) -> Utf8PathBuf {
        let yaml = b"architecture: x86_64\ncreation_date: 1795528357\nproperties: {os: debian}\n";
        let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        let mut header = tar::Header::new_gnu();
        header.set_size(yaml.len() as u64);
        tar.append_data(&mut header, "metadata.yaml", &yaml[..]).unwrap();
        self.file("meta.tar.gz", &tar.into_inner().unwrap().finish().unwrap())
    }

    /// The only file of the tree with this suffix.
    fn find(&self, ending: &str) -> Utf8PathBuf {
        let entries = self.path().join("images").read_dir_utf8().unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().into_path());
        paths.find(|path| path.as_str().ends_with(ending)).unwrap()
    }
}

async fn run(source: &Source) -> Verified {
    let streams = load(source).await.unwrap();
    verify(source, &streams, &mut |_, _| {}).await.unwrap()
}

fn texts(verified: &Verified) -> Vec<String> {
    verified.problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn an_imported_tree_verifies_and_reads_each_file_once() {
    let tree = Tree::new();
    let verified = run(&Source::directory(tree.path())).await;
    assert_eq!(texts(&verified), [""; 0]);
    assert_eq!((verified.images, verified.files), (2, 3));
}

#[tokio::test]
async fn damaged_truncated_and_missing_files_are_reported_with_their_location() {
    type Damage = fn(&Utf8Path);
    let flip: Damage = |path| {
        let mut content = std::fs::read(path).unwrap();
        content[8] ^= 1;
        std::fs::write(path, content).unwrap();
    };
    let cut: Damage = |path| std::fs::write(path, b"hsqs").unwrap();
    let grow: Damage = |path| {
        std::fs::remove_file(path).unwrap();
        std::fs::File::create(path).unwrap().set_len(1 << 40).unwrap();
    };
    let device: Damage = |path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    };
    let remove: Damage = |path| std::fs::remove_file(path).unwrap();
    for (ending, damage, item, part) in [
        ("squashfs", flip, "squashfs", "the SHA-256 of"),
        ("squashfs", cut, "squashfs", "has 4 bytes instead of 14"),
        ("squashfs", grow, "squashfs", "has more than 14 bytes instead of 14"),
        ("squashfs", device, "squashfs", "not a regular file"),
        ("squashfs", remove, "squashfs", "does not exist"),
        ("qcow2", flip, "disk-kvm.img", "the SHA-256 of"),
        ("tar.gz", flip, "incus.tar.xz", "the SHA-256 of"),
        ("tar.gz", remove, "incus.tar.xz", "does not exist"),
    ] {
        let tree = Tree::new();
        damage(&tree.find(ending));
        let verified = run(&Source::directory(tree.path())).await;
        let location =
            format!("product debian:unknown:default:amd64, version 202611241352, item {item}");
        assert!(
            texts(&verified).iter().any(|text| text.starts_with(&location) && text.contains(part)),
            "{ending} {part}: {:?}",
            texts(&verified)
        );
    }
}

#[tokio::test]
async fn a_wrong_combined_hash_is_reported() {
    let tree = Tree::new();
    let path = tree.path().join("streams/v1/images.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let item = "/products/debian:unknown:default:amd64/versions/202611241352/items/lxd.tar.xz";
    document.pointer_mut(item).unwrap()["combined_squashfs_sha256"] = "0".repeat(64).into();
    std::fs::write(&path, document.to_string()).unwrap();
    let verified = run(&Source::directory(tree.path())).await;
    let [problem] = &texts(&verified)[..] else { panic!("{:?}", texts(&verified)) };
    assert!(problem.contains("the combined SHA-256 of the files is"), "{problem}");
}

#[tokio::test]
async fn an_alias_of_two_products_is_a_problem() {
    let tree = Tree::new();
    let path = tree.path().join("streams/v1/images.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let products = document["products"].as_object_mut().unwrap();
    let mut twin = products["debian:unknown:default:amd64"].clone();
    twin["aliases"] = "twin,debian/unknown/default".into();
    products.insert("twin:unknown:default:amd64".into(), twin);
    std::fs::write(&path, document.to_string()).unwrap();
    let verified = run(&Source::directory(tree.path())).await;
    let expected =
        "has the alias debian/unknown/default, which product debian:unknown:default:amd64 also has";
    assert!(texts(&verified).iter().any(|text| text.contains(expected)), "{:?}", texts(&verified));
}

#[tokio::test]
async fn a_product_that_the_index_does_not_name_is_a_problem() {
    let tree = Tree::new();
    let path = tree.path().join("streams/v1/index.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("debian:unknown", "other")).unwrap();
    let texts = texts(&run(&Source::directory(tree.path())).await);
    assert_eq!(
        texts,
        [
            "product other:default:amd64: is in the index but not in streams/v1/images.json",
            "product debian:unknown:default:amd64: is not in the index",
        ]
    );
}

#[tokio::test]
async fn paths_outside_the_tree_are_not_followed() {
    let tree = Tree::new();
    let outside = Source::directory(tree.path());
    for path in ["../meta.tar.gz", "/etc/passwd", "images/../../meta.tar.gz", "images//x"] {
        let Err(error) = outside.open(path).await else { panic!("{path} was opened") };
        assert!(matches!(error, StreamsError::UnsafePath { .. }), "{path}: {error}");
    }
}

/// A web server of a directory. Below `/moved/` everything is redirected, below `/short/` every
/// response is truncated.
async fn serve(directory: Utf8PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let directory = Arc::new(directory);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let directory = Arc::clone(&directory);
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let text = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or("/").trim_start_matches('/').to_owned();
                let mut answer = Vec::new();
                if let Some(path) = path.strip_prefix("moved/") {
                    answer.extend(
                        format!(
                            "HTTP/1.1 302 Found\r\nlocation: /{path}\r\ncontent-length: 0\r\n\r\n"
                        )
                        .bytes(),
                    );
                } else if path == "loop/streams/v1/index.json" {
                    answer.extend(
                        format!(
                            "HTTP/1.1 301 Moved\r\nlocation: /{path}\r\ncontent-length: 0\r\n\r\n"
                        )
                        .bytes(),
                    );
                } else {
                    let is_short = path.starts_with("short/") && path.contains("images/");
                    let path = path.trim_start_matches("short/");
                    match std::fs::read(directory.join(path)) {
                        Ok(content) => {
                            answer.extend(format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", content.len()).bytes());
                            let sent = if is_short { content.len() / 2 } else { content.len() };
                            answer.extend(&content[..sent]);
                        }
                        Err(_) => answer.extend(b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"),
                    }
                }
                stream.write_all(&answer).await.unwrap();
            });
        }
    });
    url
}

fn http(url: &str) -> Source {
    Source::http(url, &HttpOptions::default()).unwrap()
}

#[tokio::test]
async fn a_server_is_verified_like_its_directory_through_redirects() {
    let tree = Tree::new();
    let url = serve(tree.path()).await;
    let expected = run(&Source::directory(tree.path())).await;
    assert_eq!(run(&http(&url)).await, expected);
    assert_eq!(run(&http(&format!("{url}/moved"))).await, expected);
    std::fs::remove_file(tree.find("qcow2")).unwrap();
    let texts = texts(&run(&http(&url)).await);
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].ends_with("cannot be downloaded: the server returned status 404"),
        "{texts:?}"
    );
}

#[tokio::test]
async fn truncated_responses_redirect_loops_and_missing_indexes_are_errors() {
    let tree = Tree::new();
    let url = serve(tree.path()).await;
    let short = http(&format!("{url}/short/"));
    let streams = load(&short).await.unwrap();
    let error = verify(&short, &streams, &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(error, StreamsError::Get { .. }), "{error}");
    let error = load(&http(&format!("{url}/loop"))).await.unwrap_err();
    assert!(error.to_string().ends_with("the server redirects more than 5 times"), "{error}");
    let error = load(&http(&format!("{url}/nothing"))).await.unwrap_err();
    assert!(error.hint().unwrap().contains("streams/v1/index.json"), "{error}");
    for url in ["ftp://a.example", "images.example", "https://"] {
        let error = Source::http(url, &HttpOptions::default()).unwrap_err();
        assert!(matches!(error, StreamsError::Url { .. }), "{url}: {error}");
    }
}
