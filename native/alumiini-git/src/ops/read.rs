//! `read`: the bytes of one file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::answer::{Answer, Name};
use crate::error::{Error, Kind, Result};
use crate::ops::Worker;
use crate::ops::settled::{self, Seen};
use crate::outbox::Held;
use crate::repo::safe_path::Root;

/// Answers are cheap to hold up to this size; larger ones share the worker's allowance of bytes not yet sent.
pub(crate) const FREE: u64 = 64 << 10;

pub(crate) async fn run(
    worker: &Arc<Worker>,
    path: PathBuf,
    file: PathBuf,
    raw: bool,
    max_bytes: u64,
    held: &mut Held,
) -> Result<Answer> {
    // Before the file is opened nobody knows its size. A small allowance serves almost every manifest; for a larger file the
    // read is begun again with the allowance that its size asks for.
    let mut allowance = FREE;
    loop {
        let file = file.clone();
        let outcome = settled::read(worker, path.clone(), move |seen| {
            content(seen, &file, max_bytes, allowance)
        });
        match outcome.await? {
            Content::Whole(content) => return Ok(Answer::content(content, raw)),
            Content::Larger(size) => {
                held.clear();
                // base64 and the frame around it need more than the content itself.
                held.push(worker.unsent.take(size as usize * if raw { 2 } else { 3 }).await?);
                allowance = size;
            }
        }
    }
}

/// The answer, if it is in memory and nothing is in its way.
pub(crate) fn at_once(worker: &Worker, path: &Path, file: &Path, raw: bool, max_bytes: u64) -> Option<Answer> {
    // There is no link in what is answered here, so its path is where it lies.
    if let Some(root) = &worker.allowed.now().root
        && (!path.starts_with(root) || path == root)
    {
        return None;
    }
    let content = worker.at_once.file(path, file, max_bytes.min(FREE))?;
    Some(Answer::content(content, raw))
}

/// The answer, if nothing has to be waited for but the disk.
pub(crate) fn now(worker: &Worker, path: &Path, file: &Path, raw: bool, max_bytes: u64) -> Option<Result<Answer>> {
    match settled::read_now(worker, path, |seen| content(seen, file, max_bytes, FREE))? {
        Ok(Content::Whole(content)) => {
            worker.at_once.learn(path);
            Some(Ok(Answer::content(content, raw)))
        }
        Ok(Content::Larger(_)) => None,
        Err(error) => Some(Err(error)),
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
            let at = below.as_os_str().is_empty().then(|| worker.at_once.at(root)).flatten();
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
                worker.at_once.keep(root, at, file, content);
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
        .with("path", Name::of(path))
        .with("file", Name::of(file))
        .with("limit", max_bytes)
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
