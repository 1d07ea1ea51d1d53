//! Gives a running load balancer its configuration, and lets haproxy take it over without
//! dropping connections.

use std::time::Duration;

use capn_plan::balancer::{Kind, OCI_CONFIG};
use incus_api::InstanceAction;
use incus_client::{ExecOutput, ExecRequest, FileOptions};

use super::validate::Subject;
use crate::{context::Context, failure::Failure, remote::Remote};

/// How long that may take, also while the instance still boots.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long connections to a control plane that leaves may go on, for what is being answered.
const GRACE_SECONDS: &str = "1";
/// Exit code of [`CONFIGURE`] when haproxy refuses the configuration.
const REFUSED: i32 = 65;
/// Where a configuration is checked in an application container.
const OCI_CANDIDATE: &str = "/usr/local/etc/haproxy/.haproxy.cfg.capn";
/// The program in an application container.
const OCI_HAPROXY: &str = "/usr/sbin/haproxy";

/// Takes a configuration from standard input, checks it, moves clients of the servers that leave
/// elsewhere, puts the configuration in place in one move, and reloads. A service that is not up
/// yet starts with it. Its arguments are the seconds of grace and the servers that leave.
///
/// The program that moves clients asks each of haproxy's processes, old ones with connections
/// from before a reload too, which of its servers leave: they get no new connections, and after
/// the grace those they have are ended, upon which clients come back and are sent to others. An
/// image without Perl or without that socket reloads only.
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

/// Gives the load balancer a configuration. Servers in `leaving` get no new connections from then
/// on, and lose those they have.
///
/// # Cancellation
///
/// The configuration before is in place, or this one; doing it again is no harm.
pub(crate) async fn configure(
    ctx: &Context,
    remote: &Remote,
    subject: &Subject,
    text: &str,
    leaving: &[String],
) -> Result<(), Failure> {
    match subject.kind {
        Kind::Lxc => in_system_container(remote, subject, text, leaving).await,
        Kind::Oci => in_application_container(ctx, remote, subject, text).await,
    }
}

async fn in_system_container(
    remote: &Remote,
    subject: &Subject,
    text: &str,
    leaving: &[String],
) -> Result<(), Failure> {
    let command = ["sh", "-c", CONFIGURE, "capn", GRACE_SECONDS]
        .into_iter()
        .map(str::to_owned)
        .chain(leaving.iter().cloned());
    let request = ExecRequest {
        stdin: Some(text.to_owned().into()),
        deadline: DEADLINE,
        ..ExecRequest::new(command)
    };
    let output = run(remote, subject, request).await?;
    match output.exit_code {
        0 => Ok(()),
        REFUSED => Err(refused(subject, &output)),
        _ => Err(Failure::command("configure", subject.name.as_str(), &output)),
    }
}

/// There is no shell in it: files are put in by the server, and haproxy checks and is told by
/// commands of its own.
async fn in_application_container(
    ctx: &Context,
    remote: &Remote,
    subject: &Subject,
    text: &str,
) -> Result<(), Failure> {
    let instance = subject.name.as_str();
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
    let checked = run(remote, subject, check).await?;
    if checked.exit_code != 0 {
        return Err(refused(subject, &checked));
    }
    put(OCI_CONFIG).await?;
    let told = run(remote, subject, command(&["kill", "-USR2", "1"])).await?;
    if told.exit_code == 0 {
        return Ok(());
    }
    // An image without that program: connections are lost, and clients come back.
    tracing::info!(instance, "is restarted, since it cannot be told of its configuration");
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
    subject: &Subject,
    request: ExecRequest,
) -> Result<ExecOutput, Failure> {
    let instance = subject.name.as_str();
    let ran = remote.client.exec(instance, request).await;
    ran.map_err(Failure::server("configure", instance))
}

/// haproxy does not take the configuration. Only the user can help if it is the user's own.
fn refused(subject: &Subject, output: &ExecOutput) -> Failure {
    if !subject.has_template() {
        return Failure::command("configure", subject.name.as_str(), output);
    }
    Failure::Invalid {
        message: format!(
            "haproxy refuses what spec.loadBalancer.{}.customHAProxyConfigTemplate renders to (line numbers are of the result): {}",
            subject.kind.as_str(),
            output.last_lines(3)
        ),
    }
}
