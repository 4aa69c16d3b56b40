//! `read`: the bytes of one file.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::answer::{Answer, Name};
use crate::error::{Error, Kind, Result};
use crate::ops::{Worker, settled};
use crate::outbox::Held;
use crate::repo::safe_path::Root;

/// Answers are cheap to hold up to this size; larger ones share the worker's allowance of bytes not yet sent.
const FREE: u64 = 64 << 10;

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
        let outcome = settled::read(worker, path.clone(), move |path| {
            content(path, &file, max_bytes, allowance)
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
    let content = worker.at_once.file(path, file, max_bytes.min(FREE))?;
    Some(Answer::content(content, raw))
}

/// The answer, if nothing has to be waited for but the disk.
pub(crate) fn now(worker: &Worker, path: &Path, file: &Path, raw: bool, max_bytes: u64) -> Option<Result<Answer>> {
    match settled::read_now(worker, path, |path| content(path, file, max_bytes, FREE))? {
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

fn content(path: &Path, file: &Path, max_bytes: u64, allowance: u64) -> Result<Content> {
    let mut opened = Root::open(path)?.file(file)?;
    let fail =
        |error: std::io::Error| Error::new(Kind::Io, format!("cannot read {}: {error}", path.join(file).display()));
    let size = opened.metadata().map_err(fail)?.len();
    if size > max_bytes {
        let message = format!(
            "`{}` in {} has {size} bytes, more than the {max_bytes} that max_bytes allows",
            file.display(),
            path.display()
        );
        return Err(Error::new(Kind::TooLarge, message)
            .with("path", Name::of(path))
            .with("file", Name::of(file))
            .with("limit", max_bytes));
    }
    if size > allowance {
        return Ok(Content::Larger(size));
    }
    let mut content = Vec::with_capacity(size as usize);
    // A file that grows while it is read is read as far as it was.
    opened.by_ref().take(size).read_to_end(&mut content).map_err(fail)?;
    Ok(Content::Whole(content))
}
