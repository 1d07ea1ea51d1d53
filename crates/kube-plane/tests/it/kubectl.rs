//! The stock kubectl over HTTPS.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use kube_plane::{Pki, Plane, PlaneOptions};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    net::TcpListener,
    process::{Child, ChildStdout, Command},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

/// Clients of two generations: from 1.35 on they stream lists.
const KUBECTLS: [&str; 3] =
    ["/usr/bin/kubectl", "/usr/local/bin/kubectl", "/var/lib/capn/kubernetes/kubectl"];

const LIMIT: Duration = Duration::from_secs(120);

/// A plane that serves HTTPS, and a kubectl for it.
struct Served {
    dir: tempfile::TempDir,
    kubectl: PathBuf,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Served {
    async fn start(kubectl: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = Some(dir.path().join("plane.db"));
        let plane = Plane::open(PlaneOptions { path, ..PlaneOptions::default() }).await.unwrap();
        let pki = Pki::open(&dir.path().join("pki"), &[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        pki.write_kubeconfig(&dir.path().join("kubeconfig"), "plane", &url).unwrap();
        let tls = pki.server_tls().unwrap().with_bearer_token("a-token");
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let shutdown = async { stopped.await.unwrap_or_default() };
            plane.serve_https(listener, &tls, shutdown).await.unwrap();
            plane.close().await;
        });
        Self { dir, kubectl: kubectl.to_owned(), stop, server }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(arguments)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HOME", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .env("KUBECONFIG", self.dir.path().join("kubeconfig"))
            .kill_on_drop(true);
        command
    }

    /// Exit status, and both outputs.
    async fn run(&self, arguments: &[&str]) -> (bool, String) {
        let output = timeout(LIMIT, self.command(arguments).output())
            .await
            .unwrap_or_else(|_| panic!("kubectl {arguments:?} takes too long"))
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    }

    /// The output of a command that must succeed.
    async fn ok(&self, arguments: &[&str]) -> String {
        let (good, text) = self.run(arguments).await;
        assert!(good, "kubectl {arguments:?}: {text}");
        text
    }

    /// The output of a command that must fail.
    async fn fails(&self, arguments: &[&str]) -> String {
        let (good, text) = self.run(arguments).await;
        assert!(!good, "kubectl {arguments:?}: {text}");
        text
    }

    fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        name.to_owned()
    }

    fn follow(&self, arguments: &[&str]) -> (Child, Lines<BufReader<ChildStdout>>) {
        let mut child = self.command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (child, lines)
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        timeout(LIMIT, self.server).await.expect("the server ends").unwrap();
    }
}

async fn next(lines: &mut Lines<BufReader<ChildStdout>>) -> String {
    let line = timeout(LIMIT, lines.next_line()).await.expect("a line in time").unwrap();
    line.expect("a line before the end")
}

const WIDGET: &str = "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: one}\n\
    spec: {size: S, parts: [{name: p}]}\n";

async fn definitions(served: &Served) {
    let crd = served.file("crd.yaml", include_str!("widgets.yaml"));
    assert!(served.ok(&["apply", "-f", &crd]).await.contains("created"));
    served
        .ok(&["wait", "--for=condition=Established", "crd/widgets.example.org", "--timeout=10s"])
        .await;
    assert!(served.ok(&["apply", "-f", &crd]).await.contains("unchanged"));
    assert!(served.ok(&["api-resources"]).await.contains("widgets"));
    assert!(served.ok(&["explain", "widget.spec.size"]).await.contains("How large it is."));
    assert!(served.ok(&["explain", "crd.spec.scope"]).await.contains("FIELD: scope"));
    assert!(served.ok(&["explain", "secret.data"]).await.contains("map[string]string"));
}

async fn applying(served: &Served) {
    let widget = served.file("widget.yaml", WIDGET);
    assert!(served.ok(&["apply", "-f", &widget]).await.contains("created"));
    assert!(served.ok(&["apply", "-f", &widget]).await.contains("unchanged"));
    let bad = served.file("bad.yaml", &WIDGET.replace("size: S", "size: S, bogus: 1"));
    let refused = served.fails(&["apply", "-f", &bad]).await;
    assert!(refused.contains("unknown field \"spec.bogus\""), "{refused}");
    let wrong = served.file("wrong.yaml", &WIDGET.replace("size: S", "size: M"));
    let refused = served.fails(&["apply", "-f", &wrong]).await;
    assert!(refused.contains("spec.size: Unsupported value: \"M\""), "{refused}");
    served.ok(&["diff", "-f", &widget]).await;
    let large = served.file("large.yaml", &WIDGET.replace("size: S", "size: L"));
    assert!(served.fails(&["diff", "-f", &large]).await.contains("+  size: L"));
    assert!(served.ok(&["apply", "--dry-run=server", "-f", &large]).await.contains("dry run"));
    assert!(served.ok(&["get", "wd", "one", "-o", "jsonpath={.spec.size}"]).await == "S");
    let forced = ["apply", "--server-side", "--force-conflicts", "-f", &large];
    assert!(served.ok(&forced).await.contains("serverside-applied"));
    assert!(served.ok(&["get", "wd", "one", "-o", "jsonpath={.spec.size}"]).await == "L");
}

async fn reading(served: &Served) {
    let table = served.ok(&["get", "things", "-A"]).await;
    let mut lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    assert_eq!(lines.next().unwrap(), ["NAMESPACE", "NAME", "REPLICAS", "READY", "AGE"]);
    assert_eq!(lines.next().unwrap()[..3], ["default", "one", "1"]);
    let described = served.ok(&["describe", "widget", "one"]).await;
    assert!(described.contains("Events:  "), "{described}");
    assert!(served.ok(&["get", "all", "-A"]).await.contains("No resources found"));
    assert!(
        served.ok(&["get", "crd,ns,cm,secret,lease,ev", "-A"]).await.contains("namespace/default")
    );
    assert_eq!(served.ok(&["get", "--raw", "/readyz"]).await, "ok");
    assert_eq!(served.ok(&["auth", "can-i", "create", "widgets"]).await.trim(), "yes");
    assert!(served.ok(&["auth", "whoami"]).await.contains("kubernetes-admin"));
    assert!(served.ok(&["version"]).await.contains("Server Version: v1.36"));
}

async fn watching(served: &Served) {
    let (mut child, mut lines) = served.follow(&["get", "widgets", "-A", "-w"]);
    assert!(next(&mut lines).await.starts_with("NAMESPACE"));
    assert!(next(&mut lines).await.contains("one"));
    served.ok(&["scale", "widget", "one", "--replicas=4"]).await;
    let line = next(&mut lines).await;
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[..3], ["default", "one", "4"]);
    child.kill().await.unwrap();
    let (mut child, mut lines) =
        served.follow(&["get", "widgets", "--output-watch-events", "-w", "-o", "name"]);
    assert!(next(&mut lines).await.contains("one"));
    child.kill().await.unwrap();
    let ready = "{\"status\":{\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\"}]}}";
    let arguments = ["patch", "wd", "one", "--type=merge", "--subresource=status", "-p", ready];
    served.ok(&arguments).await;
    served.ok(&["wait", "--for=condition=Ready", "wd/one", "--timeout=10s"]).await;
}

async fn changing(served: &Served) {
    served.ok(&["create", "namespace", "other"]).await;
    served.ok(&["create", "configmap", "c", "--from-literal=a=b", "-n", "other"]).await;
    served.ok(&["create", "secret", "generic", "s", "--from-literal=a=b", "-n", "other"]).await;
    served.ok(&["label", "configmap", "c", "x=y", "-n", "other"]).await;
    served.ok(&["annotate", "widget", "one", "x=y"]).await;
    served.ok(&["patch", "secret", "s", "-n", "other", "-p", "{\"data\":{\"c\":\"ZA==\"}}"]).await;
    let data = served.ok(&["get", "secret", "s", "-n", "other", "-o", "jsonpath={.data}"]).await;
    assert_eq!(data, "{\"a\":\"Yg==\",\"c\":\"ZA==\"}");
    let map = served.file(
        "map.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: b, c: d}\n",
    );
    served.ok(&["apply", "-f", &map]).await;
    let map = served
        .file("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: m}\ndata: {a: x}\n");
    served.ok(&["apply", "-f", &map]).await;
    assert_eq!(served.ok(&["get", "cm", "m", "-o", "jsonpath={.data}"]).await, "{\"a\":\"x\"}");
    let mut edit = served.command(&["edit", "cm", "m"]);
    let edited = edit.env("EDITOR", "sed -i s/a:.x/a:\\ z/").output().await.unwrap();
    assert!(edited.status.success(), "{edited:?}");
    assert_eq!(served.ok(&["get", "cm", "m", "-o", "jsonpath={.data.a}"]).await, "z");
    served.ok(&["replace", "-f", &map]).await;
}

async fn permissions(served: &Served) {
    let jane = ["--as=jane", "--as-group=dev"];
    let may = async |verb: &str, what: &str, who: &[&str]| {
        let (good, text) = served.run(&[&["auth", "can-i", verb, what], who].concat()).await;
        let answer = text.lines().last().unwrap_or_default().to_owned();
        assert_eq!(good, answer == "yes", "{text}");
        answer
    };
    assert_eq!(may("list", "configmaps", &jane).await, "no");
    let refused = served.fails(&[&["get", "cm"], &jane[..]].concat()).await;
    let words = "configmaps is forbidden: User \"jane\" cannot list resource \"configmaps\" in API \
                 group \"\" in the namespace \"default\"";
    assert!(refused.contains(words), "{refused}");
    served.ok(&["create", "clusterrole", "look", "--verb=get,list", "--resource=cm,widgets"]).await;
    served.ok(&["create", "clusterrolebinding", "dev", "--clusterrole=look", "--group=dev"]).await;
    assert_eq!(may("list", "configmaps", &jane).await, "yes");
    assert_eq!(may("list", "widgets.example.org", &jane).await, "yes");
    assert_eq!(may("delete", "configmaps", &jane).await, "no");
    assert_eq!(may("*", "*", &[]).await, "yes");
    assert!(served.ok(&[&["get", "cm"], &jane[..]].concat()).await.contains('m'));
    let list = served.ok(&[&["auth", "can-i", "--list"], &jane[..]].concat()).await;
    assert!(list.contains("widgets.example.org") && list.contains("[get list]"), "{list}");
    assert!(served.ok(&[&["auth", "whoami"], &jane[..]].concat()).await.contains("dev"));
    served
        .ok(&["create", "role", "robot", "--verb=delete", "--resource=cm", "--resource-name=m"])
        .await;
    let to = ["--role=robot", "--serviceaccount=default:robot"];
    served.ok(&[&["create", "rolebinding", "robot"], &to[..]].concat()).await;
    let robot = ["--as=system:serviceaccount:default:robot"];
    assert_eq!(may("delete", "cm/m", &robot).await, "yes");
    assert_eq!(may("delete", "cm/other", &robot).await, "no");
    assert!(served.ok(&["get", "rolebindings"]).await.contains("Role/robot"));
    assert!(served.ok(&["get", "clusterroles"]).await.contains("cluster-admin"));
    assert!(served.ok(&["describe", "clusterrole", "look"]).await.contains("widgets.example.org"));
    assert!(served.ok(&["describe", "rolebinding", "robot"]).await.contains("ServiceAccount"));
    let other = served.ok(&["get", "rolebinding", "robot", "-o", "yaml"]).await;
    let other = served.file("binding.yaml", &other.replace("kind: Role\n", "kind: ClusterRole\n"));
    let refused = served.fails(&["replace", "-f", &other]).await;
    assert!(refused.contains("cannot change roleRef"), "{refused}");
    let other = served.file(
        "binding.yaml",
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: robot, \
         namespace: default}\nroleRef: {kind: ClusterRole, name: look}\nsubjects: []\n",
    );
    assert!(served.ok(&["auth", "reconcile", "-f", &other]).await.contains("reconciled"));
    let review = |token: &str| {
        format!(
            "apiVersion: authentication.k8s.io/v1\nkind: TokenReview\nspec: {{token: {token}}}\n"
        )
    };
    for (token, good) in [("a-token", "true system:masters"), ("b-token", "false ")] {
        let review = served.file("review.yaml", &review(token));
        let shown = "jsonpath={.status.authenticated} {.status.user.groups[0]}";
        assert_eq!(served.ok(&["create", "-f", &review, "-o", shown]).await, good);
    }
}

async fn deleting(served: &Served) {
    served.ok(&["delete", "namespace", "other", "--timeout=20s"]).await;
    assert!(served.fails(&["get", "namespace", "other"]).await.contains("not found"));
    let hold = "{\"metadata\":{\"finalizers\":[\"example.org/hold\"]}}";
    served.ok(&["patch", "wd", "one", "--type=merge", "-p", hold]).await;
    let waiting = served.fails(&["delete", "wd", "one", "--timeout=1s"]).await;
    assert!(waiting.contains("timed out"), "{waiting}");
    let free = "{\"metadata\":{\"finalizers\":null}}";
    served.ok(&["patch", "wd", "one", "--type=merge", "-p", free]).await;
    served.ok(&["wait", "--for=delete", "wd/one", "--timeout=10s"]).await;
    served.ok(&["delete", "crd", "widgets.example.org", "--timeout=20s"]).await;
    // The message depends on whether kubectl still has the kind in its cache.
    served.fails(&["get", "widgets"]).await;
}

async fn without_certificate(served: &Served) {
    let url = std::fs::read_to_string(served.dir.path().join("kubeconfig")).unwrap();
    let url = url.lines().find_map(|line| line.trim().strip_prefix("server: ")).unwrap();
    let url = url.trim_matches('"');
    let base = ["--kubeconfig=/dev/null", "--insecure-skip-tls-verify", "-s", url];
    let nobody = [&base[..], &["--token=wrong", "get", "ns"]].concat();
    let refused = served.fails(&nobody).await;
    assert!(refused.contains("Unauthorized") || refused.contains("logged in"), "{refused}");
    let token = [&base[..], &["--token=a-token", "get", "ns"]].concat();
    assert!(served.ok(&token).await.contains("kube-system"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stock_kubectl_works() {
    let kubectls: Vec<&str> =
        KUBECTLS.into_iter().filter(|path| Path::new(path).exists()).collect();
    if kubectls.is_empty() {
        println!("SKIPPED: none of {KUBECTLS:?} is installed");
    }
    for kubectl in kubectls {
        println!("with {kubectl}");
        let served = Served::start(Path::new(kubectl)).await;
        definitions(&served).await;
        applying(&served).await;
        reading(&served).await;
        watching(&served).await;
        changing(&served).await;
        permissions(&served).await;
        deleting(&served).await;
        without_certificate(&served).await;
        served.end().await;
    }
}
