//! git2's functions for refs, for names of any bytes. git2 accepts UTF-8 only, but libgit2 accepts
//! whatever Git does.

#![allow(unsafe_code, reason = "git2 takes names in UTF-8 only")]

use std::ffi::CString;
use std::ptr;

use git2::{Binding, Error, Object, Oid, Reference, Repository};
use libgit2_sys as raw;

pub(crate) fn find<'a>(repo: &'a Repository, name: &[u8]) -> Result<Reference<'a>, Error> {
    let name = c_string(name)?;
    let mut found = ptr::null_mut();
    // SAFETY: all pointers are valid during the call; what it makes is owned by nobody else, and
    // lives no longer than `repo`.
    unsafe {
        check(raw::git_reference_lookup(
            &mut found,
            repo.raw(),
            name.as_ptr(),
        ))?;
        Ok(Reference::from_raw(found))
    }
}

/// The id that `name` is at, after symbolic refs were followed.
pub(crate) fn id(repo: &Repository, name: &[u8]) -> Result<Oid, Error> {
    let name = c_string(name)?;
    let mut found = raw::git_oid { id: [0; 20] };
    // SAFETY: all pointers are valid during the call, and for the copy.
    unsafe {
        check(raw::git_reference_name_to_id(
            &mut found,
            repo.raw(),
            name.as_ptr(),
        ))?;
        Ok(Oid::from_raw(&found))
    }
}

/// The id that a short ref name is at, by the first rule of gitrevisions(7) that finds a ref.
pub(crate) fn named(repo: &Repository, short: &[u8]) -> Option<Oid> {
    let spaces: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"refs/", b""),
        (b"refs/tags/", b""),
        (b"refs/heads/", b""),
        (b"refs/remotes/", b""),
        (b"refs/remotes/", b"/HEAD"),
    ];
    spaces
        .into_iter()
        .find_map(|(space, end)| id(repo, &[space, short, end].concat()).ok())
}

/// Sets `name` to `id`, whatever it was at. `why` goes into its log.
pub(crate) fn write(repo: &Repository, name: &[u8], id: Oid, why: &str) -> Result<(), Error> {
    create_with(repo, name, id, why, 1)
}

fn create_with(
    repo: &Repository,
    name: &[u8],
    id: Oid,
    why: &str,
    force: std::ffi::c_int,
) -> Result<(), Error> {
    let (name, why) = (c_string(name)?, c_string(why.as_bytes())?);
    let mut made = ptr::null_mut();
    // SAFETY: as in `find`.
    unsafe {
        let code = raw::git_reference_create(
            &mut made,
            repo.raw(),
            name.as_ptr(),
            id.raw(),
            force,
            why.as_ptr(),
        );
        check(code)?;
        drop(Reference::from_raw(made));
    }
    Ok(())
}

/// Sets `name` to `id` if it is at `was` or does not exist, and fails otherwise. Follows a symbolic
/// ref, as `git update-ref` does.
pub(crate) fn write_from(
    repo: &Repository,
    name: &[u8],
    id: Oid,
    was: Option<Oid>,
    why: &str,
) -> Result<(), Error> {
    let end = find(repo, name).and_then(|found| Ok(found.resolve()?.name_bytes().to_vec()));
    let name = end.as_deref().unwrap_or(name);
    let Some(was) = was else {
        return create_with(repo, name, id, why, 0);
    };
    let (name, why) = (c_string(name)?, c_string(why.as_bytes())?);
    let mut made = ptr::null_mut();
    // SAFETY: as in `find`.
    unsafe {
        let (id, was) = (id.raw(), was.raw());
        let code = raw::git_reference_create_matching(
            &mut made,
            repo.raw(),
            name.as_ptr(),
            id,
            1,
            was,
            why.as_ptr(),
        );
        check(code)?;
        drop(Reference::from_raw(made));
    }
    Ok(())
}

/// Puts HEAD on the branch `name`, given in full.
pub(crate) fn set_head(repo: &Repository, name: &[u8]) -> Result<(), Error> {
    let name = c_string(name)?;
    // SAFETY: all pointers are valid during the call.
    unsafe { check(raw::git_repository_set_head(repo.raw(), name.as_ptr())) }
}

/// The object that a revision names (gitrevisions).
pub(crate) fn parse<'a>(repo: &'a Repository, rev: &[u8]) -> Result<Object<'a>, Error> {
    let rev = c_string(rev)?;
    let mut found = ptr::null_mut();
    // SAFETY: as in `find`.
    unsafe {
        check(raw::git_revparse_single(
            &mut found,
            repo.raw(),
            rev.as_ptr(),
        ))?;
        Ok(Object::from_raw(found))
    }
}

fn c_string(text: &[u8]) -> Result<CString, Error> {
    CString::new(text).map_err(|_| Error::from_str("a name holds a NUL byte"))
}

fn check(code: std::ffi::c_int) -> Result<(), Error> {
    if code < 0 {
        Err(Error::last_error(code))
    } else {
        Ok(())
    }
}
