//! Revisions: what `at`, `from` and `to` of a request name.

use std::path::Path;

use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};

use crate::error::{Error, Key, Kind, Name, Result};
use crate::reference::shown;
use crate::repo::{byte_refs, git_failure, raw_object};

/// No name of a ref is longer, and no way from one that anybody writes.
const MAX_BYTES: usize = 4_096;

/// `invalid` where `rev` has not the form of a revision, or is a search by message (`:/fix`,
/// `HEAD^{/fix}`): libgit2 could not be stopped in one.
pub(crate) fn check(rev: &[u8]) -> Result<()> {
    let why = if rev.is_empty() || rev.contains(&0) || rev.starts_with(b"-") {
        "is not a revision"
    } else if rev.len() > MAX_BYTES {
        "is too long for a revision"
    } else if rev.starts_with(b":") || rev.windows(3).any(|three| three == b"^{/") {
        "searches for a message or names a file, which no revision does here"
    } else {
        return Ok(());
    };
    let rev = shown(&rev[..rev.len().min(100)]);
    Err(Error::invalid(format!("`{rev}` {why}")))
}

/// The revision that a request gives, if it gives one, [checked](check).
pub(crate) fn decode(rev: Option<Vec<u8>>) -> Result<Option<Vec<u8>>> {
    if let Some(rev) = &rev {
        check(rev)?;
    }
    Ok(rev)
}

/// The commit that `rev` names in `repo`, whose working tree is `path`: a full or a short id, a ref
/// in full or in short, or what gitrevisions(7) makes of these. Tags are taken off.
/// `ref_not_found` where there is none, with why; `corrupt` where it cannot be read.
pub(crate) fn commit(repo: &Repository, path: &Path, rev: &[u8]) -> Result<Oid> {
    let unknown = |error: git2::Error| match error.code() {
        ErrorCode::NotFound
        // No file of a ref has so long a name.
        | ErrorCode::BufSize
        | ErrorCode::InvalidSpec
        | ErrorCode::Ambiguous
        | ErrorCode::Peel => {
            let why = match error.code() {
                ErrorCode::Ambiguous => {
                    "more than one object begins like that; give more of the id"
                }
                ErrorCode::InvalidSpec => "that is not the form of a revision (see gitrevisions)",
                ErrorCode::Peel => "that is not a commit",
                _ if repo.is_shallow() => {
                    "the clone is shallow; sync with a greater depth, or depth: :infinity"
                }
                _ => "sync first if the remote has it",
            };
            let message = format!("{} has no commit `{}`: {why}", path.display(), shown(rev));
            Error::new(Kind::RefNotFound, message)
                .with(Key::Ref, Name::new(rev))
                .with(Key::Path, Name::of(path))
        }
        _ => git_failure("find the revision")(error),
    };
    let odb = raw_object::odb(repo)?;
    // What names an object outright needs no parser, which libgit2's is stricter than Git's.
    let named = || {
        let is_short = (4..40).contains(&rev.len()) && rev.iter().all(u8::is_ascii_hexdigit);
        let short = std::str::from_utf8(rev).ok().filter(|_| is_short);
        raw_object::id(rev)
            .or_else(|| byte_refs::named(repo, rev))
            .or_else(|| {
                odb.exists_prefix(Oid::from_str(short?).ok()?, rev.len())
                    .ok()
            })
            .filter(|id| odb.exists(*id))
    };
    let id = match named() {
        Some(id) => id,
        None => byte_refs::parse(repo, rev).map_err(unknown)?.id(),
    };
    match raw_object::peel(&odb, id)? {
        (commit, ObjectType::Commit) => Ok(commit),
        _ => Err(unknown(git2::Error::new(
            ErrorCode::Peel,
            ErrorClass::Object,
            "not a commit",
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_and_what_is_no_revision_are_refused_before_they_are_looked_for() {
        for rev in [
            "HEAD",
            "HEAD~3",
            "v1.0^{}",
            "refs/heads/a",
            "main@{1}",
            "4b82",
        ] {
            assert_eq!(check(rev.as_bytes()), Ok(()), "{rev}");
        }
        for rev in [
            "",
            "-x",
            ":/a",
            "HEAD^{/a}",
            "a\0",
            ":0:file",
            &"a".repeat(5_000),
        ] {
            assert_eq!(
                check(rev.as_bytes()).unwrap_err().kind,
                Kind::Invalid,
                "{rev}"
            );
        }
    }
}
