//! Puts files into an instance that never ran. Each can be put in again without harm, so that an
//! interruption anywhere is healed by doing all of it again.

use capn_plan::{
    InstanceName,
    files::{self, Piece},
};
use incus_api::{ImageMetadataTemplate, InstanceType};
use incus_client::FileOptions;

use crate::{failure::Failure, remote::Remote};

/// Puts `pieces` into an instance, in their order.
///
/// A container gets files. The disk of a virtual machine is not open to the server, which hands
/// over templates when it starts instead; links and edits are not possible there.
///
/// # Errors
///
/// When the server refuses, and a final one for a link or an edit in a virtual machine.
pub(crate) async fn put(
    remote: &Remote,
    name: &InstanceName,
    kind: &InstanceType,
    pieces: &[Piece],
) -> Result<(), Failure> {
    if pieces.is_empty() {
        return Ok(());
    }
    if *kind == InstanceType::VirtualMachine {
        return put_templates(remote, name, pieces).await;
    }
    for piece in pieces {
        put_piece(remote, name, piece).await?;
    }
    Ok(())
}

async fn put_piece(remote: &Remote, name: &InstanceName, piece: &Piece) -> Result<(), Failure> {
    let failure = |act| Failure::server(act, name.as_str());
    let (client, instance) = (&remote.client, name.as_str());
    let root = |mode| FileOptions { mode, uid: Some(0), gid: Some(0), make_parents: true };
    match piece {
        Piece::File { path, text, mode } => client
            .push_file(instance, path, text.clone(), &root(Some(*mode)))
            .await
            .map_err(failure("write a file of")),
        Piece::Link { path, target } => client
            .symlink(instance, path, target, &root(None))
            .await
            .map_err(failure("make a link in")),
        Piece::Edit { path, changes } => {
            let found = client.pull_file(instance, path).await;
            let Some(found) = found.map_err(failure("read a file of"))? else { return Ok(()) };
            let text = String::from_utf8_lossy(&found.content);
            let Some(text) = files::edited(&text, changes) else { return Ok(()) };
            // The file keeps its owner and mode.
            client
                .push_file(instance, path, text, &FileOptions::default())
                .await
                .map_err(failure("change a file of"))
        }
    }
}

async fn put_templates(
    remote: &Remote,
    name: &InstanceName,
    pieces: &[Piece],
) -> Result<(), Failure> {
    let failure = |act| Failure::server(act, name.as_str());
    let (client, instance) = (&remote.client, name.as_str());
    let found = client.metadata(instance).await.map_err(failure("read the templates of"))?;
    let mut metadata = found.value.clone();
    for piece in pieces {
        let Piece::File { path, text, mode } = piece else {
            return Err(Failure::Invalid {
                message: format!(
                    "{} cannot be put into a virtual machine; use another image or spec.instanceType",
                    piece.path()
                ),
            });
        };
        let file = files::template_name(path);
        client
            .put_template_file(instance, &file, files::as_template(text).into())
            .await
            .map_err(failure("write a template of"))?;
        let template = ImageMetadataTemplate {
            when: vec!["create".to_owned()],
            template: file,
            create_only: true,
            mode: format!("{mode:04o}"),
            ..ImageMetadataTemplate::default()
        };
        metadata.templates.insert(path.clone(), template);
    }
    if metadata == found.value {
        return Ok(());
    }
    client
        .set_metadata(instance, &metadata, None)
        .await
        .map_err(failure("register the templates of"))
}
