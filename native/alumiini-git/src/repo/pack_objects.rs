//! A pack of what a walk has found, made by libgit2's pack builder.

use std::collections::HashSet;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use git2::{ObjectType, Odb, Oid, PackBuilder, Repository};
use tokio::sync::mpsc;

use crate::error::{Error, Key, Kind, Result};
use crate::repo::pack::{MAX_FILE, install};
use crate::repo::raw_object::{self, RawEntry};
use crate::repo::{git_failure, open};
use crate::task::job::Job;

/// The search for deltas holds ten objects in memory, of whatever size, unless told otherwise.
/// (This libgit2 takes `deltaCacheSize` for `bigFileThreshold`, too.)
const CONFIG: &str = "[core]\n\tbare = true\n\tbigFileThreshold = 16m\n[pack]\n\twindowMemory = \
                      16m\n\tdeltaCacheSize = 16m\n";
/// Deltas are for the versions of a file, which a pack of no more commits than this has few of; the
/// search takes longer than all the rest then.
const NO_DELTAS: usize = 10;
/// Bytes that are handed on at a time.
const CHUNK: usize = 16 << 10;

/// Makes a repository at `dir` that has no objects of its own but those in `objects`, and no refs:
/// the pack builder reads all tags of its repository, whatever is to be packed, and fails where one
/// is broken.
pub(crate) fn borrow(dir: &Path, objects: &Path) -> Result<Repository> {
    let alternates = dir.join("objects/info/alternates");
    fs::create_dir_all(dir.join("refs"))
        .and_then(|()| fs::create_dir_all(dir.join("objects/info")))
        .and_then(|()| fs::write(dir.join("HEAD"), "ref: refs/heads/none\n"))
        .and_then(|()| fs::write(dir.join("config"), CONFIG))
        .and_then(|()| {
            let mut file = fs::File::create(&alternates)?;
            file.write_all(&[objects.as_os_str().as_bytes(), b"\n"].concat())
        })
        .map_err(|error| Error::io("write in", dir, &error))?;
    open::just_made(dir)
}

/// Puts `commits` and all that their trees name into a pack, but for what is known.
pub(crate) fn gather<'a>(
    repo: &'a Repository,
    commits: &[(Oid, Oid)],
    is_known: impl Fn(Oid, ObjectType) -> bool,
    job: &'a Job,
) -> Result<PackBuilder<'a>> {
    let odb = repo.odb().map_err(git_failure("open the objects"))?;
    if commits.len() <= NO_DELTAS {
        let mut config = repo.config().map_err(git_failure("begin a pack"))?;
        for key in ["core.bigFileThreshold", "pack.deltaCacheSize"] {
            config
                .set_i64(key, 0)
                .map_err(git_failure("begin a pack"))?;
        }
    }
    let mut pack = repo.packbuilder().map_err(git_failure("begin a pack"))?;
    // More threads would hold as much memory each.
    pack.set_threads(1);
    pack.set_progress_callback(move |_, _, _| !job.is_cancelled())
        .map_err(git_failure("begin a pack"))?;
    let insert = |pack: &mut PackBuilder<'_>, id: Oid, name: &[u8]| {
        let name = String::from_utf8_lossy(name);
        pack.insert_object(id, Some(&name))
            .map_err(|error| match job.check() {
                Ok(()) => git_failure("put an object into the pack")(error)
                    .context(format!("the object {id}")),
                Err(cancelled) => cancelled,
            })
    };
    for (commit, _) in commits {
        insert(&mut pack, *commit, b"")?;
    }
    let mut seen = HashSet::new();
    for (_, tree) in commits {
        let mut trees = vec![(*tree, Vec::new())];
        while let Some((tree, name)) = trees.pop() {
            if !seen.insert(tree) || is_known(tree, ObjectType::Tree) {
                continue;
            }
            job.check()?;
            insert(&mut pack, tree, &name)?;
            let mut files = Vec::new();
            raw_object::read_tree(&odb, tree, |RawEntry { kind, name, id, .. }| {
                match kind {
                    ObjectType::Tree => trees.push((id, name.to_vec())),
                    ObjectType::Blob if seen.insert(id) && !is_known(id, kind) => {
                        files.push((id, name.to_vec()))
                    }
                    // Submodules are other repositories.
                    _ => {}
                }
                Ok(())
            })?;
            for (file, name) in files {
                refuse_large(&odb, file, &name)?;
                insert(&mut pack, file, &name)?;
            }
        }
    }
    Ok(pack)
}

/// Puts one object more into the pack, such as a tag.
pub(crate) fn add(pack: &mut PackBuilder<'_>, id: Oid) -> Result<()> {
    pack.insert_object(id, None).map_err(|error| {
        git_failure("put an object into the pack")(error).context(format!("the object {id}"))
    })
}

/// A file is in memory once while it is packed.
fn refuse_large(odb: &Odb<'_>, id: Oid, name: &[u8]) -> Result<()> {
    match odb.read_header(id) {
        Ok((size, ObjectType::Blob)) if size > MAX_FILE => Err(install::file_too_large(name, size)),
        Ok((_, ObjectType::Blob)) => Ok(()),
        Ok(_) => Err(raw_object::damaged(id, "it is not a file")),
        Err(error) => Err(raw_object::unreadable(id)(error)),
    }
}

/// Sends the pack's bytes to `sink` as they are made, which waits while the channel is full.
pub(crate) fn send(
    pack: &mut PackBuilder<'_>,
    max_bytes: u64,
    sink: &mpsc::Sender<Bytes>,
    job: &Job,
) -> Result<()> {
    let mut sent = 0;
    let mut chunk = BytesMut::new();
    let mut stopped = None;
    let mut hand_on = |chunk: Bytes| {
        sent += chunk.len() as u64;
        if sent > max_bytes {
            let message = format!("the pack is larger than {max_bytes} bytes");
            return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, max_bytes));
        }
        sink.blocking_send(chunk).map_err(|_| {
            Error::new(
                Kind::Cancelled,
                "the pack is no longer wanted where it was going",
            )
        })
    };
    let done = pack.foreach(|bytes| {
        chunk.extend_from_slice(bytes);
        while chunk.len() >= CHUNK && stopped.is_none() {
            stopped = hand_on(chunk.split_to(CHUNK).freeze()).err();
        }
        stopped.is_none()
    });
    job.check()?;
    if let Some(error) = stopped {
        return Err(error);
    }
    done.map_err(git_failure("make the pack"))?;
    if chunk.is_empty() {
        Ok(())
    } else {
        hand_on(chunk.freeze())
    }
}

#[cfg(test)]
#[path = "pack_objects_tests.rs"]
mod tests;
