//! `read`: the bytes of one file.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::ops::{Worker, settled};
use crate::outbox::Held;
use crate::protocol::{Answer, Name};
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
            let mut opened = Root::open(path)?.file(&file)?;
            let fail = |error: std::io::Error| {
                Error::new(Kind::Io, format!("cannot read {}: {error}", path.join(&file).display()))
            };
            let size = opened.metadata().map_err(fail)?.len();
            if size > max_bytes {
                let message = format!(
                    "`{}` in {} has {size} bytes, more than the {max_bytes} that max_bytes allows",
                    file.display(),
                    path.display()
                );
                return Err(Error::new(Kind::TooLarge, message)
                    .with("path", Name::of(&file))
                    .with("limit", max_bytes));
            }
            if size > allowance {
                return Ok(Err(size));
            }
            let mut content = Vec::with_capacity(size as usize);
            // A file that grows while it is read is read as far as it was.
            opened.by_ref().take(size).read_to_end(&mut content).map_err(fail)?;
            Ok(Ok(content))
        });
        match outcome.await? {
            Ok(content) => return Ok(Answer::content(content, raw)),
            Err(size) => {
                held.clear();
                // base64 and the frame around it need more than the content itself.
                held.push(worker.unsent.take(size as usize * if raw { 2 } else { 3 }).await?);
                allowance = size;
            }
        }
    }
}
