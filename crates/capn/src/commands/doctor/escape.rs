//! `--escape-test`: the doors out of a node, or of a pod in it.

use camino::Utf8Path;
use capn_doctor::escape::{self, DoorState, EscapeReport, PodName, Targets};

use crate::Context;
use crate::error::CommandError;
use crate::identity::Identity;
use crate::output::{self, Format};
use crate::preflight;
use crate::ui::Table;

/// Tries the doors of a node, or of a pod in it, and prints them; an open one is a failure.
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
    // What a node must not reach is known only of the host we are on.
    let targets = match identity.socket() {
        Some(_) => Targets::of_host(root),
        None => Targets::default(),
    };
    let subject = escape::subject(node, pod);
    let step = context.ui.step(format!("doors out of {subject}"));
    let report = escape::try_doors(&client, node, pod, &targets).await.map_err(|error| {
        let hint = error.hint();
        CommandError::caused(format!("cannot try the doors of {subject}"), error).hints(hint)
    })?;
    step.done(format!("{} doors out of {subject} ({}) tried", report.doors.len(), report.mode));
    print(context, &report, format)?;
    verdict(&report)
}

fn print(context: &Context, report: &EscapeReport, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => return context.ui.data(&output::json(report)?),
        Format::Yaml => return context.ui.data(&output::yaml(report)?),
        Format::Name => {
            let open = report.names(DoorState::Open);
            return context.ui.data(&open.iter().map(|n| format!("{n}\n")).collect::<String>());
        }
        Format::Table | Format::Wide => {}
    }
    let mut doors: Vec<_> = report.doors.iter().collect();
    // Open ones first; within a state as in the table of doors.
    doors.sort_by_key(|tried| tried.result);
    let wide = format == Format::Wide;
    let mut head = vec!["RESULT", "FAMILY", "DOOR"];
    head.extend(if wide { vec!["AN OPEN ONE GIVES", "ANSWER"] } else { vec!["ANSWER"] });
    let mut table = Table::new(head);
    for tried in doors {
        let mut cells =
            vec![tried.result.to_string(), tried.door.family.into(), tried.door.name.into()];
        if wide {
            cells.push(tried.door.gives.into());
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
        report.count(DoorState::Open),
        report.count(DoorState::Unknown),
        report.count(DoorState::Absent),
        report.count(DoorState::Closed),
    ));
    Ok(())
}

fn verdict(report: &EscapeReport) -> Result<(), CommandError> {
    if report.holds() {
        return Ok(());
    }
    let (open, unknown) = (report.names(DoorState::Open), report.names(DoorState::Unknown));
    let subject = escape::subject(&report.node, report.pod.as_ref());
    if open.is_empty() {
        return Err(CommandError::new(format!(
            "{} doors of {subject} could not be told: {}",
            unknown.len(),
            unknown.join(", ")
        )));
    }
    let mut error = CommandError::new(match open.as_slice() {
        [one] => format!("a door of {subject} is open: {one}"),
        many => format!("{} doors of {subject} are open", many.len()),
    });
    if open.contains(&"processors-offline") {
        error = error.hint("`capn doctor` on the host says whether lxcfs lets nodes write");
    }
    if report.pod.is_some() && open.contains(&"initial-user-namespace") {
        error = error.hint("a pod has a user namespace of its own with `hostUsers: false`");
    }
    if report.mode == escape::Mode::Privileged {
        error = error.hint("unprivileged nodes keep them shut: `--isolation shared` or `isolated`");
    }
    Err(error)
}
