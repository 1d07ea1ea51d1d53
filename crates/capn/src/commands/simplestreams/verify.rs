//! `capn simplestreams verify`

use capn_image::simplestreams::{Verified, load, verify};
use clap::Args;

use super::{failed, rows};
use crate::Context;
use crate::error::CommandError;
use crate::output::{self, Format, OutputArgs};
use crate::signal::Interrupt;
use crate::ui::indented;

/// Options of `simplestreams verify`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example: `capn simplestreams verify https://images.example.org`. Reads every file of every image and checks its size, its SHA-256 and the image fingerprint."
)]
pub struct VerifyArgs {
    /// URL or directory of an image server
    #[arg(value_name = "URL|DIR")]
    pub source: String,
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(in crate::commands) async fn run(
    context: &Context,
    args: VerifyArgs,
) -> Result<(), CommandError> {
    let mut interrupt = Interrupt::listen()?;
    let source = super::source(&args.source)?;
    let act = format!("cannot verify {source}");
    let step = context.ui.step(format!("verify {source}"));
    let work = async {
        let streams = load(&source).await?;
        let mut shown = (String::new(), 0);
        verify(&source, &streams, &mut |path, bytes| {
            let now = (path.to_owned(), bytes / (64 << 20));
            if now != shown {
                step.detail(&format!("{path}, {}", rows::mebibytes(bytes)));
                shown = now;
            }
        })
        .await
    };
    let verified = tokio::select! {
        verified = work => verified.map_err(|error| failed(act, error))?,
        () = interrupt.wait() => return Err(CommandError::interrupted("the verification was interrupted")),
    };
    let count = |number: usize, one: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    };
    let counted = format!(
        "{} in {}, {}",
        count(verified.images, "image"),
        count(verified.files, "file"),
        rows::mebibytes(verified.bytes)
    );
    match verified.problems.len() {
        0 => step.done(format!("{source} holds: {counted}")),
        _ => step.failed(format!("verification of {source} failed: {counted}")),
    }
    print(context, &verified, args.output.format())?;
    match verified.problems.len() {
        0 => Ok(()),
        1 => Err(CommandError::new(format!("{source} has a problem"))),
        count => Err(CommandError::new(format!("{source} has {count} problems"))),
    }
}

/// Problems quote the server.
fn line(problem: &str) -> String {
    format!("{}\n", indented(problem, "  "))
}

fn print(context: &Context, verified: &Verified, format: Format) -> Result<(), CommandError> {
    match format {
        Format::Json => context.ui.data(&output::json(verified)?),
        Format::Yaml => context.ui.data(&output::yaml(verified)?),
        Format::Table | Format::Wide | Format::Name => {
            let lines: String =
                verified.problems.iter().map(|problem| line(&problem.to_string())).collect();
            context.ui.data(&lines)
        }
    }
}
