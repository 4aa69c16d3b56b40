//! What a repository's server speaks: asked once, remembered per URL, forgotten when it turns out to be wrong.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Hint, Kind, Result};
use crate::net::capabilities::{Speaks, advertisement};
use crate::net::http::Answer;
use crate::net::pkt::{Chunks, Reader};
use crate::net::refs::RemoteRef;
use crate::net::url::{HttpUrl, Identity};
use crate::net::{Endpoint, Net, NetUrl};

/// The most bytes of refs and capabilities that a server may send.
pub(super) const MAX_ADVERTISEMENT: u64 = 64 << 20;
const MAX_KNOWN: usize = 4096;

/// A repository's server: where it is after redirects, and what it can do.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) base: NetUrl,
    pub(super) speaks: Speaks,
    /// Whether what it says in v0 before it is asked anything is too much to be listened to.
    pub(super) wordy: AtomicBool,
}

/// What endpoints speak. At 4,096 it starts anew: it saves one request per URL, and no more.
#[derive(Default)]
pub(crate) struct Known {
    map: Mutex<HashMap<(Identity, u64), Arc<Server>>>,
    hasher: RandomState,
}

impl Known {
    /// By a hash of the credentials too: a redirect that one user was given says nothing for another. The credentials
    /// themselves are not kept.
    fn key(&self, endpoint: &Endpoint) -> (Identity, u64) {
        (
            endpoint.url.identity(),
            self.hasher.hash_one((&endpoint.auth, &endpoint.tls, &endpoint.route)),
        )
    }

    /// A panic while it is held leaves a whole map, so poisoning says nothing here.
    fn lock(&self) -> MutexGuard<'_, HashMap<(Identity, u64), Arc<Server>>> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, endpoint: &Endpoint) -> Option<Arc<Server>> {
        self.lock().get(&self.key(endpoint)).cloned()
    }

    pub(super) fn forget(&self, endpoint: &Endpoint) {
        self.lock().remove(&self.key(endpoint));
    }

    fn insert(&self, endpoint: &Endpoint, server: Arc<Server>) {
        let key = self.key(endpoint);
        let mut map = self.lock();
        if map.len() >= MAX_KNOWN && !map.contains_key(&key) {
            map.clear();
        }
        map.insert(key, server);
    }
}

/// Whether `error` may come from remembering something that is no longer so, which asking again would show.
pub(super) fn may_be_stale(error: &Error) -> bool {
    // A server that speaks v0 only has no word for a request in v2.
    error.hint == Some(Hint::Silent)
        || matches!(
            error.kind,
            Kind::Auth | Kind::RepoNotFound | Kind::Protocol | Kind::Unsupported
        )
}

/// Asks `endpoint` what it speaks and remembers it. A v0 server answers with its refs at once: those under `prefixes` come with it
/// (all of them where `prefixes` is empty).
pub(super) async fn discover(
    net: &Net,
    endpoint: &Endpoint,
    prefixes: &[String],
) -> Result<(Arc<Server>, Vec<RemoteRef>)> {
    let found = ask(net, endpoint, prefixes).await;
    match found {
        Ok((server, refs)) => {
            let server = Arc::new(server);
            net.known.insert(endpoint, server.clone());
            Ok((server, refs))
        }
        Err(e) => {
            net.known.forget(endpoint);
            Err(e)
        }
    }
}

async fn ask(net: &Net, endpoint: &Endpoint, prefixes: &[String]) -> Result<(Server, Vec<RemoteRef>)> {
    let turn = net.gates.enter(endpoint, &endpoint.url).await?;
    match &endpoint.url {
        NetUrl::Http(url) => {
            let (base, answer) = turn.watch(net.http.get_refs(endpoint, url).await)?;
            if answer.content_type() != "application/x-git-upload-pack-advertisement" {
                return Err(no_smart_answer(answer, &base).await);
            }
            read(answer, NetUrl::Http(base), prefixes).await
        }
        NetUrl::Ssh(url) => {
            let exec = turn.watch(net.upload_pack(endpoint, url, true, Bytes::new()).await)?;
            read(exec, endpoint.url.clone(), prefixes).await
        }
    }
}

async fn read<C: Chunks>(chunks: C, base: NetUrl, prefixes: &[String]) -> Result<(Server, Vec<RemoteRef>)> {
    let mut reader = Reader::new(chunks, base.shown(), MAX_ADVERTISEMENT);
    let (speaks, refs) = advertisement(&mut reader, prefixes).await?;
    reader.finish().await;
    let server = Server {
        base,
        speaks,
        wordy: AtomicBool::new(false),
    };
    Ok((server, refs))
}

/// The answer was not a smart server's. A dumb one (plain files) lists `<id> TAB <name>`, and deserves its own sentence.
async fn no_smart_answer(mut answer: Answer, base: &HttpUrl) -> Error {
    let mut start: Vec<u8> = vec![];
    while start.len() < 41 {
        match answer.chunk().await {
            Ok(Some(chunk)) => start.extend_from_slice(&Bytes::slice(&chunk, ..chunk.len().min(64))),
            _ => break,
        }
    }
    let dumb = start.len() >= 41 && start[..40].iter().all(u8::is_ascii_hexdigit) && start[40] == b'\t';
    if dumb {
        let sentence = format!(
            "{base} serves a repository as plain files (dumb HTTP), which is not supported: it needs git http-backend or another smart server"
        );
        return Error::new(Kind::Unsupported, sentence).with("url", answer.shown());
    }
    answer.not_git()
}
