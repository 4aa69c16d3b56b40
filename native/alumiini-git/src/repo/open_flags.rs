//! How directories and files are opened that anybody may have put there.

use rustix::fs::OFlags;

/// A directory.
pub(crate) const DIR: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
/// The same, and not through a link.
pub(crate) const DIR_ITSELF: OFlags = DIR.union(OFlags::NOFOLLOW);
/// A file that is read. NONBLOCK: a pipe must not wait for its writer.
pub(crate) const FILE: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
/// The same, and not through a link.
pub(crate) const FILE_ITSELF: OFlags = FILE.union(OFlags::NOFOLLOW);
