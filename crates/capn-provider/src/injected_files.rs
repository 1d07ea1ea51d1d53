//! Injects files into an instance that has never run. Every injection can be repeated, so an
//! interrupted one is started over.

use capn_plan::{
    InstanceName,
    files::{self, InjectedFile},
};
use incus_api::{ImageMetadataTemplate, InstanceType};
use incus_client::FileOptions;

use crate::{failure::Failure, remote::Remote};

/// Injects files into an instance, in order.
///
/// Files are written into a container. The server has no access to the disk of a virtual machine;
/// there it renders templates at the first start, which cannot create links or edit files.
///
/// # Errors
///
/// A failure of the server, or a final failure for a link or an edit in a virtual machine.
pub(crate) async fn put(
    remote: &Remote,
    name: &InstanceName,
    kind: &InstanceType,
    injected_files: &[InjectedFile],
) -> Result<(), Failure> {
    if injected_files.is_empty() {
        return Ok(());
    }
    if *kind == InstanceType::VirtualMachine {
        return put_templates(remote, name, injected_files).await;
    }
    for injected_file in injected_files {
        put_file(remote, name, injected_file).await?;
    }
    Ok(())
}

async fn put_file(
    remote: &Remote,
    name: &InstanceName,
    injected_file: &InjectedFile,
) -> Result<(), Failure> {
    let failure = |act| Failure::server(act, name.as_str());
    let (client, instance) = (&remote.client, name.as_str());
    let root = |mode| FileOptions { mode, uid: Some(0), gid: Some(0), make_parents: true };
    match injected_file {
        InjectedFile::File { path, text, mode } => client
            .push_file(instance, path, text.clone(), &root(Some(*mode)))
            .await
            .map_err(failure("write a file of")),
        InjectedFile::Link { path, target } => client
            .symlink(instance, path, target, &root(None))
            .await
            .map_err(failure("create a link in")),
        InjectedFile::Edit { path, changes } => {
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
    injected_files: &[InjectedFile],
) -> Result<(), Failure> {
    let failure = |act| Failure::server(act, name.as_str());
    let (client, instance) = (&remote.client, name.as_str());
    let found = client.metadata(instance).await.map_err(failure("read the templates of"))?;
    let mut metadata = found.value.clone();
    for injected_file in injected_files {
        let InjectedFile::File { path, text, mode } = injected_file else {
            return Err(Failure::Invalid {
                message: format!(
                    "{} cannot be injected into a virtual machine; use another image or spec.instanceType",
                    injected_file.path()
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
