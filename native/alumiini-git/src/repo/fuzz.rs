//! What fuzz targets feed to the parsers of a repository's files and objects.

use std::fs;
use std::path::{Path, PathBuf};

use super::ref_files::RefFiles;
use super::{commit, open, raw_object, working_tree};

/// Packs, as a remote may send them.
pub fn packs(bytes: &[u8]) {
    super::pack::fuzz::run(bytes);
}

/// A `.git` of this process.
fn git_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("alumiini-git-fuzz-files-{}", std::process::id()));
    fs::create_dir_all(dir.join("refs/heads")).expect("a directory to fuzz in");
    dir
}

fn with(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    let dir = git_dir();
    fs::write(dir.join(name), bytes).expect("a file to fuzz with");
    read(&dir);
    fs::remove_file(dir.join(name)).expect("the file to be there still");
}

pub fn shallow(bytes: &[u8]) {
    with("shallow", bytes, |dir| drop(open::shallow(dir)));
}

pub fn configs(bytes: &[u8]) {
    with("config", bytes, |dir| {
        let _ = (open::is_managed(dir), open::is_bare(dir));
    });
}

/// As packed refs, and as the file of one ref.
pub fn refs(bytes: &[u8]) {
    let refs = |dir: &Path| {
        let refs = RefFiles::new(dir, dir);
        drop(refs.list::<&[u8]>(&[]));
        drop(refs.resolve(b"refs/heads/main"));
    };
    with("packed-refs", bytes, refs);
    with("refs/heads/main", bytes, refs);
}

pub fn indexes(bytes: &[u8]) {
    working_tree::fuzz_index(bytes);
}

/// Trees, commits and tags.
pub fn objects(bytes: &[u8]) {
    let _ = raw_object::each_entry(bytes, |_| {});
    let _ = raw_object::parse_commit(bytes);
    let _ = raw_object::tagged(bytes);
    drop(commit::text(bytes));
}
