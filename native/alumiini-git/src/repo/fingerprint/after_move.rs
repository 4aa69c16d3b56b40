//! The fingerprint of a working tree after a move, without a look at all of its files.

#![allow(
    clippy::unnecessary_cast,
    reason = "the types of a stat differ between systems"
)]

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, fstat, openat, statat};
use rustix::io::Errno;

use super::{FILE, FOLDER, FileStat, Fingerprint, Folder, entries, read};
use crate::repo::local_fs::is_local;
use crate::repo::open_flags::{DIR, DIR_ITSELF};
use crate::repo::working_tree::Moved;

impl Fingerprint {
    /// The fingerprint after a move of the working tree at `root`: reads only the directories that
    /// the move has touched. `None` if their content is not what the move has written.
    pub(in crate::repo) fn after(
        &self,
        moved: &Moved,
        root: &Path,
        without: &CStr,
        keys: &RandomState,
    ) -> Option<Fingerprint> {
        let root = rustix::fs::open(root, DIR, Mode::empty()).ok()?;
        let mut folders: HashMap<&[u8], Option<Arc<Folder>>> = HashMap::new();
        for folder in &self.folders {
            let is_touched = moved.touched.contains(below_root(&folder.path));
            folders.insert(
                folder.path.to_bytes(),
                (!is_touched).then(|| folder.clone()),
            );
        }
        let mut made = Fingerprint {
            folders: folders.values().flatten().cloned().collect(),
            tells: is_local(&root),
            files: 0,
        };
        let device = FileStat::of(&fstat(&root).ok()?).identity.0;
        let mut next: Vec<Vec<u8>> = moved.touched.iter().cloned().collect();
        while let Some(path) = next.pop() {
            let full = CString::new(if path.is_empty() {
                b".".to_vec()
            } else {
                [b"./", &path[..]].concat()
            })
            .ok()?;
            let dir = match openat(&root, &full, DIR_ITSELF, Mode::empty()) {
                Ok(dir) => dir,
                // The directory was removed with its last entry.
                Err(Errno::NOENT) => continue,
                Err(_) => return None,
            };
            let stat = fstat(&dir).ok()?;
            let names = read(&dir)?;
            let (mut files, mut directories) = moved.names(&path);
            for name in entries(&names, FOLDER).filter(|name| !path.is_empty() || *name != without)
            {
                if !directories.remove(name.to_bytes()) {
                    return None;
                }
                let inner = match path.is_empty() {
                    true => name.to_bytes().to_vec(),
                    false => [&path[..], b"/", name.to_bytes()].concat(),
                };
                let is_known = folders.contains_key(&[b"./", &inner[..]].concat()[..]);
                if !is_known && !moved.touched.contains(&inner) {
                    next.push(inner);
                }
            }
            let mut digest = keys.build_hasher();
            for name in entries(&names, FILE) {
                let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
                let file = match path.is_empty() {
                    true => name.to_bytes().to_vec(),
                    false => [&path[..], b"/", name.to_bytes()].concat(),
                };
                if !files.remove(name.to_bytes()) || !moved.is_as_written(&file, &stat) {
                    return None;
                }
                digest.write(&FileStat::of(&stat).bytes());
            }
            if !files.is_empty()
                || !directories.is_empty()
                || FileStat::of(&stat).identity.0 != device
            {
                return None;
            }
            made.tells &= moved.is_believed(&stat);
            made.folders.push(Arc::new(Folder {
                path: full,
                own: FileStat::of(&stat),
                files: entries(&names, FILE).count(),
                names,
                digest: digest.finish(),
            }));
        }
        made.files = made.folders.iter().map(|folder| folder.files).sum();
        Some(made)
    }
}

/// The path of a folder without its `./`.
fn below_root(path: &CStr) -> &[u8] {
    let path = path.to_bytes();
    path.strip_prefix(b"./").unwrap_or_default()
}
