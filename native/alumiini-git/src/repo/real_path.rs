//! What libgit2 takes for the real path of a repository.
//!
//! It passes whatever it opens through its function `p_realpath`, which is realpath(3): that makes
//! the text of `/proc/self/fd/N` that the directory has now, and libgit2 then opens the config, the
//! refs, the index and each file that it checks out by this text, whatever it leads to by then.
//! There is no option against that. So this is the `p_realpath` that libgit2 is linked with, in
//! place of its own: the same but for paths through a descriptor, which stay as they are. `open`
//! sees to it that none was made text (see [`is_kept`]).

#![allow(unsafe_code, reason = "libgit2 calls it")]

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, lstat};

use super::held_dir::DESCRIPTORS;

/// libgit2's `GIT_PATH_MAX`, with the zero at the end.
const MAX_PATH: usize = 4096;

/// Whether a repository that was opened by the path `asked` is used by it, where that leads through
/// a descriptor.
pub(super) fn is_kept(asked: &Path, opened: &Path) -> bool {
    !asked.starts_with(DESCRIPTORS) || opened.starts_with(asked)
}

/// So that no linker leaves it out, and takes libgit2's own.
#[used]
static LINKED: unsafe extern "C" fn(*const c_char, *mut c_char) -> *mut c_char = p_realpath;

/// # Safety
///
/// As for realpath(3): `path` is a string, and `resolved` is null or has room for [`MAX_PATH`]
/// bytes. libgit2 calls it so.
#[unsafe(no_mangle)]
unsafe extern "C" fn p_realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char {
    // SAFETY: `path` is a string by the contract.
    let asked = unsafe { CStr::from_ptr(path) };
    match kept(asked.to_bytes())
        .filter(|kept| !resolved.is_null() && kept.as_bytes().len() < MAX_PATH)
    {
        Some(kept) => {
            let bytes = kept.as_bytes_with_nul();
            // SAFETY: `resolved` has room for so many bytes, as was asked just now.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr().cast(), resolved, bytes.len()) };
            resolved
        }
        // SAFETY: by the contract, which is the same.
        None => unsafe { libc::realpath(path, resolved) },
    }
}

/// `path` without `.`, `..` and doubled slashes, where it leads through a descriptor and through no
/// link after that.
fn kept(path: &[u8]) -> Option<CString> {
    let path = path.strip_prefix(DESCRIPTORS.as_bytes())?;
    let mut steps = path.split(|byte| *byte == b'/');
    let number = steps.next().filter(|number| !number.is_empty())?;
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut whole = [DESCRIPTORS.as_bytes(), number].concat();
    let root = whole.len();
    for step in steps {
        match step {
            b"" | b"." => {}
            b".." if whole.len() == root => return None,
            b".." => {
                let end = whole.iter().rposition(|byte| *byte == b'/')?;
                whole.truncate(end);
            }
            name => {
                whole.push(b'/');
                whole.extend_from_slice(name);
                let found = lstat(OsStr::from_bytes(&whole)).ok()?;
                if FileType::from_raw_mode(found.st_mode as _) == FileType::Symlink {
                    return None;
                }
            }
        }
    }
    CString::new(whole).ok()
}

#[cfg(test)]
#[path = "real_path_tests.rs"]
mod tests;
