//! A repository of this machine, as a remote.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::advertised::{RemoteRef, too_many_bytes};
use crate::policy::Allow;
use crate::reference::Tip;
use crate::repo::pack::install::Boundary;
use crate::repo::source::{Listed, Order, Source};
use crate::task::job::Job;

/// A repository of this machine.
#[derive(Clone)]
pub(crate) struct Local {
    path: PathBuf,
    shown: String,
    allow: Arc<Allow>,
}

impl Local {
    /// `shown` is what errors call it.
    pub(super) fn new(path: PathBuf, shown: String, allow: Arc<Allow>) -> Local {
        Local { path, shown, allow }
    }

    pub(super) fn redacted(&self) -> &str {
        &self.shown
    }

    fn open(&self) -> Result<Source> {
        Source::open(&self.path, &self.shown, &self.allow)
    }

    /// Its refs; none where they have more bytes than `allowance`, which may be less than the
    /// `limit`.
    pub(super) fn list(
        &self,
        prefixes: &[Vec<u8>],
        limit: u64,
        allowance: u64,
    ) -> Result<Option<Vec<RemoteRef>>> {
        let listed = self.open()?.list(prefixes)?;
        let refs: Vec<RemoteRef> = listed.into_iter().map(remote_ref).collect();
        let bytes = refs.iter().map(RemoteRef::bytes).sum::<u64>();
        if bytes > limit {
            let message = format!("{} {}", self.shown, too_many_bytes(limit));
            let error = Error::new(Kind::TooLarge, message);
            return Err(error
                .with(Key::Url, self.shown.clone())
                .with(Key::Limit, limit));
        }
        Ok((bytes <= allowance).then_some(refs))
    }

    /// What the ref of the full name `name` is at. See [`Source::find`].
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Tip>> {
        self.open()?.find(name)
    }

    /// Sends the pack that `order` is for. See [`Source::send`].
    pub(super) fn send(
        &self,
        order: &Order,
        sink: &mpsc::Sender<Bytes>,
        job: &Job,
    ) -> Result<Boundary> {
        self.open()?.send(order, sink, job)
    }
}

fn remote_ref(listed: Listed) -> RemoteRef {
    RemoteRef {
        name: listed.name,
        oid: listed.oid,
        peeled: listed.peeled,
        symref_target: listed.symbolic,
    }
}
