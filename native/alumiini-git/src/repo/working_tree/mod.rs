//! Makes a working tree equal a commit's tree, or tells whether it does.
//!
//! Done here rather than by libgit2's checkout, because one walk answers both questions: libgit2
//! keeps nested repositories when it removes untracked files, leaves the recorded stat of a file
//! alone where only that changed (so a volume mounted anew would be hashed at every sync), and
//! trusts time and size where we also ask for ctime and inode. Its index takes time that grows with
//! the square of the directories. What is written are the committed bytes: no filters, no
//! end-of-line conversion.
//!
//! Every step is relative to an open directory and follows no link.

mod change;
mod content;
mod descent;
mod drift;
mod index;
mod moved;
mod walk;
mod write;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use git2::{Odb, Oid, Repository};

use crate::error::Result;
use crate::repo::raw_object;
use crate::repo::tree_files::{self, FILE, GITLINK, KIND, LINK, MAX_FILES, Part};
use crate::selection::scope::Filter;
use crate::task::job::Job;
use crate::task::progress::Phase;
use content::{Content, Keeps};
use index::{Entry, Index};
use walk::{Mode, Walk};

pub(crate) use change::advance;
pub(crate) use drift::{Drift, drift};
pub(crate) use moved::Moved;

/// Whether the working tree is exactly what `tree` says, as far as stat tells; only files whose
/// stat differs from what the index recorded are read. Where they turn out to be unchanged, the new
/// stat is recorded.
pub(crate) fn is_clean(
    repo: &Repository,
    work: &Path,
    tree: Oid,
    filter: &Filter,
    job: &Job,
) -> Result<bool> {
    let Some(index) = index::read(repo.path()) else {
        return Ok(false);
    };
    let odb = raw_object::odb(repo)?;
    let wanted = files(&odb, tree, filter, job)?;
    let is_same = wanted.len() == index.entries.len()
        && wanted
            .iter()
            .zip(&index.entries)
            .all(|(wanted, entry)| wanted.is_same(entry));
    // Somebody staged something.
    if index.is_special || !is_same {
        return Ok(false);
    }
    let keeps = Keeps::of(repo);
    let content = Content::new(&odb, work, &keeps, job);
    let (mut entries, left_out) = apart(index.entries);
    let mut walk = Walk::new(content, &mut entries, index.written, Mode::Check);
    if !walk.run()? {
        return Ok(false);
    }
    if walk.is_fresh {
        index::write(repo.path(), &together(&entries, left_out), (0, 0))?;
    }
    Ok(true)
}

/// Makes the working tree equal what `filter` takes of `tree`: writes what is missing or differs,
/// removes everything else, records the stat of all files. May be interrupted anywhere and called
/// again.
pub(crate) fn check_out(
    repo: &Repository,
    work: &Path,
    tree: Oid,
    filter: &Filter,
    job: &Job,
) -> Result<Moved> {
    let odb = raw_object::odb(repo)?;
    let (mut wanted, left_out) = apart(files(&odb, tree, filter, job)?);
    // It is derived from the tree: one that cannot be read is no reason to stop.
    let old = index::read(repo.path()).unwrap_or_default();
    take_stats(&mut wanted, &old);
    let keeps = Keeps::of(repo);
    let before = keeps.get();
    job.progress(Phase::Checkout, 0, wanted.len() as u64, 0);
    let mut walk = Walk::new(
        Content::new(&odb, work, &keeps, job),
        &mut wanted,
        old.written,
        Mode::Apply,
    );
    walk.run()?;
    let missing = walk.missing;
    write::files(repo.path(), work, &keeps, &mut wanted, &missing, job)?;
    if keeps.get() != before {
        keeps.record(repo)?;
    }
    // Any directory may have changed until now.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let written = index::write(
        repo.path(),
        &together(&wanted, left_out),
        (now.as_secs() as u32, now.subsec_nanos()),
    )?;
    job.reach("index-written");
    Ok(Moved::new(wanted, BTreeSet::from([Vec::new()]), written))
}

/// Takes over what is recorded of files that are to be what they were.
fn take_stats(wanted: &mut [Entry], old: &Index) {
    let mut old = old.entries.iter().peekable();
    for entry in wanted {
        while old.next_if(|old| old.path < entry.path).is_some() {}
        if let Some(recorded) = old.next_if(|old| old.is_same(entry)) {
            entry.stat = recorded.stat;
        }
    }
}

/// What the fuzz target feeds: an index without its checksum, which noise would not have.
#[cfg(fuzzing)]
pub(super) fn fuzz_index(bytes: &[u8]) {
    let _ = index::parse(&[bytes, &[0; 20]].concat());
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;

/// Those that are checked out, and those that are left out.
fn apart(entries: Vec<Entry>) -> (Vec<Entry>, Vec<Entry>) {
    entries.into_iter().partition(|entry| !entry.skip)
}

/// Both again, by path.
fn together(checked_out: &[Entry], left_out: Vec<Entry>) -> Cow<'_, [Entry]> {
    if left_out.is_empty() {
        return Cow::Borrowed(checked_out);
    }
    let mut all = left_out;
    all.extend_from_slice(checked_out);
    all.sort_unstable_by(|one, other| one.path.cmp(&other.path));
    Cow::Owned(all)
}

/// All files of `tree`, by path; those that `filter` does not take as left out. Not one has a stat.
fn files(odb: &Odb<'_>, tree: Oid, filter: &Filter, job: &Job) -> Result<Vec<Entry>> {
    let mut files = Vec::new();
    let (part, all) = (Part::default(), |_: &[u8]| true);
    tree_files::visit(odb, tree, part, job, all, |file| {
        let skip = !filter.has(&file.path);
        files.push(Entry {
            skip,
            ..Entry::unseen(file.path, file.is)
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(files)
}
