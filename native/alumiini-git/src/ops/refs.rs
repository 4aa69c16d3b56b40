//! `refs`: the refs of a remote, by prefix.

use crate::error::{Error, Name, Result, panicked};
use crate::net::git::advertised::{DEFAULT_MAX_BYTES, Wanted};
use crate::net::url;
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::secrets::{hidden, secrets};
use crate::port::fields::Fields;
use crate::port::remote;
use crate::port::reply::{Answer, Ref};
use crate::reference::shown;
use crate::remote::Remote;
use crate::spec::RemoteSpec;
use crate::task::share::Share;

/// The memory that a list takes for each of its bytes, with its frame.
const COST: u64 = 3;
/// The bytes that a ref takes in a frame beside its names and ids.
const OVERHEAD: u64 = 40;

#[derive(Debug)]
pub(crate) struct Refs {
    remote: RemoteSpec,
    pub(crate) prefixes: Vec<Vec<u8>>,
    max_bytes: u64,
}

impl Operation for Refs {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(Refs {
            prefixes: fields.names("prefixes")?,
            max_bytes: fields.max_bytes(DEFAULT_MAX_BYTES)?,
            remote: remote::spec(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("refs of {}", url::redacted(&self.remote.url))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let own: Vec<&[u8]> = self.prefixes.iter().map(Vec::as_slice).collect();
        let hide = hidden(secrets(&self.remote, &own));
        let refs = self.listed(context).await.map_err(hide)?;
        Ok((refs, None))
    }
}

impl Refs {
    async fn listed(&self, context: Context<'_>) -> Result<Answer> {
        if let Some(wrong) = self
            .prefixes
            .iter()
            .find(|prefix| prefix.iter().any(|b| b.is_ascii_control() || *b == b' '))
        {
            let message = format!(
                "`{}` is the beginning of no ref: it holds a space or control character",
                shown(wrong)
            );
            return Err(Error::invalid(message));
        }
        let share = Share::of(&context.worker.net.lists);
        let wanted = Wanted::within(&self.prefixes, self.max_bytes, &share);
        let mut refs = Remote::new(context.worker, &self.remote)?
            .refs(context.worker, wanted)
            .await?;
        let bytes = refs
            .iter()
            .map(|found| found.bytes() + OVERHEAD)
            .sum::<u64>();
        // Memory for the list and its frame, until that is written.
        let held = share.into_permit(COST * bytes);
        // Encoding a long list takes a while.
        let sorted = tokio::task::spawn_blocking(move || {
            refs.sort_by(|a, b| a.name.cmp(&b.name));
            let refs = refs.into_iter().map(|found| Ref {
                name: Name(found.name),
                sha: found.oid.to_string(),
                peeled: found.peeled.map(|oid| oid.to_string()),
                symref_target: found.symref_target.map(Name),
            });
            (Answer::Refs(refs.collect()), held)
        });
        let (answer, held) = sorted.await.map_err(|_| panicked())?;
        context.held.extend(held);
        Ok(answer)
    }
}
