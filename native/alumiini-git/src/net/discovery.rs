//! What a repository's server speaks: asked once, remembered per URL, forgotten when it turns out to be wrong.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::error::{Error, Hint, Kind, Result};
use crate::net::http::Answer;
use crate::net::pkt::{Chunks, Line, Reader};
use crate::net::refs::{Advertised, RemoteRef};
use crate::net::url::{HttpUrl, Identity};
use crate::net::{Endpoint, Net, NetUrl};

/// The most bytes of refs and capabilities that a server may send.
pub(super) const MAX_ADVERTISEMENT: u64 = 64 << 20;
const MAX_KNOWN: usize = 4096;
/// What we say that we are, where a server wants to know.
pub(super) const AGENT: &str = concat!("agent=alumiini-git/", env!("CARGO_PKG_VERSION"));

/// A repository's server: where it is after redirects, and what it can do.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) base: NetUrl,
    pub(super) speaks: Speaks,
    /// Whether what it says in v0 before it is asked anything is too much to be listened to.
    pub(super) wordy: AtomicBool,
}

#[derive(Debug, PartialEq)]
pub(super) enum Speaks {
    V2(V2),
    V0(V0),
}

/// What protocol v2 leaves open (gitprotocol-v2, "Capability Advertisement"). A request must not name what was not advertised.
#[derive(Debug, Default, PartialEq)]
pub(super) struct V2 {
    pub(super) agent: bool,
    pub(super) object_format: bool,
    pub(super) ls_refs: bool,
    pub(super) fetch: bool,
    /// `fetch` takes `shallow` and `deepen`.
    pub(super) shallow: bool,
}

/// The capabilities of v0 that matter here (gitprotocol-capabilities).
#[derive(Debug, Default, PartialEq)]
pub(super) struct V0 {
    pub(super) agent: bool,
    pub(super) side_band: bool,
    pub(super) side_band_64k: bool,
    pub(super) ofs_delta: bool,
    pub(super) thin_pack: bool,
    pub(super) no_progress: bool,
    pub(super) shallow: bool,
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

/// Reads what a server says at the beginning, up to its last flush.
pub(super) async fn advertisement<C: Chunks>(
    reader: &mut Reader<C>,
    prefixes: &[String],
) -> Result<(Speaks, Vec<RemoteRef>)> {
    let mut line = reader.line().await?;
    // v2 servers may leave this preamble out (gitprotocol-v2, "HTTP Transport").
    if line.text().is_some_and(|text| text.starts_with(b"# service=")) {
        if line.text() != Some(b"# service=git-upload-pack") {
            return Err(reader.protocol("answered for another service than git-upload-pack"));
        }
        if reader.line().await? != Line::Flush {
            return Err(reader.protocol("sent a malformed list of refs"));
        }
        line = reader.line().await?;
    }
    match line.text() {
        Some(b"version 2") => Ok((Speaks::V2(v2(reader).await?), vec![])),
        // v1 is v0 with this line.
        Some(b"version 1") => {
            line = reader.line().await?;
            v0(reader, line, prefixes).await
        }
        _ => v0(reader, line, prefixes).await,
    }
}

async fn v2<C: Chunks>(reader: &mut Reader<C>) -> Result<V2> {
    let mut v2 = V2::default();
    loop {
        let line = reader.line().await?;
        let Some(text) = line.text() else {
            return if line == Line::Flush {
                Ok(v2)
            } else {
                Err(reader.protocol("sent malformed capabilities"))
            };
        };
        let (key, value) = match text.iter().position(|b| *b == b'=') {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, &b""[..]),
        };
        match key {
            b"agent" => v2.agent = true,
            b"ls-refs" => v2.ls_refs = true,
            b"fetch" => {
                v2.fetch = true;
                v2.shallow = value.split(|b| *b == b' ').any(|feature| feature == b"shallow");
            }
            b"object-format" => {
                only_sha1(reader, value)?;
                v2.object_format = true;
            }
            _ => {}
        }
    }
}

async fn v0<C: Chunks>(reader: &mut Reader<C>, first: Line, prefixes: &[String]) -> Result<(Speaks, Vec<RemoteRef>)> {
    let mut v0 = V0::default();
    let mut refs = Advertised::new(prefixes);
    // Some servers answer with a lone flush for an empty repository.
    let mut line = first;
    let mut is_first = true;
    while line != Line::Flush {
        let Some(text) = line.text() else {
            return Err(reader.protocol("sent a malformed list of refs"));
        };
        let mut parts = text.splitn(2, |b| *b == 0);
        let shown_ref = parts.next().unwrap_or_default();
        let capabilities = parts.next().filter(|_| is_first).unwrap_or_default();
        for capability in capabilities.split(|b| *b == b' ') {
            match capability {
                b"side-band" => v0.side_band = true,
                b"side-band-64k" => v0.side_band_64k = true,
                b"ofs-delta" => v0.ofs_delta = true,
                b"thin-pack" => v0.thin_pack = true,
                b"no-progress" => v0.no_progress = true,
                b"shallow" => v0.shallow = true,
                other => {
                    if let Some(format) = other.strip_prefix(b"object-format=") {
                        only_sha1(reader, format)?;
                    } else if let Some(pair) = other.strip_prefix(b"symref=") {
                        refs.symref(pair);
                    } else if other.starts_with(b"agent=") {
                        v0.agent = true;
                    }
                }
            }
        }
        refs.line(reader, shown_ref)?;
        is_first = false;
        line = reader.line().await?;
    }
    Ok((Speaks::V0(v0), refs.finish()))
}

fn only_sha1<C: Chunks>(reader: &Reader<C>, format: &[u8]) -> Result<()> {
    if format == b"sha1" {
        return Ok(());
    }
    let mut error = reader.protocol("is a SHA-256 repository, which is not supported");
    error.kind = Kind::Unsupported;
    Err(error)
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

#[cfg(test)]
#[path = "discovery_tests.rs"]
pub(crate) mod tests;
