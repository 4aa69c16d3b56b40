//! Repositories on disk. Everything here blocks; nothing here touches the network.

pub(crate) mod blobs;
pub(crate) mod byte_refs;
pub(crate) mod cached_read;
pub(crate) mod cleanup;
pub(crate) mod commit;
pub(crate) mod export;
mod fingerprint;
pub(crate) mod finish;
#[cfg(fuzzing)]
pub mod fuzz;
mod git_dir_check;
pub(crate) mod held_dir;
pub(crate) mod history;
pub(crate) mod kept_refs;
pub(crate) mod lfs;
mod local_fs;
pub(crate) mod lock;
pub(crate) mod marker;
pub(crate) mod no_links;
pub(crate) mod open;
mod open_flags;
pub(crate) mod open_repos;
pub(crate) mod pack;
mod pack_objects;
pub(crate) mod partial;
pub(crate) mod place;
pub(crate) mod raw_object;
mod real_path;
mod recent_reads;
pub(crate) mod ref_files;
pub(crate) mod refs;
pub(crate) mod renames;
pub(crate) mod repack;
pub(crate) mod rev_list;
pub(crate) mod revision;
pub(crate) mod safe_path;
pub(crate) mod scope_file;
mod similarity;
pub(crate) mod source;
pub(crate) mod staging;
pub(crate) mod state;
pub(crate) mod status_cache;
#[cfg(test)]
mod test_git;
pub(crate) mod tree_check;
pub(crate) mod tree_files;
pub(crate) mod tree_reader;
pub(crate) mod unmanaged;
pub(crate) mod working_tree;

use std::path::Path;

use git2::{ErrorClass, ErrorCode, ObjectType};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::error::{Error, Kind};

/// The marker of a move that is not finished, see [`marker`].
const MARKER: &str = "alumiini-checkout";
/// Which files a repository is to have, see [`scope_file`].
const SCOPE: &str = "alumiini-paths";
/// How the names of directories begin in which a new `.git` is built, beside the old one.
pub(crate) const BUILD_PREFIX: &str = ".git.alumiini-";
/// Where the old `.git` waits while the new one takes its name, and until the checkout is done.
pub(crate) const OLD_GIT: &str = ".git.alumiini-old";
/// Where a `.git` is removed that nobody needs.
pub(crate) const DISCARDED: &str = ".git.alumiini-discarded";

/// libgit2 must not see this machine's configuration, and must not refuse volumes with foreign
/// owners: nothing in a repository is ever executed here. To be called before any other use of
/// libgit2.
#[allow(unsafe_code, reason = "libgit2's settings are global")]
pub(crate) fn make_hermetic() -> Result<(), git2::Error> {
    use git2::ConfigLevel::{Global, ProgramData, System, XDG};
    // SAFETY: these write libgit2's global settings and are not thread-safe; no other thread runs
    // yet.
    unsafe {
        for level in [ProgramData, System, XDG, Global] {
            git2::opts::set_search_path(level, "")?;
        }
        git2::opts::set_verify_owner_validation(false)?;
        // What lacks files on purpose, see `partial`.
        git2::opts::set_extensions(&["partialclone"])?;
        // Packs are mapped in windows; smaller ones than libgit2's 1 GiB keep what is resident in
        // bounds.
        git2::opts::set_mwindow_size(1 << 20)?;
        git2::opts::set_mwindow_mapped_limit(32 << 20)?;
        git2::opts::set_cache_max_size(16 << 20)?;
        // Reads without a working tree go through the same trees again and again; libgit2 forgets
        // those of more than 4 KiB.
        git2::opts::set_cache_object_limit(ObjectType::Tree, 1 << 20)?;
    }
    // The index entries we add name objects that a walk has just seen.
    git2::opts::strict_object_creation(false);
    Ok(())
}

/// As in `1.9.0`.
pub(crate) fn libgit2_version() -> String {
    let (major, minor, patch) = git2::Version::get().libgit2_version();
    format!("{major}.{minor}.{patch}")
}

/// Makes what is at `path`, not what a link there leads to, as young as if it were written now.
fn touch(path: &Path) -> std::io::Result<()> {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    let times = Timestamps {
        last_access: now,
        last_modification: now,
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

/// Turns a libgit2 error into ours: `what` was being done, as in "cannot `what`".
pub(crate) fn git_failure(what: &'static str) -> impl Fn(git2::Error) -> Error {
    move |error| {
        let advice = if error.code() == ErrorCode::Locked {
            "; another Git program may be at work on the repository: try again, and if there is \
             none, remove its lock"
        } else {
            ""
        };
        Error::new(
            kind_of(&error),
            format!("cannot {what}: {}{advice}", error.message()),
        )
    }
}

/// `lock` is there: a file by which Git programs keep each other away.
pub(crate) fn locked(lock: &Path) -> Error {
    let message = format!(
        "{} exists, so another Git program may be at work on the repository: try again, and if \
         there is none, remove that file",
        lock.display()
    );
    Error::new(Kind::Locked, message)
}

pub(crate) fn kind_of(error: &git2::Error) -> Kind {
    match (error.code(), error.class()) {
        // A callback of ours said no, which only a cancelled job does.
        (ErrorCode::User, _) => Kind::Cancelled,
        (ErrorCode::Locked, _) => Kind::Locked,
        (_, ErrorClass::Os | ErrorClass::Filesystem) => Kind::Io,
        (
            _,
            ErrorClass::Odb
            | ErrorClass::Reference
            | ErrorClass::Zlib
            | ErrorClass::Index
            | ErrorClass::Indexer
            | ErrorClass::Object
            | ErrorClass::Tree
            | ErrorClass::Config
            | ErrorClass::Repository,
        ) => Kind::Corrupt,
        _ => Kind::Internal,
    }
}
