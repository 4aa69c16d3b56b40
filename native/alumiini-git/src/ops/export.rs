//! `export`: the files of a commit for other programs.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::fit::Fit;
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::enclosing;
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Export as Told};
use crate::reference::shown;
use crate::repo::blobs::Blobs;
use crate::repo::export::{Archive, Dest, Export as Place, Sink, hex};
use crate::repo::lock::DirLock;
use crate::repo::tree_files::{GITLINK, KIND, LINK, link_target};
use crate::repo::{raw_object, revision};
use crate::selection::Selection;
use crate::worker::Worker;

const DEFAULT_MAX_BYTES: u64 = 4 << 30;
const MAX_BYTES: u64 = 1 << 40;
/// The most bytes of one file, which is in memory while it is written.
const MAX_CONTENT: u64 = 1 << 30;
/// The longest grace, in milliseconds: a day.
const MAX_GRACE: u64 = 24 * 3_600 * 1_000;

#[derive(Debug)]
pub(crate) struct Export {
    path: PathBuf,
    dest: PathBuf,
    subpath: PathBuf,
    selection: Selection,
    at: Option<Vec<u8>>,
    format: Format,
    max_bytes: u64,
    grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Format {
    Directory { is_link: bool },
    TarGz,
}

impl Operation for Export {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let is_link = fields.flag("link")?;
        let format = match fields.text_if("format")?.as_deref() {
            None | Some("directory") => Format::Directory { is_link },
            Some("tar_gz") if is_link => {
                let message = "`link` is for directories; an archive is one file";
                return Err(Error::invalid(message));
            }
            Some("tar_gz") => Format::TarGz,
            Some(_) => return Err(Error::invalid("`format` is directory or tar_gz")),
        };
        Ok(Export {
            path: fields.path("path")?,
            dest: fields.path("dest")?,
            subpath: fields.path_or_empty("subpath")?,
            selection: Selection::new(fields.names_if("match")?, fields.names_if("ignore")?)?,
            at: revision::decode(fields.bytes_if("at")?)?,
            format,
            max_bytes: fields.at_most("max_bytes", DEFAULT_MAX_BYTES, MAX_BYTES)?,
            grace: Duration::from_millis(fields.at_most("grace", 0, MAX_GRACE)?),
        })
    }

    fn describe(&self) -> String {
        format!(
            "export of {} to {}",
            self.path.display(),
            self.dest.display()
        )
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let worker = context.worker.clone();
        let dest = {
            let (shared, asked) = (worker.clone(), self.dest.clone());
            let find = move || find(&shared, &asked);
            worker.disk.run(find).await?
        };
        let lock = DirLock::take(|| {
            let dest = dest.clone();
            worker.disk.run(move || dest.try_lock())
        });
        let lock = lock.await?;
        let (path, pool) = (self.path.clone(), &worker.disk);
        let (grace, later) = (self.grace, (worker.clone(), dest.clone()));
        let told = object_read::read_in(context, pool, path, move |objects, _| {
            export(objects, &self, &dest, &lock).map(Fit::Whole)
        });
        let told = told.await?;
        if !grace.is_zero() {
            let (worker, dest) = later;
            tokio::spawn(sweep(worker, dest, grace));
        }
        Ok((Answer::Export(Box::new(told)), None))
    }
}

/// The place of an export. `unsafe_path` in a working tree, where a sync would remove the export.
fn find(worker: &Worker, asked: &Path) -> Result<Dest> {
    let root = worker.allowed.now().root.clone();
    let dest = Dest::find(asked, root.as_deref())?;
    match enclosing(dest.parent(), root.as_deref()) {
        None => Ok(dest),
        Some(repository) => {
            let message = format!(
                "{} is in the working tree of {}, where a sync would remove it; export to a \
                 place outside",
                asked.display(),
                repository.display()
            );
            Err(Error::new(Kind::UnsafePath, message).with(Key::Path, Name::of(asked)))
        }
    }
}

/// Removes what was replaced, once its grace is over. After a restart, the next export does that.
async fn sweep(worker: std::sync::Arc<Worker>, dest: Dest, grace: Duration) {
    tokio::time::sleep(grace).await;
    let work = move || {
        if let Some(lock) = dest.try_lock()? {
            let job = crate::task::job::Job::unattended();
            Place::new(&dest, &lock, grace)?.sweep(&job)?;
        }
        Ok(())
    };
    let _ = worker.disk.run(work).await;
}

fn export(objects: &Objects<'_>, ask: &Export, dest: &Dest, lock: &DirLock) -> Result<Told> {
    let commit = objects.commit(ask.at.as_deref())?;
    let place = Place::new(dest, lock, ask.grace)?;
    let id = commit.to_string();
    let name = &id[..12];
    let (count, digest) = match ask.format {
        Format::Directory { is_link } => {
            let write = |sink: &mut _| write(objects, ask, commit, sink);
            place.directory(name, is_link, objects.job, write)?
        }
        Format::TarGz => {
            let time = raw_object::read_commit(&objects.odb()?, commit)?.date;
            place.file(name, objects.job, |file| {
                let mut archive = Archive::new(file, time, &ask.dest)?;
                let (count, _) = write(objects, ask, commit, &mut archive)?;
                Ok((count, archive.end()?))
            })?
        }
    };
    Ok(Told {
        commit: id,
        digest: format!("sha256:{digest}"),
        files: count.files,
        bytes: count.bytes,
    })
}

#[derive(Default)]
struct Count {
    files: u64,
    bytes: u64,
}

/// Gives the files of `commit` to `sink`. Returns their number, and the SHA-256 of their list: the
/// mode, id and path of each.
fn write(
    objects: &Objects<'_>,
    ask: &Export,
    commit: git2::Oid,
    sink: &mut impl Sink,
) -> Result<(Count, String)> {
    let mut blobs = Blobs::of(objects.repo)?;
    // Paths are relative to the subpath.
    let directory = objects.directory(commit, &ask.subpath)?.into_root();
    let (mut count, mut digest) = (Count::default(), Sha256::new());
    objects.visit(&directory, &ask.selection, None, |file| {
        let (path, id, mode) = (&file.path, file.is.id, file.is.mode);
        digest.update(format!("{mode:o} {id} "));
        digest.update(path);
        digest.update([0]);
        count.files += 1;
        if mode & KIND == GITLINK {
            sink.submodule(path)?;
            return Ok(ControlFlow::Continue(()));
        }
        let size = blobs.size(id)?;
        count.bytes += size;
        if size > MAX_CONTENT {
            let advice = "leave it out by match or ignore";
            return Err(too_large(path, "has", size, MAX_CONTENT, advice));
        }
        if count.bytes > ask.max_bytes {
            let advice = "export less by a subpath, match or ignore, or raise max_bytes";
            return Err(too_large(
                path,
                "would make",
                count.bytes,
                ask.max_bytes,
                advice,
            ));
        }
        let content = blobs.content(id, size)?;
        match mode & KIND {
            LINK => sink.link(path, link_target(&content))?,
            _ => sink.file(path, mode & 0o100 != 0, &content)?,
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok((count, hex(&digest.finalize())))
}

fn too_large(path: &[u8], does: &str, bytes: u64, limit: u64, advice: &str) -> Error {
    let message = format!(
        "`{}` {does} {bytes} bytes, more than the limit of {limit}; {advice}",
        shown(path)
    );
    Error::new(Kind::TooLarge, message)
        .with(Key::File, Name::new(path))
        .with(Key::Limit, limit)
}
