//! `read`: the bytes of one file.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::stable_read::{self, Seen};
use crate::port::fields::Fields;
use crate::port::reply::Answer;
use crate::repo::safe_path::Root;
use crate::worker::Worker;

/// Answers are cheap to hold up to this size; larger ones share the worker's allowance of bytes not yet sent.
pub(crate) const FREE: u64 = 64 << 10;

const DEFAULT_MAX_BYTES: u64 = 16 << 20;

#[derive(Debug)]
pub(crate) struct Read {
    path: PathBuf,
    file: PathBuf,
    /// Whether the answer is the bytes, not base64 of them.
    raw: bool,
    max_bytes: u64,
}

impl Operation for Read {
    const IS_LOCAL_READ: bool = true;

    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Read {
            path: fields.path("path")?,
            file: fields.path("file")?,
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
        // There is no link in what is answered here, so its path is where it lies.
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
        let read = |seen: &Seen<'_>| content(seen, &self.file, self.max_bytes, FREE);
        match stable_read::read_now(worker, &self.path, read)? {
            Ok(Content::Whole(content)) => {
                worker.cached_reads.learn(&self.path);
                Some(Ok(Answer::content(content, self.raw)))
            }
            Ok(Content::Larger(_)) => None,
            Err(error) => Some(Err(error)),
        }
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        // Before the file is opened nobody knows its size. A small allowance serves almost every manifest; for a larger file the
        // read is begun again with the allowance that its size asks for.
        let mut allowance = FREE;
        loop {
            let (file, max_bytes) = (self.file.clone(), self.max_bytes);
            let outcome = stable_read::read(context.worker, self.path.clone(), move |seen| {
                content(seen, &file, max_bytes, allowance)
            });
            match outcome.await? {
                Content::Whole(content) => return Ok((Answer::content(content, self.raw), None)),
                Content::Larger(size) => {
                    context.held.clear();
                    // base64 and the frame around it need more than the content itself.
                    let bytes = size as usize * if self.raw { 2 } else { 3 };
                    context.held.push(context.worker.unsent.take(bytes).await?);
                    allowance = size;
                }
            }
        }
    }
}

enum Content {
    Whole(Vec<u8>),
    /// Not read, since it has this many bytes.
    Larger(u64),
}

fn content(seen: &Seen<'_>, file: &Path, max_bytes: u64, allowance: u64) -> Result<Content> {
    match seen {
        Seen::Files(path) => of_file(path, file, max_bytes, allowance),
        Seen::Commit { worker, root, below } => {
            // Before the read: what moves meanwhile must show.
            let at = below
                .as_os_str()
                .is_empty()
                .then(|| worker.cached_reads.at(root))
                .flatten();
            let read = Seen::of_tree(worker, root, below, |tree| {
                let found = tree.file(file)?;
                let size = tree.size(found)?;
                if size > max_bytes {
                    return Err(too_large(&root.join(below), file, size, max_bytes));
                }
                if size > allowance {
                    return Ok(Content::Larger(size));
                }
                tree.content(found).map(Content::Whole)
            })?;
            if let (Some(at), Content::Whole(content)) = (at, &read)
                && content.len() as u64 <= FREE
            {
                worker.cached_reads.keep(root, at, file, content);
            }
            Ok(read)
        }
    }
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

fn of_file(path: &Path, file: &Path, max_bytes: u64, allowance: u64) -> Result<Content> {
    let mut opened = Root::open(path)?.file(file)?;
    let fail =
        |error: std::io::Error| Error::new(Kind::Io, format!("cannot read {}: {error}", path.join(file).display()));
    let size = opened.metadata().map_err(fail)?.len();
    if size > max_bytes {
        return Err(too_large(path, file, size, max_bytes));
    }
    if size > allowance {
        return Ok(Content::Larger(size));
    }
    let mut content = Vec::with_capacity(size as usize);
    // A file that grows while it is read is read as far as it was.
    opened.by_ref().take(size).read_to_end(&mut content).map_err(fail)?;
    Ok(Content::Whole(content))
}
