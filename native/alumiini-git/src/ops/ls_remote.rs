//! `ls_remote`: what a remote's ref is at.

use std::sync::Arc;

use crate::answer::Answer;
use crate::error::{Error, Kind, Result};
use crate::ops::Worker;
use crate::protocol::{RefName, RemoteRequest};
use crate::remote::Remote;

pub(crate) async fn run(worker: &Arc<Worker>, remote: &RemoteRequest, name: &RefName) -> Result<Answer> {
    let full = match name {
        RefName::Full(name) if name == "HEAD" || name.starts_with("refs/") => name.clone(),
        RefName::Full(name) => {
            let message = format!(
                "`{}` is not the name of a ref in full: refs/…, or HEAD",
                name.escape_default()
            );
            return Err(Error::new(Kind::Invalid, message));
        }
        RefName::Branch(name) => format!("refs/heads/{name}"),
        RefName::Tag(name) => format!("refs/tags/{name}"),
    };
    valid_ref(&full)?;
    let oid = Remote::new(remote)?.resolve(worker, &full).await?;
    Ok(Answer::Id(oid.to_string()))
}

/// Refuses what Git's `check-ref-format` refuses, before it reaches a remote or libgit2.
pub(crate) fn valid_ref(full: &str) -> Result<()> {
    if git2::Reference::is_valid_name(full) {
        return Ok(());
    }
    let (what, short) = named(full);
    let short = short.escape_default().to_string();
    let message = format!("`{short}` is not a valid name for a {what} (see git check-ref-format)");
    Err(Error::new(Kind::Invalid, message).with("ref", short))
}

/// What a ref is called to people: what it is, and its name.
pub(crate) fn named(full: &str) -> (&'static str, &str) {
    for (prefix, what) in [("refs/heads/", "branch"), ("refs/tags/", "tag")] {
        if let Some(short) = full.strip_prefix(prefix) {
            return (what, short);
        }
    }
    ("ref", full)
}
