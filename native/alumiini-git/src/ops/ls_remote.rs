//! `ls_remote`: what a remote's ref is at.

use crate::error::{Error, Result};
use crate::net::url;
use crate::ops::operation::{Context, Done, Operation};
use crate::ops::secrets::{hidden, secrets};
use crate::port::fields::Fields;
use crate::port::remote;
use crate::port::reply::Answer;
use crate::reference::Reference;
use crate::remote::Remote;
use crate::spec::RemoteSpec;

#[derive(Debug)]
pub(crate) struct LsRemote {
    pub(crate) remote: RemoteSpec,
    pub(crate) reference: Reference,
}

impl Operation for LsRemote {
    fn decode(fields: &mut Fields) -> Result<Self> {
        Ok(LsRemote {
            reference: reference(fields)?,
            remote: remote::spec(fields)?,
        })
    }

    fn describe(&self) -> String {
        format!("ls_remote of {}", url::redacted(&self.remote.url))
    }

    async fn queued(self, context: Context<'_>) -> Result<Done> {
        let hide = hidden(secrets(&self.remote, &[&self.reference.name()]));
        let tip = async {
            let full = self.reference.full()?.unwrap_or_default();
            let remote = Remote::new(context.worker, &self.remote)?;
            remote.resolve(context.worker, &full, context.job).await
        };
        let tip = tip.await.map_err(hide)?;
        Ok((Answer::Id(tip.commit.to_string()), None))
    }
}

/// A str is `HEAD`, a branch, or a full ref name; a map says which of them.
fn reference(fields: &mut Fields) -> Result<Reference> {
    if fields.is_map("ref") {
        let mut reference = Fields::new(fields.map("ref")?.unwrap_or_default());
        for (kind, make) in [
            ("branch", Reference::branch as fn(Vec<u8>) -> Reference),
            ("tag", Reference::Tag),
            ("name", Reference::Full),
        ] {
            if let Some(name) = reference.bytes_if(kind)? {
                return Ok(make(name));
            }
        }
        return Err(Error::invalid(
            "field `ref` is a map of `branch`, `tag` or `name`",
        ));
    }
    let name = fields.bytes_if("ref")?.unwrap_or_else(|| b"HEAD".to_vec());
    Ok(if name == b"HEAD" || name.starts_with(b"refs/") {
        Reference::Full(name)
    } else {
        Reference::branch(name)
    })
}
