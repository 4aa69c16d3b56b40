//! `ls_remote`: what a remote's ref is at.

use std::sync::Arc;

use crate::answer::Answer;
use crate::error::{Error, Kind, Result};
use crate::ops::Worker;
use crate::protocol::RemoteRequest;
use crate::remote::Remote;

/// `name` is `HEAD`, a branch, or a branch in full (`refs/heads/…`).
pub(crate) async fn run(worker: &Arc<Worker>, remote: &RemoteRequest, name: &str) -> Result<Answer> {
    let full = match name {
        "HEAD" => name.to_owned(),
        _ if name.starts_with("refs/heads/") => name.to_owned(),
        _ if name.starts_with("refs/") => {
            let message = format!("`{name}`: this version asks remotes for HEAD and for branches only");
            return Err(Error::new(Kind::Unsupported, message).with("ref", name));
        }
        _ => format!("refs/heads/{name}"),
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
    let short: String = full
        .strip_prefix("refs/heads/")
        .unwrap_or(full)
        .chars()
        .flat_map(char::escape_default)
        .collect();
    let message = format!("`{short}` is not a valid branch name (see git check-ref-format)");
    Err(Error::new(Kind::Invalid, message).with("ref", short))
}
