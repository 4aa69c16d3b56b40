//! The refs of a remote, by prefix.

use std::sync::atomic::Ordering;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::advertised::{
    Kept, MAX_ADVERTISEMENT, RemoteRef, Wanted, bounded, malformed, parse_oid,
};
use crate::net::git::capabilities::{AGENT, Capabilities, V2, advertisement};
use crate::net::git::discovery::discover;
use crate::net::git::pkt_line::{Chunks, PktLine, PktLineReader, PktLineWriter};
use crate::net::pauses::Pauses;
use crate::net::server_cache::{ServerInfo, could_cause};
use crate::net::{Endpoint, Net, NetUrl};

/// The most bytes of a v0 list that are read before anything is asked: some 50 refs, which arrive
/// in one round trip and cost less than a second one.
const MAX_V0: u64 = 4 << 10;

/// The refs of `endpoint` that are wanted, in the server's order.
///
/// A server that is known to speak v2 is asked in one request. Any other is first asked what it
/// speaks; v2 then takes a second request. Over SSH, a server that is known to speak v2 is asked in
/// v0 as long as it has few refs, since that takes one round trip less. If the failure may come
/// from an outdated entry of the server cache, the URL is asked once more.
///
/// A ref that the server does not have is no error; an empty repository has none.
///
/// Errors: `network`, `rate_limited`, `certificate`, `auth`, `repo_not_found`, `protocol`,
/// `unsupported`, `too_large`.
pub(crate) async fn ls_refs(
    net: &Net,
    endpoint: &Endpoint,
    wanted: Wanted<'_>,
) -> Result<Vec<RemoteRef>> {
    if let Some(server) = net.server_cache.get(endpoint) {
        let (asked, done) = match &server.capabilities {
            Capabilities::V2(v2) => (
                &server.base,
                known(net, endpoint, &server, v2, wanted).await,
            ),
            // A v0 server lists its refs together with its capabilities.
            Capabilities::V0(_) => (&endpoint.url, from_url(net, endpoint, wanted).await),
        };
        match done {
            // A repository that was moved may have left an empty one behind.
            Ok(refs) if refs.is_empty() && server.is_elsewhere(endpoint) => {}
            Err(e) if could_cause(endpoint, asked, &e) => {}
            done => return net.server_cache.judge(endpoint, done),
        }
        net.server_cache.doubt(endpoint);
    }
    let done = from_url(net, endpoint, wanted).await;
    net.server_cache.judge(endpoint, done)
}

async fn from_url(net: &Net, endpoint: &Endpoint, wanted: Wanted<'_>) -> Result<Vec<RemoteRef>> {
    let (server, refs) = discover(net, endpoint, wanted).await?;
    match &server.capabilities {
        Capabilities::V0(_) => Ok(refs),
        Capabilities::V2(v2) => {
            let mut pauses = Pauses::default().take(3);
            loop {
                match ask(net, endpoint, &server, v2, wanted).await {
                    // The ref was there a moment ago. There may be several servers behind the URL,
                    // and this one does not have the ref yet.
                    Err(e) if e.kind == Kind::RepoNotFound => {
                        let Some(pause) = pauses.next() else {
                            return Err(e);
                        };
                        net.server_cache.doubt(endpoint);
                        tokio::time::sleep(pause).await;
                    }
                    done => return done,
                }
            }
        }
    }
}

async fn known(
    net: &Net,
    endpoint: &Endpoint,
    server: &ServerInfo,
    v2: &V2,
    wanted: Wanted<'_>,
) -> Result<Vec<RemoteRef>> {
    match ls_refs_v0(net, endpoint, server, wanted).await? {
        Some(refs) => Ok(refs),
        None => ask(net, endpoint, server, v2, wanted).await,
    }
}

/// The refs that a server over SSH lists in v0 before it is asked anything. In v2 the request costs
/// a round trip more with OpenSSH, whose sessions have a window of 0 until their command runs.
/// `None` if the server does not list them, or the list is long.
async fn ls_refs_v0(
    net: &Net,
    endpoint: &Endpoint,
    server: &ServerInfo,
    wanted: Wanted<'_>,
) -> Result<Option<Vec<RemoteRef>>> {
    let NetUrl::Ssh(url) = &server.base else {
        return Ok(None);
    };
    if server.v0_too_long.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let ask = || net.upload_pack(endpoint, url, false, bytes::Bytes::new());
    let (exec, permit) = net.host_limits.ask(endpoint, &server.base, ask).await?;
    let mut reader = PktLineReader::new(exec, server.base.redacted(), MAX_V0);
    match permit.judge(advertisement(&mut reader, wanted).await) {
        Ok((Capabilities::V0(_), refs)) => {
            reader.finish().await;
            return Ok(Some(refs));
        }
        // The server speaks v2 in any case.
        Ok((Capabilities::V2(_), _)) => {}
        // The list is too long, or is not v0. In the second case the server may speak v2 only, so
        // what it says to a v2 request counts.
        Err(e) if matches!(e.kind, Kind::TooLarge | Kind::Protocol) => {}
        Err(e) => return Err(e),
    }
    server.v0_too_long.store(true, Ordering::Relaxed);
    Ok(None)
}

async fn ask(
    net: &Net,
    endpoint: &Endpoint,
    server: &ServerInfo,
    v2: &V2,
    wanted: Wanted<'_>,
) -> Result<Vec<RemoteRef>> {
    if !v2.ls_refs {
        let sentence = format!(
            "{} cannot list its refs: its server lacks ls-refs",
            server.base
        );
        return Err(Error::new(Kind::Unsupported, sentence).with(Key::Url, server.base.redacted()));
    }
    let mut reader = net
        .ask(
            endpoint,
            server,
            request(v2, wanted.prefixes())?,
            MAX_ADVERTISEMENT,
        )
        .await?;
    let refs = parse(&mut reader, wanted).await?;
    reader.finish().await;
    Ok(refs)
}

fn request<'a>(v2: &V2, prefixes: impl Iterator<Item = &'a [u8]>) -> Result<bytes::Bytes> {
    let mut request = PktLineWriter::default();
    request.line("command=ls-refs")?;
    if v2.agent {
        request.line(AGENT)?;
    }
    if v2.object_format {
        request.line("object-format=sha1")?;
    }
    request.delimiter();
    request.line("peel")?;
    request.line("symrefs")?;
    for prefix in prefixes {
        if prefix.iter().any(u8::is_ascii_control) {
            return Err(Error::new(
                Kind::Invalid,
                "the name of a ref cannot hold control characters",
            ));
        }
        request.line(&[b"ref-prefix ", prefix].concat())?;
    }
    request.flush();
    Ok(request.finish())
}

/// `<id> <name>[ symref-target:<name>][ peeled:<id>]` up to the flush.
pub(in crate::net) async fn parse<C: Chunks>(
    reader: &mut PktLineReader<C>,
    wanted: Wanted<'_>,
) -> Result<Vec<RemoteRef>> {
    let mut refs = Kept::new(wanted);
    let mut count = 0;
    loop {
        let line = reader.line().await?;
        let Some(text) = line.text() else {
            return if line == PktLine::Flush {
                Ok(refs.kept)
            } else {
                Err(malformed(reader))
            };
        };
        count += 1;
        bounded(reader, count)?;
        let mut words = text.split(|b| *b == b' ');
        let oid = words.next().unwrap_or_default();
        let Some(name) = words.next() else {
            return Err(malformed(reader));
        };
        if oid == b"unborn" {
            continue;
        }
        let Some(oid) = parse_oid(oid) else {
            return Err(malformed(reader));
        };
        let mut found = RemoteRef {
            name: name.to_vec(),
            oid,
            peeled: None,
            symref_target: None,
        };
        for attribute in words {
            if let Some(target) = attribute.strip_prefix(b"symref-target:") {
                found.symref_target = Some(target.to_vec());
            } else if let Some(oid) = attribute.strip_prefix(b"peeled:") {
                found.peeled = Some(parse_oid(oid).ok_or_else(|| malformed(reader))?);
            }
        }
        // Prefixes are a hint: a server may send other refs, too.
        if wanted.includes(&found.name) {
            refs.push(reader, found).await?;
        }
    }
}

#[cfg(test)]
#[path = "ls_refs_tests.rs"]
mod tests;
