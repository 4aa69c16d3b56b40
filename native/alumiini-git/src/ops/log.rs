//! `log`: commits, the newest first, in the order of `git log`.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::ops::fit::Fit;
use crate::ops::head;
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::port::cursor::Cursor;
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Commit, Page};
use crate::repo::history::History;
use crate::repo::{open, revision};
use crate::selection::paths;

const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 100_000;
/// The bytes of one page.
const PAGE: u64 = 8 << 20;
/// The memory that a commit takes beside its text.
const OVERHEAD: u64 = 1_000;

#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    from: Option<Vec<u8>>,
    limit: u64,
    /// Only commits that change this file, or what is below this directory.
    file: Option<Vec<u8>>,
    after: Cursor,
}

impl Operation for Log {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Log {
            path: fields.path("path")?,
            from: revision::decode(fields.bytes_if("from")?)?,
            limit: fields.at_most("limit", DEFAULT_LIMIT, MAX_LIMIT)?,
            file: fields.bytes_if("file")?.map(paths::clean).transpose()?,
            after: Cursor::decode(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("log of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let path = self.path.clone();
        let page = object_read::read(context, path, move |objects, allowance| {
            page(objects, &self, allowance)
        });
        Ok((Answer::Commits(page.await?), None))
    }
}

fn page(objects: &Objects<'_>, ask: &Log, allowance: u64) -> Result<Fit<Page<Vec<Commit>>>> {
    let from = objects.commit(ask.after.rev(0, ask.from.as_deref()))?;
    let odb = objects.odb()?;
    let shallow: HashSet<_> = open::shallow(objects.repo.path())?.into_iter().collect();
    let mut next = ask.after.clone();
    next.pin(&[from]);
    let (mut commits, mut cost, mut seen) = (Vec::new(), 0, 0);
    let (mut is_full, mut needs) = (false, None);
    let file = ask.file.as_deref().filter(|file| !file.is_empty());
    let mut history = History::new(&odb, &shallow, file, objects.job);
    history.walk(from, |id, raw| {
        if seen >= ask.limit {
            return Ok(ControlFlow::Break(()));
        }
        seen += 1;
        if seen <= ask.after.count {
            return Ok(ControlFlow::Continue(()));
        }
        objects.job.reach("object");
        let size = head::size(&odb, id)?;
        cost += OVERHEAD + head::COST * size;
        if !commits.is_empty() && cost > PAGE {
            is_full = true;
            return Ok(ControlFlow::Break(()));
        }
        if cost > allowance {
            needs = Some(cost.max(PAGE));
            return Ok(ControlFlow::Break(()));
        }
        commits.push(head::told(&odb, id, raw.parents.clone(), None)?);
        next.count += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    match needs {
        Some(bytes) => Ok(Fit::Needs(bytes)),
        None => Ok(Fit::Whole(Page {
            of: commits,
            next: is_full.then_some(next),
        })),
    }
}
