//! `read`: the bytes of one file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::fit::{self, Fit};
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::{self, Source};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::safe_path::Root;
use crate::repo::tree_reader::TreeReader;
use crate::repo::{partial, revision};
use crate::task::share::FREE;
use crate::worker::Worker;

const DEFAULT_MAX_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(crate) struct Read {
    path: PathBuf,
    file: PathBuf,
    /// The commit to read. Without it, the working tree is read, or HEAD's commit if there is no
    /// working tree.
    at: Option<Vec<u8>>,
    /// Whether the reply has the bytes themselves, instead of their base64.
    raw: bool,
    max_bytes: u64,
}

impl Operation for Read {
    const IS_LOCAL_READ: bool = true;

    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Read {
            path: fields.path("path")?,
            file: fields.path("file")?,
            at: revision::decode(fields.bytes_if("at")?)?,
            raw: fields.flag("raw")?,
            max_bytes: fields.max_bytes(DEFAULT_MAX_BYTES)?,
        })
    }

    fn describe(&self) -> String {
        format!("read of {}", self.path.join(&self.file).display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn cached(&self, worker: &Worker) -> Option<Answer> {
        if self.at.is_some() {
            return None;
        }
        // A cached read follows no link, so the path of the request is the place of the file.
        if let Some(root) = &worker.allowed.now().root
            && (!self.path.starts_with(root) || self.path == *root)
        {
            return None;
        }
        let content = worker
            .cached_reads
            .file(&self.path, &self.file, self.max_bytes.min(FREE))?;
        Some(Answer::content(content, self.raw))
    }

    fn blocking(&self, worker: &Worker) -> Option<Result<Answer>> {
        if self.at.is_some() {
            return None;
        }
        let read = |seen: &Source<'_>| content(seen, self, FREE);
        match stable_read::read_now(worker, &self.path, read)? {
            Ok(content) => content.whole().map(|content| {
                worker.cached_reads.learn(&self.path);
                Ok(Answer::content(content, self.raw))
            }),
            Err(error) => Some(Err(error)),
        }
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let (path, raw) = (self.path.clone(), self.raw);
        let content = match self.at.is_some() {
            true => {
                let of_commit = move |objects: &Objects<'_>, allowance| {
                    let commit = objects.commit(self.at.as_deref())?;
                    objects.job.reach("object");
                    of_tree(&objects.reader(commit)?, &self, allowance)
                };
                object_read::read(context, path, of_commit).await?
            }
            false => {
                let read = move |seen: &Source<'_>, allowance| content(seen, &self, allowance);
                fit::read(context, path, read).await?
            }
        };
        Ok((Answer::content(content, raw), None))
    }
}

impl Read {
    /// The memory that the reply for a file of this size takes until it is written: base64 and the
    /// frame take more than the content.
    fn cost(&self, size: u64) -> u64 {
        match size {
            0..=FREE => size,
            _ => size * if self.raw { 2 } else { 3 },
        }
    }
}

fn content(seen: &Source<'_>, read: &Read, allowance: u64) -> Result<Fit<Vec<u8>>> {
    match seen {
        Source::Directory(path) => of_file(path, read, allowance),
        Source::Commit {
            worker,
            root,
            below,
        } => {
            // This comes before the read, so that a move during the read is noticed.
            let at = below
                .as_os_str()
                .is_empty()
                .then(|| worker.cached_reads.at(root))
                .flatten();
            let found =
                Source::of_tree(worker, root, below, |tree| of_tree(tree, read, allowance))?;
            if let (Some(at), Fit::Whole(content)) = (at, &found)
                && content.len() as u64 <= FREE
            {
                worker.cached_reads.keep(root, at, &read.file, content);
            }
            Ok(found)
        }
    }
}

fn of_tree(tree: &TreeReader<'_>, read: &Read, allowance: u64) -> Result<Fit<Vec<u8>>> {
    let found = tree.file(&read.file)?;
    let size = tree.size(found)?;
    if size > read.max_bytes {
        return Err(too_large(tree.path(), &read.file, size, read.max_bytes));
    }
    if read.cost(size) > allowance {
        return Ok(Fit::Needs(read.cost(size)));
    }
    tree.content(found).map(Fit::Whole)
}

fn too_large(path: &Path, file: &Path, size: u64, max_bytes: u64) -> Error {
    let message = format!(
        "`{}` in {} has {size} bytes, more than the {max_bytes} that max_bytes allows",
        file.display(),
        path.display()
    );
    Error::new(Kind::TooLarge, message)
        .with(Key::Path, Name::of(path))
        .with(Key::File, Name::of(file))
        .with(Key::Limit, max_bytes)
}

fn of_file(path: &Path, read: &Read, allowance: u64) -> Result<Fit<Vec<u8>>> {
    let file = &read.file;
    let opened = Root::open(path)?.file(file);
    let mut opened = opened.map_err(|error| partial::left_out(path, file, error))?;
    let fail = |error: std::io::Error| {
        Error::new(
            Kind::Io,
            format!("cannot read {}: {error}", path.join(file).display()),
        )
    };
    let size = opened.metadata().map_err(fail)?.len();
    if size > read.max_bytes {
        return Err(too_large(path, file, size, read.max_bytes));
    }
    if read.cost(size) > allowance {
        return Ok(Fit::Needs(read.cost(size)));
    }
    let mut content = Vec::with_capacity(size as usize);
    // Of a file that grows meanwhile, only its first size is read.
    opened
        .by_ref()
        .take(size)
        .read_to_end(&mut content)
        .map_err(fail)?;
    Ok(Fit::Whole(content))
}
