//! What objects name, read from their bytes.
//!
//! libgit2 refuses objects that Git takes (modes and dates that older tools wrote), and it applies
//! `.git/shallow` where the history as it is written is asked for.

use git2::{ObjectType, Odb, OdbObject, Oid, Repository};

use crate::error::{Error, Key, Kind, Result};
use crate::repo::commit::{self, Text};
use crate::repo::git_failure;
use crate::repo::pack::MAX_LISTING;

/// Tags of tags, and so on, that are followed.
const MAX_TAGS: usize = 1_000;

pub(crate) struct RawCommit {
    pub(crate) tree: Oid,
    pub(crate) parents: Vec<Oid>,
    /// When it was committed, in seconds; 0 where that cannot be told. Good for an order to walk
    /// in, not to be shown.
    pub(crate) date: i64,
}

pub(crate) struct RawEntry<'a> {
    pub(crate) kind: ObjectType,
    /// As it is written, see `working_tree::tree` for what Git takes it for.
    pub(crate) mode: u32,
    pub(crate) name: &'a [u8],
    pub(crate) id: Oid,
}

pub(crate) fn read_commit(odb: &Odb<'_>, id: Oid) -> Result<RawCommit> {
    commit_in(&read(odb, id)?, id)
}

/// Reads a commit, a tree or a tag, whose size is looked at before: libgit2 takes as much memory as
/// an object says that it has.
fn read<'a>(odb: &'a Odb<'_>, id: Oid) -> Result<OdbObject<'a>> {
    let (size, _) = odb.read_header(id).map_err(unreadable(id))?;
    if size > MAX_LISTING {
        let message = format!("the object {id} says that it has {size} bytes, which is too many");
        return Err(Error::new(Kind::TooLarge, message).with(Key::Limit, MAX_LISTING as u64));
    }
    odb.read(id).map_err(unreadable(id))
}

pub(crate) fn parse_commit(data: &[u8]) -> Option<RawCommit> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let tree = id(lines.next()?.strip_prefix(b"tree ")?)?;
    let (mut parents, mut date) = (Vec::new(), 0);
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some(parent) = line.strip_prefix(b"parent ") {
            parents.push(id(parent)?);
        } else if let Some(committer) = line.strip_prefix(b"committer ") {
            let after = committer
                .iter()
                .rposition(|byte| *byte == b'>')
                .map_or(0, |at| at + 1);
            let words = String::from_utf8_lossy(&committer[after..]);
            date = words
                .split_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0);
            break;
        }
    }
    Some(RawCommit {
        tree,
        parents,
        date,
    })
}

/// The commit `id`, and what it says of itself.
pub(crate) fn read_text(odb: &Odb<'_>, id: Oid) -> Result<(RawCommit, Text)> {
    let object = read(odb, id)?;
    Ok((commit_in(&object, id)?, commit::text(object.data())))
}

fn commit_in(object: &OdbObject<'_>, id: Oid) -> Result<RawCommit> {
    if object.kind() != ObjectType::Commit {
        return Err(damaged(id, "it is not a commit"));
    }
    parse_commit(object.data()).ok_or_else(|| damaged(id, "its header is not that of a commit"))
}

/// The tree of the commit `id`.
pub(crate) fn tree_of(repo: &Repository, id: Oid) -> Result<Oid> {
    Ok(read_commit(&odb(repo)?, id)?.tree)
}

/// Whether `id` is there and a commit.
pub(crate) fn is_commit(repo: &Repository, id: Oid) -> bool {
    odb(repo).and_then(|odb| read_commit(&odb, id)).is_ok()
}

pub(crate) fn odb(repo: &Repository) -> Result<Odb<'_>> {
    repo.odb().map_err(git_failure("open the objects"))
}

/// Calls `each` with the entries of the tree `id`.
pub(crate) fn read_tree(
    odb: &Odb<'_>,
    id: Oid,
    mut each: impl FnMut(RawEntry<'_>) -> Result<()>,
) -> Result<()> {
    let object = read(odb, id)?;
    if object.kind() != ObjectType::Tree {
        return Err(damaged(id, "it is not a tree"));
    }
    let mut rest = object.data();
    while !rest.is_empty() {
        let (entry, after) =
            entry(rest).ok_or_else(|| damaged(id, "one of its entries is malformed"))?;
        each(entry)?;
        rest = after;
    }
    Ok(())
}

/// What `take` makes of the entry `name` of the tree `id`, if it has one, and how many bytes that
/// tree has.
pub(crate) fn find<T>(
    odb: &Odb<'_>,
    id: Oid,
    name: &[u8],
    take: impl FnOnce(RawEntry<'_>) -> T,
) -> Result<(Option<T>, u64)> {
    let object = read(odb, id)?;
    if object.kind() != ObjectType::Tree {
        return Err(damaged(id, "it is not a tree"));
    }
    let mut rest = object.data();
    let bytes = rest.len() as u64;
    while !rest.is_empty() {
        let (entry, after) =
            entry(rest).ok_or_else(|| damaged(id, "one of its entries is malformed"))?;
        if entry.name == name {
            return Ok((Some(take(entry)), bytes));
        }
        rest = after;
    }
    Ok((None, bytes))
}

/// Calls `each` with the entries of the tree that `data` is. `None` where it is none.
pub(crate) fn each_entry(data: &[u8], mut each: impl FnMut(RawEntry<'_>)) -> Option<()> {
    let mut rest = data;
    while !rest.is_empty() {
        let (entry, after) = entry(rest)?;
        each(entry);
        rest = after;
    }
    Some(())
}

/// `<mode in octal> <name>\0<id in 20 bytes>`.
fn entry(data: &[u8]) -> Option<(RawEntry<'_>, &[u8])> {
    let space = data.iter().position(|byte| *byte == b' ')?;
    let (mode, rest) = (&data[..space], &data[space + 1..]);
    let nul = rest.iter().position(|byte| *byte == 0)?;
    let (name, rest) = (&rest[..nul], &rest[nul + 1..]);
    let (id, rest) = rest.split_at_checked(20)?;
    let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
    let kind = match mode & 0o170_000 {
        0o040_000 => ObjectType::Tree,
        0o100_000 | 0o120_000 => ObjectType::Blob,
        // Of modes of no kind Git makes this, too.
        _ => ObjectType::Commit,
    };
    let id = Oid::from_bytes(id).ok()?;
    Some((
        RawEntry {
            kind,
            mode,
            name,
            id,
        },
        rest,
    ))
}

/// The tree without an entry, which libgit2 knows without having it.
pub(crate) fn empty_tree() -> Result<Oid> {
    Oid::hash_object(ObjectType::Tree, b"").map_err(git_failure("name the empty tree"))
}

/// What `id` stands for once the tags are taken off, and of which kind that is.
pub(crate) fn peel(odb: &Odb<'_>, id: Oid) -> Result<(Oid, ObjectType)> {
    let mut at = id;
    for _ in 0..MAX_TAGS {
        let (_, kind) = odb.read_header(at).map_err(unreadable(at))?;
        if kind != ObjectType::Tag {
            return Ok((at, kind));
        }
        let tag = read(odb, at)?;
        (at, _) =
            tagged(tag.data()).ok_or_else(|| damaged(at, "its header is not that of a tag"))?;
    }
    Err(damaged(id, "it is a tag of a tag, without end"))
}

/// What the tag that `data` is stands for, and what it says that this is.
pub(crate) fn tagged(data: &[u8]) -> Option<(Oid, ObjectType)> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let target = id(lines.next()?.strip_prefix(b"object ")?)?;
    let kind = match lines.next()?.strip_prefix(b"type ")? {
        b"commit" => ObjectType::Commit,
        b"tree" => ObjectType::Tree,
        b"blob" => ObjectType::Blob,
        b"tag" => ObjectType::Tag,
        _ => return None,
    };
    Some((target, kind))
}

/// A full id: 40 hexadecimal digits, not the shorter ones that `Oid` would fill up.
pub(crate) fn id(hex: &[u8]) -> Option<Oid> {
    let hex = std::str::from_utf8(hex)
        .ok()
        .filter(|hex| hex.len() == 40)?;
    Oid::from_str(hex).ok()
}

pub(crate) fn unreadable(id: Oid) -> impl Fn(git2::Error) -> Error {
    move |error| match error.code() {
        git2::ErrorCode::NotFound => {
            Error::new(Kind::Corrupt, format!("the object {id} is missing"))
        }
        _ => git_failure("read an object")(error).context(format!("the object {id}")),
    }
}

pub(crate) fn damaged(id: Oid, why: &str) -> Error {
    Error::new(Kind::Corrupt, format!("the object {id} is damaged: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

    #[test]
    fn tags_of_tags_are_followed_so_far_and_no_farther() {
        let dir = tempfile::tempdir().unwrap();
        let repo = Repository::init(dir.path()).unwrap();
        let odb = odb(&repo).unwrap();
        let tree = odb.write(ObjectType::Tree, b"").unwrap();
        let mut tags = vec![tree];
        for n in 0..=MAX_TAGS {
            let kind = if n == 0 { "tree" } else { "tag" };
            let text = format!("object {}\ntype {kind}\ntag t\n\n", tags[n]);
            tags.push(odb.write(ObjectType::Tag, text.as_bytes()).unwrap());
        }
        assert_eq!(
            peel(&odb, tags[MAX_TAGS - 1]).unwrap(),
            (tree, ObjectType::Tree)
        );
        assert_eq!(
            peel(&odb, tags[MAX_TAGS + 1]).unwrap_err().kind,
            Kind::Corrupt
        );
    }

    #[test]
    fn commits_are_read_as_far_as_a_walk_needs_them() {
        for (committer, date) in [
            ("C <c@example.com> 1700000000 +0000", 1_700_000_000),
            ("C <c@example.com>1287367363 +0000", 1_287_367_363),
            ("C <c@example.com> 18446744073709548016 +0000", 0),
            ("C", 0),
            ("", 0),
        ] {
            let text = format!(
                "tree {ID}\nparent {ID}\nparent {ID}\nauthor A\ncommitter {committer}\n\nparent x\n"
            );
            let read = parse_commit(text.as_bytes()).unwrap();
            assert_eq!((read.parents.len(), read.date), (2, date), "{committer}");
        }
        assert!(parse_commit(format!("tree {}\n\n", &ID[1..]).as_bytes()).is_none());
        assert!(parse_commit(b"").is_none());
    }

    #[test]
    fn entries_have_the_modes_that_old_tools_wrote() {
        for (mode, kind) in [
            ("100644", ObjectType::Blob),
            ("100664", ObjectType::Blob),
            ("120000", ObjectType::Blob),
            ("40000", ObjectType::Tree),
            ("040000", ObjectType::Tree),
            ("160000", ObjectType::Commit),
            ("644", ObjectType::Commit),
            ("0", ObjectType::Commit),
        ] {
            let mut data = format!("{mode} a b\0").into_bytes();
            data.extend([7; 20]);
            data.extend(b"rest");
            let (read, rest) = entry(&data).unwrap();
            assert_eq!(
                (read.kind, read.name, rest),
                (kind, &b"a b"[..], &b"rest"[..]),
                "{mode}"
            );
            assert!(entry(&data[..data.len() - 5]).is_none());
        }
    }
}
