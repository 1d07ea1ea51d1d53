//! `--escape-test`: tests escape vectors of a node, or of a pod in it.

use camino::Utf8Path;
use capn_doctor::escape::{self, EscapeReport, PodName, Targets, VectorState};

use crate::Context;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::output::{self, Format};
use crate::preflight;
use crate::ui::Table;

/// Tests the escape vectors of a node or of a pod in it and prints the results. Fails if one is
/// open.
pub(super) async fn run(
    context: &Context,
    identity: &Identity,
    node: &str,
    pod: Option<&PodName>,
    root: &Utf8Path,
    format: Format,
) -> Result<(), CommandError> {
    let client = identity.client()?;
    preflight::contact(identity, &client).await?;
    // Only this host's own files and addresses are known.
    let targets = match identity.socket() {
        Some(_) => Targets::of_host(root),
        None => Targets::default(),
    };
    let subject = escape::subject(node, pod);
    let step = context.ui.step(format!("escape vectors of {subject}"));
    let report = escape::try_vectors(&client, node, pod, &targets).await.map_err(|error| {
        let hint = error.hint();
        CommandError::caused(format!("cannot test the escape vectors of {subject}"), error)
            .hints(hint)
    })?;
    step.done(format!(
        "tested {} escape vectors of {subject} ({})",
        report.vectors.len(),
        report.mode
    ));
    print(context, &report, format)?;
    verdict(&report)
}

fn print(context: &Context, report: &EscapeReport, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => return context.ui.data(&output::json(report)?),
        Format::Yaml => return context.ui.data(&output::yaml(report)?),
        Format::Name => {
            let open = report.names(VectorState::Open);
            return context.ui.data(&open.iter().map(|n| format!("{n}\n")).collect::<String>());
        }
        Format::Table | Format::Wide => {}
    }
    let mut doors: Vec<_> = report.vectors.iter().collect();
    // Open ones first, then in table order.
    doors.sort_by_key(|tried| tried.result);
    let wide = format == Format::Wide;
    let mut head = vec!["RESULT", "FAMILY", "VECTOR"];
    head.extend(if wide { vec!["IMPACT", "DETAIL"] } else { vec!["DETAIL"] });
    let mut table = Table::new(head);
    for tried in doors {
        let mut cells =
            vec![tried.result.to_string(), tried.vector.family.into(), tried.vector.name.into()];
        if wide {
            cells.push(tried.vector.gives.into());
        }
        cells.push(tried.detail.clone());
        table.row(cells);
    }
    context.ui.table(&table)?;
    for note in &report.notes {
        context.ui.note(note);
    }
    context.ui.say(format!(
        "{} open, {} unknown, {} absent, {} closed",
        report.count(VectorState::Open),
        report.count(VectorState::Unknown),
        report.count(VectorState::Absent),
        report.count(VectorState::Closed),
    ));
    Ok(())
}

fn verdict(report: &EscapeReport) -> Result<(), CommandError> {
    if report.holds() {
        return Ok(());
    }
    let (open, unknown) = (report.names(VectorState::Open), report.names(VectorState::Unknown));
    let subject = escape::subject(&report.node, report.pod.as_ref());
    if open.is_empty() {
        return Err(CommandError::new(format!(
            "the test of {} escape vectors of {subject} is inconclusive: {}",
            unknown.len(),
            unknown.join(", ")
        )));
    }
    let mut error = CommandError::new(match open.as_slice() {
        [one] => format!("an escape vector of {subject} is open: {one}"),
        many => format!("{} escape vectors of {subject} are open", many.len()),
    });
    if open.contains(&"processors-offline") {
        error = error
            .hint("run `capn doctor` on the host to check whether lxcfs allows nodes to write");
    }
    if report.pod.is_some() && open.contains(&"initial-user-namespace") {
        error = error.hint("give the pod its own user namespace: `hostUsers: false`");
    }
    if report.mode == escape::Mode::Privileged {
        error =
            error.hint("use unprivileged nodes to close them: `--isolation shared` or `isolated`");
    }
    Err(error)
}
