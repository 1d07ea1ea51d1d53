//! Completes container images with the shared libraries of all programs and plugins, and loads each
//! file once in a root directory with only the files of its image.

use std::{collections::BTreeMap, fmt::Write as _, io};

use camino::{Utf8Path, Utf8PathBuf};
use capn_oci::{ContainerImage, Content};
use tokio::{fs, task::spawn_blocking};

use super::{
    BuildError, Stage,
    root::Root,
    step::{Progress, Step},
    workspace::{Workspace, failed},
};
use crate::{
    containers::add_libraries,
    libraries::{Libraries, Trial, elf_files, trials},
};

/// Sources of the files in the images.
pub(super) struct Loading<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) stage: Stage,
    /// The root file system with programs, plugins and libraries.
    pub(super) root: &'a Root,
    /// The directory of Kubernetes binaries.
    pub(super) directory: Option<&'a Utf8Path>,
}

impl Loading<'_> {
    /// Adds the libraries of all files to the images, and loads every file once.
    ///
    /// # Errors
    ///
    /// [`BuildError::DoesNotLoad`] with the first file that fails.
    pub(super) async fn complete(
        &self,
        images: &mut [ContainerImage],
        progress: &mut Progress<'_>,
    ) -> Result<(), BuildError> {
        let tree = self.root.tree();
        let read = failed("read the files of container images in", self.root.directory());
        // By their local path, which is the path that ldd sees.
        let mut files = BTreeMap::new();
        for image in &*images {
            for path in elf_files(image).map_err(read)? {
                let inside = self.path_in_root(path).ok_or_else(|| {
                    read(io::Error::other(format!("{path} is not in a directory of the build")))
                })?;
                files.insert(path.to_owned(), inside);
            }
        }
        let libraries = self.libraries(files.values().cloned().collect(), progress).await?;
        for image in &mut *images {
            for file in &image.files {
                if let Content::Path(path) = &file.content
                    && let Some(library) =
                        files.get(path).and_then(|inside| libraries.missing(inside))
                {
                    return Err(does_not_load(image, &file.path, &missing(library)));
                }
            }
            let needs = |path: &Utf8Path| files.get(path).map_or(&[][..], |p| libraries.of(p));
            add_libraries(image, &tree, needs)
                .map_err(|(file, library)| does_not_load(image, &file, &missing(&library)))?;
        }
        let directory = self.workspace.new_directory("load").await?;
        load(&self.workspace.scripts(), self.stage, images, &directory, progress).await
    }

    fn path_in_root(&self, path: &Utf8Path) -> Option<String> {
        match self.directory.and_then(|directory| path.strip_prefix(directory).ok()) {
            Some(name) => Some(format!("/mnt/{name}")),
            None => self.root.tree().path_inside(path),
        }
    }

    async fn libraries(
        &self,
        files: Vec<String>,
        progress: &mut Progress<'_>,
    ) -> Result<Libraries, BuildError> {
        let output = self.workspace.work().join("libraries");
        self.root
            .enter(Step::new(self.stage, "closure.sh", &self.workspace.scripts()))
            .variable("DEBS", self.workspace.debs())
            .variable("FOLDER", self.directory.unwrap_or(Utf8Path::new("")))
            .variable("FILES", files.join(" "))
            .variable("OUTPUT", &output)
            .run(progress)
            .await?;
        let said = fs::read_to_string(&output).await.map_err(failed("read", &output))?;
        Ok(Libraries::parse(&said, &files))
    }
}

/// Loads every program and plugin of each image once, in a root directory below `directory` with
/// only the files of its image.
async fn load(
    scripts: &Utf8Path,
    stage: Stage,
    images: &[ContainerImage],
    directory: &Utf8Path,
    progress: &mut Progress<'_>,
) -> Result<(), BuildError> {
    let mut tried: Vec<(&ContainerImage, Trial)> = Vec::new();
    let mut lines = String::new();
    for (number, image) in images.iter().enumerate() {
        let root = directory.join(number.to_string());
        let (copy, to) = (image.clone(), root.clone());
        let write = failed("write", &root);
        spawn_blocking(move || lay_out(&copy, &to))
            .await
            .map_err(|join| write(io::Error::other(join)))?
            .map_err(write)?;
        for trial in trials(image).map_err(failed("read the files for", &root))? {
            let argument = trial.argument.unwrap_or_default();
            // Writing to a String cannot fail.
            writeln!(lines, "{root}\t{}\t{argument}", trial.file).ok();
            tried.push((image, trial));
        }
    }
    let (list, output) = (directory.join("trials"), directory.join("problems"));
    fs::write(&list, lines).await.map_err(failed("write", &list))?;
    Step::new(stage, "load.sh", scripts)
        .variable("TRIALS", &list)
        .variable("OUTPUT", &output)
        .run(progress)
        .await?;
    let problems = fs::read_to_string(&output).await.map_err(failed("read", &output))?;
    let Some((number, said)) = problems.lines().find_map(|line| line.split_once('\t')) else {
        return Ok(());
    };
    match number.parse::<usize>().ok().and_then(|number| tried.get(number)) {
        Some((image, trial)) => Err(does_not_load(image, &trial.file, &problem(said))),
        None => Err(failed("read", &output)(io::Error::other(format!("it contains {problems:?}")))),
    }
}

fn does_not_load(image: &ContainerImage, file: &str, problem: &str) -> BuildError {
    BuildError::DoesNotLoad {
        image: image.references.first().cloned().unwrap_or_default(),
        file: format!("/{file}"),
        problem: problem.to_owned(),
    }
}

fn missing(library: &str) -> String {
    format!("the library {library} is missing")
}

/// Normalizes the two forms of the loader's message.
fn problem(said: &str) -> String {
    let said = said.trim();
    let library = match said.strip_suffix(" => not found") {
        Some(library) => Some(library),
        None => said
            .split_once(": cannot open shared object")
            .and_then(|(before, _)| before.rsplit(": ").next()),
    };
    library.map_or_else(|| said.to_owned(), missing)
}

/// Writes the files of an image below `directory`, with hard links where possible.
fn lay_out(image: &ContainerImage, directory: &Utf8Path) -> io::Result<()> {
    for file in &image.files {
        let path = directory.join(&file.path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match &file.content {
            Content::Link(target) => std::os::unix::fs::symlink(target, &path)?,
            Content::Text(text) => std::fs::write(&path, text)?,
            Content::Bytes(bytes) => std::fs::write(&path, bytes)?,
            Content::Path(source) => share(&source.canonicalize_utf8()?, &path)?,
        }
    }
    Ok(())
}

fn share(source: &Utf8PathBuf, path: &Utf8Path) -> io::Result<()> {
    match std::fs::hard_link(source, path) {
        Ok(()) => Ok(()),
        // On another file system.
        Err(_) => std::fs::copy(source, path).map(drop),
    }
}

#[cfg(test)]
mod tests;
