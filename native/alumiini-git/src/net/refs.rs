//! `ls-refs`: what a remote's refs are at (gitprotocol-v2).

use git2::Oid;

use crate::error::{Error, Kind, Result};
use crate::net::discover::{MOST_BYTES, MOST_REFS, Spoken, Version, discover, id_and_name};
use crate::net::http::{AGENT, Endpoint, Net};
use crate::net::pkt::{Line, Reader, Request};

/// One ref of a remote. Names need not be UTF-8.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RemoteRef {
    pub(crate) name: Vec<u8>,
    pub(crate) oid: Oid,
    /// For an annotated tag: what it points at.
    pub(crate) peeled: Option<Oid>,
}

/// The refs whose names begin with one of `prefixes`. One request where the URL is known to speak v2.
pub(crate) async fn ls_refs(net: &Net, endpoint: &Endpoint, prefixes: &[String]) -> Result<Vec<RemoteRef>> {
    if let Some(known) = net.known(endpoint).filter(|known| known.version == Version::V2) {
        match ask(net, endpoint, &known, prefixes).await {
            // It is not what it was: a repository renamed, a server exchanged. Asked from the beginning, it may be well.
            Err(error) if matches!(error.kind, Kind::Auth | Kind::RepoNotFound | Kind::Protocol) => {
                net.forget(endpoint)
            }
            result => return result,
        }
    }
    match discover(net, endpoint).await? {
        (_, Some(mut refs)) => {
            refs.retain(|r| prefixes.iter().any(|prefix| r.name.starts_with(prefix.as_bytes())));
            Ok(refs)
        }
        (spoken, None) => ask(net, endpoint, &spoken, prefixes).await,
    }
}

async fn ask(net: &Net, endpoint: &Endpoint, spoken: &Spoken, prefixes: &[String]) -> Result<Vec<RemoteRef>> {
    let shown = endpoint.url.shown();
    let mut request = Request::default();
    request.line("command=ls-refs")?;
    request.line(AGENT)?;
    if spoken.has("object-format=sha1") {
        request.line("object-format=sha1")?;
    }
    request.delimiter();
    request.line("peel")?;
    for prefix in prefixes {
        request.line(&format!("ref-prefix {prefix}"))?;
    }
    request.flush();
    let body = net.post(&spoken.base, endpoint, true, request.finish()).await?;
    let mut reader = Reader::new(body, shown, MOST_BYTES);
    let mut refs = Vec::new();
    loop {
        let line = reader.line().await?;
        let Line::Data(_) = line else { break };
        let text = line.text().unwrap_or_default();
        // A HEAD whose branch does not exist yet.
        if text.starts_with(b"unborn ") {
            continue;
        }
        let (oid, rest) = id_and_name(text).ok_or_else(|| reader.protocol("sent a ref that is none"))?;
        let mut words = rest.split(|byte| *byte == b' ');
        let name = words.next().unwrap_or_default().to_vec();
        let peeled = words
            .filter_map(|word| word.strip_prefix(b"peeled:"))
            .find_map(|id| Oid::from_str(std::str::from_utf8(id).ok()?).ok());
        refs.push(RemoteRef { name, oid, peeled });
        if refs.len() > MOST_REFS {
            let error = reader.protocol("has more refs than are read");
            return Err(Error {
                kind: Kind::TooLarge,
                ..error
            }
            .with("limit", MOST_REFS as u64));
        }
    }
    reader.finish().await;
    Ok(refs)
}
