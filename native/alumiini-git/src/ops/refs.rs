//! `refs`: what a remote has, by prefix.

use std::sync::Arc;

use crate::answer::{Answer, Name, Ref};
use crate::branch::shown;
use crate::error::{Error, Kind, Result};
use crate::net::refs::Wanted;
use crate::ops::read::FREE;
use crate::ops::{Worker, panicked};
use crate::outbox::Held;
use crate::protocol::RemoteRequest;
use crate::remote::Remote;

/// What a ref takes in a frame beside its names and ids.
const OVERHEAD: u64 = 40;

pub(crate) async fn run(
    worker: &Arc<Worker>,
    remote: &RemoteRequest,
    prefixes: &[Vec<u8>],
    max_bytes: u64,
    held: &mut Held,
) -> Result<Answer> {
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
    let wanted = Wanted { prefixes, max_bytes };
    let mut refs = Remote::new(worker, remote)?.refs(worker, wanted).await?;
    let bytes = refs.iter().map(|found| found.bytes() + OVERHEAD).sum::<u64>();
    if bytes > FREE {
        held.push(worker.unsent.take(bytes as usize).await?);
    }
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
