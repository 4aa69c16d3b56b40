//! Which file systems are on this machine, and keep to what POSIX says.

use std::os::fd::AsFd;

// The numbers are in statfs(2).
#[cfg(target_os = "linux")]
const TMPFS: u32 = 0x0102_1994;

/// Which file system `dir` is on. The field is signed on some systems and wider than that on
/// others.
#[cfg(target_os = "linux")]
fn kind(dir: impl AsFd) -> Option<u32> {
    rustix::fs::fstatfs(dir).ok().map(|fs| fs.f_type as u32)
}

/// Whether all that is in `dir` is in memory.
#[cfg(target_os = "linux")]
pub(super) fn is_in_memory(dir: impl AsFd) -> bool {
    kind(dir) == Some(TMPFS)
}

/// Whether `dir` is on a local file system: whose directories change their times with what they
/// hold, and which makes nobody wait for what is in memory. One on a network or in user space may
/// do otherwise. False where that is not known.
#[cfg(target_os = "linux")]
pub(super) fn is_local(dir: impl AsFd) -> bool {
    const EXT: u32 = 0xef53;
    const XFS: u32 = 0x5846_5342;
    const BTRFS: u32 = 0x9123_683e;
    const F2FS: u32 = 0xf2f5_2010;
    const OVERLAY: u32 = 0x794c_7630;
    kind(dir).is_some_and(|kind| [EXT, XFS, BTRFS, F2FS, TMPFS, OVERLAY].contains(&kind))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_local(_dir: impl AsFd) -> bool {
    false
}
