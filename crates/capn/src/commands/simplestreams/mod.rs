//! `capn simplestreams`: image servers and their directories.

pub mod import;
pub mod show;
pub mod verify;

pub(in crate::commands) mod rows;

use camino::Utf8Path;
use capn_image::simplestreams::{HttpOptions, ImageType, Source, StreamsError};

use crate::error::CommandError;

/// Type of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum TypeArg {
    /// System containers
    Container,
    /// Virtual machines
    VirtualMachine,
}

impl From<TypeArg> for ImageType {
    fn from(argument: TypeArg) -> Self {
        match argument {
            TypeArg::Container => Self::Container,
            TypeArg::VirtualMachine => Self::VirtualMachine,
        }
    }
}

/// Parses a directory or server address.
pub(in crate::commands) fn source(text: &str) -> Result<Source, CommandError> {
    let doing = || format!("cannot use {text:?} as an image server");
    Source::parse(text, &HttpOptions::default()).map_err(|error| failed(doing(), error))
}

/// Adds hints to an error of an image tree.
pub(in crate::commands) fn failed(act: impl Into<String>, error: StreamsError) -> CommandError {
    let hint = error.hint();
    CommandError::caused(act, error).hints(hint)
}

/// Runs a blocking import and shows its progress.
pub(in crate::commands) async fn import(
    step: &crate::ui::Step,
    dir: &Utf8Path,
    wanted: capn_image::simplestreams::Import,
) -> Result<capn_image::simplestreams::Imported, CommandError> {
    let dir = dir.to_owned();
    let act = format!("cannot add the image to {dir}");
    let (sender, mut receiver) = tokio::sync::watch::channel(0);
    let work = tokio::task::spawn_blocking(move || {
        let now = jiff::Timestamp::now();
        capn_image::simplestreams::import(&dir, &wanted, now, &mut |done, total| {
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
            sender.send_if_modified(|shown| std::mem::replace(shown, percent) != percent);
        })
    });
    tokio::pin!(work);
    loop {
        tokio::select! {
            Ok(()) = receiver.changed() => {
                step.detail(&format!("{} %", *receiver.borrow_and_update()));
            }
            done = &mut work => {
                return match done {
                    Ok(result) => result.map_err(|error| failed(act, error)),
                    Err(error) => Err(CommandError::caused(act, error)),
                };
            }
        }
    }
}
