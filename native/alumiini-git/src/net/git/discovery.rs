//! What a repository's server speaks, and where it is: found out from its URL.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::advertised::{MAX_ADVERTISEMENT, RemoteRef, Wanted};
use crate::net::git::capabilities::{Capabilities, advertisement};
use crate::net::git::pkt_line::{Chunks, PktLineReader};
use crate::net::http::Found;
use crate::net::http_answer::Answer;
use crate::net::server_cache::ServerInfo;
use crate::net::url::HttpUrl;
use crate::net::{Endpoint, Net, NetUrl};

/// Asks `endpoint` what it speaks, beginning at its URL, and remembers it. A v0 server
/// answers with its refs at once: those that are wanted come with it.
pub(in crate::net) async fn discover(
    net: &Net,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
) -> Result<(Arc<ServerInfo>, Vec<RemoteRef>)> {
    let (server, refs) = match &endpoint.url {
        NetUrl::Http(url) => {
            let found = net.tokens.ask(endpoint, |endpoint| async move {
                over_http(net, &endpoint, url, wanted).await
            });
            found.await?.0
        }
        NetUrl::Ssh(url) => {
            let ask = || net.upload_pack(endpoint, url, true, Bytes::new());
            let (exec, permit) = net.host_limits.ask(endpoint, &endpoint.url, ask).await?;
            let (capabilities, refs) = permit.judge(read(exec, url.redacted(), wanted).await)?;
            let server = ServerInfo {
                base: endpoint.url.clone(),
                capabilities,
                until: None,
                v0_too_long: AtomicBool::new(false),
            };
            (server, refs)
        }
    };
    let server = Arc::new(server);
    net.server_cache.insert(endpoint, server.clone());
    Ok((server, refs))
}

async fn over_http(
    net: &Net,
    endpoint: &Endpoint,
    url: &HttpUrl,
    wanted: Wanted<'_>,
) -> Result<(ServerInfo, Vec<RemoteRef>)> {
    let ask = || {
        let connections = net.server_cache.connections(endpoint);
        net.http.get_refs(endpoint, url, connections)
    };
    let (found, permit) = net.host_limits.ask(endpoint, &endpoint.url, ask).await?;
    let Found {
        base,
        answer,
        until,
    } = found;
    if answer.content_type() != "application/x-git-upload-pack-advertisement" {
        return Err(no_smart_answer(answer, &base).await);
    }
    let (capabilities, refs) = permit.judge(read(answer, base.redacted(), wanted).await)?;
    let server = ServerInfo {
        base: NetUrl::Http(base),
        capabilities,
        until,
        v0_too_long: AtomicBool::new(false),
    };
    Ok((server, refs))
}

async fn read<C: Chunks>(
    chunks: C,
    shown: String,
    wanted: Wanted<'_>,
) -> Result<(Capabilities, Vec<RemoteRef>)> {
    let mut reader = PktLineReader::new(chunks, shown, MAX_ADVERTISEMENT);
    let found = advertisement(&mut reader, wanted).await?;
    reader.finish().await;
    Ok(found)
}

/// The answer was not a smart server's. A dumb one (plain files) lists `<id> TAB <name>`, and
/// deserves its own sentence.
async fn no_smart_answer(mut answer: Answer, base: &HttpUrl) -> Error {
    let mut start: Vec<u8> = vec![];
    while start.len() < 41 {
        match answer.chunk().await {
            Ok(Some(chunk)) => {
                start.extend_from_slice(&Bytes::slice(&chunk, ..chunk.len().min(64)))
            }
            _ => break,
        }
    }
    let dumb =
        start.len() >= 41 && start[..40].iter().all(u8::is_ascii_hexdigit) && start[40] == b'\t';
    if dumb {
        let sentence = format!(
            "{base} serves a repository as plain files (dumb HTTP), which is not supported: it \
             needs git http-backend or another smart server"
        );
        return Error::new(Kind::Unsupported, sentence).with(Key::Url, answer.redacted());
    }
    answer.not_git()
}
