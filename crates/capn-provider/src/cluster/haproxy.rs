//! Updates the configuration of a running load balancer without dropping connections.

use std::time::Duration;

use capn_plan::balancer::{Kind, OCI_CONFIG};
use incus_api::InstanceAction;
use incus_client::{ExecOutput, ExecRequest, FileOptions};

use super::validate::ValidCluster;
use crate::{context::Context, failure::Failure, remote::Remote};

/// Deadline for the update, which must also cover the boot of the instance.
const DEADLINE: Duration = Duration::from_secs(30);
/// Seconds that connections to a draining control plane may continue, for responses in progress.
const GRACE_SECONDS: &str = "1";
/// Exit code of [`CONFIGURE`] if haproxy rejects the configuration.
const REFUSED: i32 = 65;
/// Path where a configuration is validated in an application container.
const OCI_CANDIDATE: &str = "/usr/local/etc/haproxy/.haproxy.cfg.capn";
/// Path of haproxy in an application container.
const OCI_HAPROXY: &str = "/usr/sbin/haproxy";

/// Reads a configuration from standard input, validates it, drains the given servers, replaces the
/// configuration file atomically, and reloads haproxy. A service that is not running yet starts
/// with the new file. The arguments are the grace period in seconds and the servers to drain.
///
/// The drain script asks every haproxy process, including old ones that still have connections, for
/// the servers to drain. These get no new connections. After the grace period the remaining
/// connections are closed, and the clients reconnect to other servers. Without Perl or the admin
/// socket in the image, haproxy is only reloaded.
const CONFIGURE: &str = r#"set -eu
umask 077
new=/etc/haproxy/.haproxy.cfg.capn
cat > "$new"
haproxy -c -q -f "$new" || exit 65
if [ $# -gt 1 ] && command -v perl >/dev/null; then
  perl -e '
    use IO::Socket::UNIX;
    my ($grace, %leave) = (shift, map { $_ => 1 } @ARGV);
    sub ask {
      my $s = IO::Socket::UNIX->new(Peer => "/run/haproxy-master.sock", Timeout => 2) or exit 0;
      print $s "$_[0]\n"; $s->flush; shutdown($s, 1); local $/; return <$s> // "";
    }
    my @all;
    for (split /\n/, ask("show proc")) {
      my ($pid) = /^(\d+)\s+worker/ or next;
      for (split /\n/, ask("\@!$pid show servers state")) {
        my @f = split / /;
        push @all, [$pid, "$f[1]/$f[3]"] if @f > 5 && $leave{$f[3]};
      }
    }
    exit 0 unless @all;
    ask("\@!$_->[0] set server $_->[1] state drain") for @all;
    sleep $grace;
    ask("\@!$_->[0] shutdown sessions server $_->[1]") for @all;
  ' "$@" || true
fi
chmod 0644 "$new"
mv -f "$new" /etc/haproxy/haproxy.cfg
systemctl reload-or-restart haproxy.service
"#;

/// Updates the configuration of the load balancer. Servers in `draining` get no new connections and
/// lose their existing ones.
///
/// # Cancellation
///
/// Either the old or the new configuration is in place. The update can be repeated.
pub(crate) async fn configure(
    ctx: &Context,
    remote: &Remote,
    valid: &ValidCluster,
    text: &str,
    draining: &[String],
) -> Result<(), Failure> {
    match valid.kind {
        Kind::Lxc => in_system_container(remote, valid, text, draining).await,
        Kind::Oci => in_application_container(ctx, remote, valid, text).await,
    }
}

async fn in_system_container(
    remote: &Remote,
    valid: &ValidCluster,
    text: &str,
    draining: &[String],
) -> Result<(), Failure> {
    let command = ["sh", "-c", CONFIGURE, "capn", GRACE_SECONDS]
        .into_iter()
        .map(str::to_owned)
        .chain(draining.iter().cloned());
    let request = ExecRequest {
        stdin: Some(text.to_owned().into()),
        deadline: DEADLINE,
        ..ExecRequest::new(command)
    };
    let output = run(remote, valid, request).await?;
    match output.exit_code {
        0 => Ok(()),
        REFUSED => Err(refused(valid, &output)),
        _ => Err(Failure::command("configure", valid.name.as_str(), &output)),
    }
}

/// Updates an application container, which has no shell: the server writes the files, and haproxy
/// is run directly to validate and reload.
async fn in_application_container(
    ctx: &Context,
    remote: &Remote,
    valid: &ValidCluster,
    text: &str,
) -> Result<(), Failure> {
    let instance = valid.name.as_str();
    let put = async |path: &str| {
        let options = FileOptions { mode: Some(0o644), make_parents: true, ..Default::default() };
        let put = remote.client.push_file(instance, path, text.to_owned(), &options).await;
        put.map_err(Failure::server("write the configuration of", instance))
    };
    let command = |command: &[&str]| ExecRequest {
        deadline: DEADLINE,
        ..ExecRequest::new(command.iter().copied())
    };
    put(OCI_CANDIDATE).await?;
    let check = command(&[OCI_HAPROXY, "-c", "-q", "-f", OCI_CANDIDATE]);
    let checked = run(remote, valid, check).await?;
    if checked.exit_code != 0 {
        return Err(refused(valid, &checked));
    }
    put(OCI_CONFIG).await?;
    let info = run(remote, valid, command(&["kill", "-USR2", "1"])).await?;
    if info.exit_code == 0 {
        return Ok(());
    }
    // Without that program in the image, connections are lost and clients reconnect.
    tracing::info!(
        instance,
        "restarting the load balancer because it cannot reload its configuration"
    );
    let failure = || Failure::server("restart", instance);
    let restart =
        remote.client.set_state(instance, InstanceAction::Restart, true, Some(DEADLINE)).await;
    let restart = restart.map_err(failure())?;
    tokio::select! {
        ended = restart.wait(DEADLINE) => ended.map(|_| ()).map_err(failure()),
        () = ctx.stop.cancelled() => Err(Failure::Stopping),
    }
}

async fn run(
    remote: &Remote,
    valid: &ValidCluster,
    request: ExecRequest,
) -> Result<ExecOutput, Failure> {
    let instance = valid.name.as_str();
    let ran = remote.client.exec(instance, request).await;
    ran.map_err(Failure::server("configure", instance))
}

/// Returns the failure for a configuration that haproxy rejects. Only the user can fix a custom
/// template.
fn refused(valid: &ValidCluster, output: &ExecOutput) -> Failure {
    if !valid.has_template() {
        return Failure::command("configure", valid.name.as_str(), output);
    }
    Failure::Invalid {
        message: format!(
            "haproxy rejects the output of spec.loadBalancer.{}.customHAProxyConfigTemplate (line numbers refer to the rendered configuration): {}",
            valid.kind.as_str(),
            output.last_lines(3)
        ),
    }
}
