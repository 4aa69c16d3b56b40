//! `ls_remote`: what a remote's ref is at.

use std::sync::Arc;

use crate::answer::{Answer, Name};
use crate::branch::shown;
use crate::error::{Error, Kind, Result};
use crate::ops::Worker;
use crate::protocol::{RefName, RemoteRequest};
use crate::remote::Remote;
use crate::repo::ref_files;

pub(crate) async fn run(worker: &Arc<Worker>, remote: &RemoteRequest, name: &RefName) -> Result<Answer> {
    let full = match name {
        RefName::Full(name) if name == b"HEAD" || name.starts_with(b"refs/") => name.clone(),
        RefName::Full(name) => {
            let message = format!("`{}` is not the name of a ref in full: refs/…, or HEAD", shown(name));
            return Err(Error::new(Kind::Invalid, message));
        }
        RefName::Branch(name) => [b"refs/heads/", &name[..]].concat(),
        RefName::Tag(name) => [b"refs/tags/", &name[..]].concat(),
    };
    valid_ref(&full)?;
    let oid = Remote::new(worker, remote)?.resolve(worker, &full).await?;
    Ok(Answer::Id(oid.to_string()))
}

/// Refuses what Git's `check-ref-format` refuses, before it reaches a remote or libgit2.
pub(crate) fn valid_ref(full: &[u8]) -> Result<()> {
    if ref_files::is_valid_name(full) {
        return Ok(());
    }
    let (what, short) = named(full);
    let message = format!(
        "`{}` is not a valid name for a {what} (see git check-ref-format)",
        shown(short)
    );
    Err(Error::new(Kind::Invalid, message).with("ref", Name::value(short)))
}

/// What a ref is called to people: what it is, and its name.
pub(crate) fn named(full: &[u8]) -> (&'static str, &[u8]) {
    for (prefix, what) in [(&b"refs/heads/"[..], "branch"), (b"refs/tags/", "tag")] {
        if let Some(short) = full.strip_prefix(prefix) {
            return (what, short);
        }
    }
    ("ref", full)
}
