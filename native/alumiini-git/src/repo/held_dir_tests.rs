use crate::error::Key;
use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn it_leads_to_the_same_directory_after_a_rename() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    let path = real.join("path");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("file"), "ours").unwrap();
    let held = HeldDir::open(&path).unwrap();
    assert!(held.is_in_place());
    assert_eq!(held.check(), Ok(()));
    fs::rename(&path, real.join("moved")).unwrap();
    fs::create_dir(real.join("other")).unwrap();
    symlink("other", &path).unwrap();
    assert!(!held.is_in_place());
    if leads_to_descriptors() {
        assert_eq!(fs::read(held.at().join("file")).unwrap(), b"ours");
        assert_eq!(held.check(), Ok(()));
    }
    assert_eq!(HeldDir::open(&path).unwrap_err(), Errno::LOOP);
}

#[test]
fn without_proc_what_was_replaced_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap().join("path");
    fs::create_dir(&path).unwrap();
    let mut held = HeldDir::open(&path).unwrap();
    held.at = path.clone();
    assert_eq!(held.check(), Ok(()));
    fs::rename(&path, path.with_extension("moved")).unwrap();
    assert_eq!(held.check().unwrap_err().kind, Kind::Locked);
    symlink(path.with_extension("moved"), &path).unwrap();
    assert_eq!(held.check().unwrap_err().kind, Kind::Locked);
}

#[test]
fn errors_name_the_path_that_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let held = HeldDir::open(&path).unwrap();
    let shown = path.display();
    let at = held.at().display();
    let changed = vec![Name(format!("{at}/x").into_bytes()), Name::new(b"\xff")];
    let error = Error::new(Kind::Io, format!("cannot rename {at}/a to {at}: {at}0/b"))
        .with(Key::Path, format!("{at}/.git"))
        .with(Key::Changed, changed);
    let error = held.named(error);
    if leads_to_descriptors() {
        assert_eq!(
            error.message,
            format!("cannot rename {shown}/a to {shown}: {at}0/b")
        );
    }
    assert_eq!(error.detail[&Key::Path], format!("{shown}/.git").into());
    let changed = vec![Name(format!("{shown}/x").into_bytes()), Name::new(b"\xff")];
    assert_eq!(error.detail[&Key::Changed], changed.into());
}
