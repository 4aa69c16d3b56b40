//! What a repository's server speaks, and where it is: found out from its URL.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::error::{Error, Key, Kind, Result};
use crate::net::advertised::{MAX_ADVERTISEMENT, RemoteRef, Wanted};
use crate::net::capabilities::{Speaks, advertisement};
use crate::net::http::Found;
use crate::net::http_answer::Answer;
use crate::net::known::Server;
use crate::net::pkt::{Chunks, Reader};
use crate::net::url::HttpUrl;
use crate::net::{Endpoint, Net, NetUrl};

/// Asks `endpoint` what it speaks, beginning at its URL, and remembers it. A v0 server answers with its refs at once: those that are
/// wanted come with it.
pub(super) async fn discover(
    net: &Net,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
) -> Result<(Arc<Server>, Vec<RemoteRef>)> {
    let turn = net.gates.enter(endpoint, &endpoint.url).await?;
    let (server, refs) = match &endpoint.url {
        NetUrl::Http(url) => {
            let found = net.http.get_refs(endpoint, url, net.known.connections(endpoint)).await;
            let Found { base, answer, until } = turn.watch(found)?;
            if answer.content_type() != "application/x-git-upload-pack-advertisement" {
                return Err(no_smart_answer(answer, &base).await);
            }
            let (speaks, refs) = read(answer, base.shown(), wanted).await?;
            let server = Server {
                base: NetUrl::Http(base),
                speaks,
                until,
                wordy: AtomicBool::new(false),
            };
            (server, refs)
        }
        NetUrl::Ssh(url) => {
            let exec = turn.watch(net.upload_pack(endpoint, url, true, Bytes::new()).await)?;
            let (speaks, refs) = read(exec, url.shown(), wanted).await?;
            let server = Server {
                base: endpoint.url.clone(),
                speaks,
                until: None,
                wordy: AtomicBool::new(false),
            };
            (server, refs)
        }
    };
    let server = Arc::new(server);
    net.known.insert(endpoint, server.clone());
    Ok((server, refs))
}

async fn read<C: Chunks>(chunks: C, shown: String, wanted: Wanted<'_>) -> Result<(Speaks, Vec<RemoteRef>)> {
    let mut reader = Reader::new(chunks, shown, MAX_ADVERTISEMENT);
    let found = advertisement(&mut reader, wanted).await?;
    reader.finish().await;
    Ok(found)
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
        return Error::new(Kind::Unsupported, sentence).with(Key::Url, answer.shown());
    }
    answer.not_git()
}
