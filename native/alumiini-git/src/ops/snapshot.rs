//! `snapshot`: files of one commit, and what is in them.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use git2::Oid;
use serde_bytes::ByteBuf;

use crate::error::{Error, Key, Kind, Name, Result};
use crate::ops::fit::Fit;
use crate::ops::object_read::{self, Objects};
use crate::ops::operation::{Context, Done, Operation};
use crate::port::cursor::Cursor;
use crate::port::fields::Fields;
use crate::port::reply::{Answer, LfsPointer, Page, Snapshot as Files, SnapshotFile};
use crate::reference::shown;
use crate::repo::blobs::Blobs;
use crate::repo::tree_files::{GITLINK, KIND, TreeFile};
use crate::repo::{lfs, raw_object, revision};
use crate::selection::Selection;
use crate::task::job::Job;

const DEFAULT_MAX_BYTES: u64 = 64 << 20;
const MAX_BYTES: u64 = 4 << 30;
const DEFAULT_MAX_FILES: u64 = 100_000;
const MAX_FILES: u64 = 1_000_000;
/// The bytes of one page, with the fields beside the content. A single file may be larger.
const PAGE: u64 = 8 << 20;
/// The most bytes of one file, whose content has to fit into one reply with the fields beside it.
const MAX_CONTENT: u64 = 64 << 20;
/// The memory that a file takes beside its path and content, with its part of the frame.
const OVERHEAD: u64 = 400;

#[derive(Debug)]
pub(crate) struct Snapshot {
    path: PathBuf,
    subpath: PathBuf,
    selection: Selection,
    at: Option<Vec<u8>>,
    known: HashSet<Oid>,
    content: bool,
    max_bytes: u64,
    max_files: u64,
    after: Cursor,
}

impl Operation for Snapshot {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Snapshot {
            path: fields.path("path")?,
            subpath: fields.path_or_empty("subpath")?,
            selection: Selection::new(fields.names_if("match")?, fields.names_if("ignore")?)?,
            at: revision::decode(fields.bytes_if("at")?)?,
            known: fields.ids("known")?,
            content: fields.flag_or("content", true)?,
            max_bytes: fields.at_most("max_bytes", DEFAULT_MAX_BYTES, MAX_BYTES)?,
            max_files: fields.at_most("max_files", DEFAULT_MAX_FILES, MAX_FILES)?,
            after: Cursor::decode(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("snapshot of {}", self.path.display())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let path = self.path.clone();
        let listed = Mutex::default();
        let page = object_read::read(context, path, move |objects, allowance| {
            page(objects, &self, &listed, allowance)
        });
        Ok((Answer::Snapshot(page.await?), None))
    }
}

/// Makes a page. Its files are `listed` once: an attempt whose allowance is too small leaves the
/// list to the next attempt.
fn page(
    objects: &Objects<'_>,
    ask: &Snapshot,
    listed: &Mutex<Option<Listed>>,
    allowance: u64,
) -> Result<Fit<Page<Files>>> {
    let mut blobs = Blobs::of(objects.repo)?;
    let mut before = listed.lock().unwrap_or_else(PoisonError::into_inner);
    let listed = match before.take() {
        Some(listed) => listed,
        None => list(objects, ask, &mut blobs)?,
    };
    // Only names and sizes have been read so far.
    if listed.cost > allowance {
        let cost = listed.cost;
        *before = Some(listed);
        return Ok(Fit::Needs(cost));
    }
    drop(before);
    let Listed {
        commit,
        tree,
        mut files,
        told,
        is_full,
        wanted,
        ..
    } = listed;
    read(&mut blobs, &mut files, wanted, objects.job)?;
    Ok(Fit::Whole(Page {
        of: Files {
            commit: commit.to_string(),
            tree: tree.to_string(),
            files,
        },
        next: is_full.then_some(told),
    }))
}

/// The files of a page, without their content.
fn list(objects: &Objects<'_>, ask: &Snapshot, blobs: &mut Blobs<'_>) -> Result<Listed> {
    let commit = objects.commit(ask.after.rev(0, ask.at.as_deref()))?;
    let directory = objects.directory(commit, &ask.subpath)?;
    let tree = match directory.tree {
        Some(tree) => tree,
        None => raw_object::empty_tree()?,
    };
    let mut told = ask.after.clone();
    told.pin(&[commit]);
    let mut listed = Listed {
        commit,
        tree,
        files: Vec::new(),
        told,
        // The fields of the commit itself.
        cost: OVERHEAD,
        is_full: false,
        wanted: Vec::new(),
    };
    let after = ask.after.after();
    objects.visit(&directory, &ask.selection, after, |file| {
        listed.add(ask, blobs, file)
    })?;
    Ok(listed)
}

/// A page while it is made.
struct Listed {
    commit: Oid,
    tree: Oid,
    files: Vec<SnapshotFile>,
    /// This counts the pages before, too.
    told: Cursor,
    cost: u64,
    /// There are more files, for the next page.
    is_full: bool,
    wanted: Wanted,
}

impl Listed {
    fn add(
        &mut self,
        ask: &Snapshot,
        blobs: &mut Blobs<'_>,
        file: TreeFile,
    ) -> Result<ControlFlow<()>> {
        let is_submodule = file.is.mode & KIND == GITLINK;
        let size = match is_submodule {
            true => None,
            false => Some(blobs.size(file.is.id)?),
        };
        let wanted = ask.content && !ask.known.contains(&file.is.id);
        let bytes = size.filter(|_| wanted).unwrap_or(0);
        self.bound(ask, &file.path, bytes)?;
        // The memory for the file: the object, its copy, and the frame.
        let cost = OVERHEAD + 2 * file.path.len() as u64 + 3 * bytes;
        if !self.files.is_empty() && self.cost + cost > 3 * PAGE {
            self.is_full = true;
            return Ok(ControlFlow::Break(()));
        }
        self.cost += cost;
        // The file may be a pointer, which is small.
        let is_read = size.filter(|size| wanted || lfs::may_be(*size));
        if let Some(size) = is_read {
            self.wanted
                .push((self.files.len(), file.is.id, size, wanted));
        }
        self.told.path = Some(Name(file.path.clone()));
        self.told.count += 1;
        self.told.bytes += bytes;
        self.files.push(SnapshotFile {
            path: Name(file.path),
            oid: file.is.id.to_string(),
            mode: file.is.mode,
            size,
            content: None,
            lfs: None,
        });
        Ok(ControlFlow::Continue(()))
    }

    /// The limit is for all pages together.
    fn bound(&self, ask: &Snapshot, path: &[u8], bytes: u64) -> Result<()> {
        let (max_bytes, max_files) = (ask.max_bytes, ask.max_files);
        let is_within = self.told.count < max_files
            && self.told.bytes + bytes <= max_bytes
            && bytes <= MAX_CONTENT;
        if is_within {
            return Ok(());
        }
        let shown = shown(path);
        let (message, limit) = if self.told.count >= max_files {
            let what = format!(
                "more than {max_files} files are selected, the limit max_files: nothing from \
                 `{shown}` on was read"
            );
            (what, max_files)
        } else if self.told.bytes + bytes > max_bytes {
            let what = format!(
                "the selected files have more than {max_bytes} bytes together, the limit \
                 max_bytes: `{shown}`, with {bytes}, is where it is passed"
            );
            (what, max_bytes)
        } else {
            let what = format!(
                "`{shown}` has {bytes} bytes, more than the {MAX_CONTENT} that one file may have"
            );
            (what, MAX_CONTENT)
        };
        let advice = "ask for less by a subpath, match or ignore, for names and sizes only by \
                      content: false, or raise the limit";
        Err(Error::new(Kind::TooLarge, format!("{message}; {advice}"))
            .with(Key::File, Name::new(path))
            .with(Key::Limit, limit))
    }
}

/// The files to read: the place, id and size of each, and whether the reply has its content.
type Wanted = Vec<(usize, Oid, u64, bool)>;

/// Reads the content of the files of a page.
fn read(
    blobs: &mut Blobs<'_>,
    told: &mut [SnapshotFile],
    wanted: Wanted,
    job: &Arc<Job>,
) -> Result<()> {
    let files = wanted.iter().map(|(_, id, size, _)| (*id, *size)).collect();
    let contents = blobs.contents(files, job)?;
    for ((place, _, _, is_told), content) in wanted.into_iter().zip(contents) {
        let file = &mut told[place];
        file.lfs = lfs::pointer(&content).map(|lfs| LfsPointer {
            oid: lfs.oid,
            size: lfs.size,
        });
        file.content = is_told.then(|| ByteBuf::from(content));
    }
    Ok(())
}
