//! `diff`: what changed between two commits, by path.

use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Name, Result};
use crate::ops::fit::Fit;
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::port::cursor::Cursor;
use crate::port::fields::Fields;
use crate::port::reply::{Answer, Change as Told, Page};
use crate::reference::shown;
use crate::repo::renames::{self, Changed};
use crate::repo::tree_files::{self, KIND};
use crate::repo::{partial, raw_object, revision, tree_check};
use crate::selection::Selection;
use crate::selection::paths::Paths;

/// Changes are computed anew for each page.
const MAX_CHANGES: usize = 100_000;
/// The bytes of one page.
const PAGE: u64 = 32 << 20;
/// The memory that a change takes beside its paths, with its part of the frame.
const OVERHEAD: u64 = 500;

#[derive(Debug)]
pub(crate) struct Diff {
    path: PathBuf,
    /// `None`: all files are added.
    from: Option<Vec<u8>>,
    to: Vec<u8>,
    paths: Paths,
    selection: Selection,
    renames: bool,
    after: Cursor,
}

impl Operation for Diff {
    fn decode(fields: &mut Fields) -> Result<Self> {
        let to = fields.bytes("to")?;
        revision::check(&to)?;
        Ok(Diff {
            path: fields.path("path")?,
            from: revision::decode(fields.bytes_if("from")?)?,
            to,
            paths: Paths::new(fields.names("paths")?)?,
            selection: Selection::new(fields.names_if("match")?, fields.names_if("ignore")?)?,
            renames: fields.flag("renames")?,
            after: Cursor::decode(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("diff of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let path = self.path.clone();
        let page = object_read::read(context, path, move |objects, allowance| {
            page(objects, &self, allowance)
        });
        Ok((Answer::Changes(page.await?), None))
    }
}

fn page(objects: &Objects<'_>, ask: &Diff, allowance: u64) -> Result<Fit<Page<Vec<Told>>>> {
    let to = objects.commit(ask.after.rev(0, Some(&ask.to)))?;
    let from = match ask.after.rev(1, ask.from.as_deref()) {
        Some(from) => Some(objects.commit(Some(from))?),
        None => None,
    };
    let mut next = ask.after.clone();
    next.pin(&[Some(to), from].into_iter().flatten().collect::<Vec<_>>());
    let new = objects.below(to)?;
    let old = match from {
        Some(from) => objects.below(from)?,
        None => raw_object::empty_tree()?,
    };
    let odb = objects.odb()?;
    let enters = |dir: &[u8]| ask.paths.enter(dir) && ask.selection.enters(dir);
    let takes = |path: &[u8]| ask.paths.take(path) && ask.selection.takes(path);
    let changes = tree_files::changes(&odb, old, new, objects.job, MAX_CHANGES, enters, takes)?;
    for change in &changes {
        objects.job.reach("object");
        if !tree_check::is_path(&change.path) {
            let message = format!(
                "one of the commits holds the path `{}` as no working tree may have it",
                shown(&change.path)
            );
            return Err(Error::new(Kind::UnsafePath, message));
        }
    }
    let changed = match ask.renames {
        true => renames::find(
            &odb,
            changes,
            partial::is_partial(objects.repo.path()),
            objects.job,
        )?,
        false => changes.into_iter().map(Changed::from).collect(),
    };
    let (mut told, mut cost, mut is_full) = (Vec::new(), 0, false);
    for changed in changed.into_iter().skip(ask.after.count as usize) {
        let paths = changed.path.len() + changed.old_path.as_ref().map_or(0, Vec::len);
        let more = OVERHEAD + 2 * paths as u64;
        is_full = cost + more > PAGE;
        if is_full {
            break;
        }
        cost += more;
        next.count += 1;
        told.push(tell(changed));
    }
    if cost > allowance {
        return Ok(Fit::Needs(cost));
    }
    Ok(Fit::Whole(Page {
        of: told,
        next: is_full.then_some(next),
    }))
}

fn tell(changed: Changed) -> Told {
    let status = match (changed.old, changed.new) {
        _ if changed.old_path.is_some() => "renamed",
        (None, _) => "added",
        (_, None) => "deleted",
        (Some(old), Some(new)) if old.mode & KIND != new.mode & KIND => "type_changed",
        _ => "modified",
    };
    Told {
        status,
        path: Name(changed.path),
        old_path: changed.old_path.map(Name),
        mode: changed.new.map(|is| is.mode),
        old_mode: changed.old.map(|is| is.mode),
        oid: changed.new.map(|is| is.id.to_string()),
        old_oid: changed.old.map(|is| is.id.to_string()),
        score: changed.score,
    }
}
