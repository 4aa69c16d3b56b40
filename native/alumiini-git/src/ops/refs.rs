//! `refs`: what a remote has, by prefix.

use std::sync::Arc;

use crate::answer::{Answer, Name, Ref};
use crate::branch::shown;
use crate::error::{Error, Kind, Result};
use crate::ops::{Worker, panicked};
use crate::protocol::RemoteRequest;
use crate::remote::Remote;

pub(crate) async fn run(worker: &Arc<Worker>, remote: &RemoteRequest, prefixes: &[Vec<u8>]) -> Result<Answer> {
    if let Some(wrong) = prefixes
        .iter()
        .find(|prefix| prefix.iter().any(|b| b.is_ascii_control() || *b == b' '))
    {
        let message = format!(
            "`{}` is the beginning of no ref: it holds a space or control character",
            shown(wrong)
        );
        return Err(Error::new(Kind::Invalid, message));
    }
    let mut refs = Remote::new(remote)?.refs(worker, prefixes).await?;
    // Long lists take a while.
    let sorted = tokio::task::spawn_blocking(move || {
        refs.sort_by(|a, b| a.name.cmp(&b.name));
        let refs = refs.into_iter().map(|found| Ref {
            name: Name(found.name),
            sha: found.oid.to_string(),
            peeled: found.peeled.map(|oid| oid.to_string()),
            target: found.symref_target.map(Name),
        });
        Answer::Refs(refs.collect())
    });
    sorted.await.map_err(|_| panicked())
}
