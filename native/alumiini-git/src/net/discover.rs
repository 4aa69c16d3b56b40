//! The first request to a repository: which protocol does it speak, where is it really, and, with the old protocol, which refs
//! has it. (gitprotocol-http, "Smart Clients"; gitprotocol-v2, "Initial Client Request".)

use std::sync::Arc;

use git2::Oid;
use reqwest::header::LOCATION;

use crate::error::{Error, Kind, Result};
use crate::net::failure;
use crate::net::http::{Body, Endpoint, Net};
use crate::net::pkt::{Line, Reader};
use crate::net::refs::RemoteRef;
use crate::net::url::HttpUrl;

/// As many redirects as Git's own HTTP client follows by default is 20; nobody has a use for more than a few.
const MOST_REDIRECTS: usize = 5;
/// Bytes and refs of an advertisement that are read.
pub(crate) const MOST_BYTES: u64 = 128 << 20;
pub(crate) const MOST_REFS: usize = 1_000_000;

/// What a URL speaks, as long as it does not say otherwise.
#[derive(Debug)]
pub(crate) struct Spoken {
    /// Where the repository is after redirects.
    pub(crate) base: HttpUrl,
    pub(crate) version: Version,
    pub(crate) capabilities: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Version {
    V0,
    V2,
}

impl Spoken {
    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|known| known == capability)
    }

    /// Whether `feature` is among the values of a v2 capability, as `shallow` in `fetch=shallow filter`.
    pub(crate) fn offers(&self, capability: &str, feature: &str) -> bool {
        self.capabilities.iter().any(|known| {
            let value = known.strip_prefix(capability).and_then(|rest| rest.strip_prefix('='));
            value.is_some_and(|value| value.split(' ').any(|word| word == feature))
        })
    }
}

/// Asks. With protocol v0 the answer holds all refs.
pub(crate) async fn discover(net: &Net, endpoint: &Endpoint) -> Result<(Arc<Spoken>, Option<Vec<RemoteRef>>)> {
    let shown = endpoint.url.shown();
    let mut base = endpoint.url.clone();
    for _ in 0..=MOST_REDIRECTS {
        let asked = base.info_refs()?;
        let response = net.get(&asked, endpoint).await?;
        if !response.status().is_redirection() {
            failure::of_status(&response, endpoint)?;
            failure::of_type(&response, "application/x-git-upload-pack-advertisement", endpoint)?;
            let mut reader = Reader::new(Body::new(response, shown.clone()), shown, MOST_BYTES);
            let (spoken, refs) = advertisement(&mut reader, base).await?;
            reader.finish().await;
            let spoken = Arc::new(spoken);
            net.remember(endpoint, spoken.clone());
            return Ok((spoken, refs));
        }
        let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
        let target = target
            .and_then(|target| asked.as_url().join(target).ok())
            .map(HttpUrl::from_redirect);
        let refused =
            |why: &str| Error::new(Kind::Protocol, format!("{shown} redirects {why}")).with("url", shown.clone());
        let Some(target) = target else {
            return Err(refused("to nowhere; check the URL"));
        };
        if target.is_plaintext() && !asked.is_plaintext() {
            return Err(refused("from https to http, which is not followed; check the URL"));
        }
        base = target.strip_info_refs().ok_or_else(|| {
            refused(&format!(
                "to {}, which is not a repository (a login page?); check the URL",
                target.shown()
            ))
        })?;
    }
    let message = format!("{shown} redirects more than {MOST_REDIRECTS} times; check the URL");
    Err(Error::new(Kind::Protocol, message).with("url", shown))
}

async fn advertisement(reader: &mut Reader<Body>, base: HttpUrl) -> Result<(Spoken, Option<Vec<RemoteRef>>)> {
    let mut line = reader.line().await?;
    if line.text().is_some_and(|text| text.starts_with(b"# service=")) {
        if line.text() != Some(b"# service=git-upload-pack") {
            return Err(reader.protocol("offers another service than git-upload-pack"));
        }
        line = reader.line().await?;
        if line == Line::Flush {
            line = reader.line().await?;
        }
    }
    let (version, capabilities, refs) = match line.text() {
        Some(b"version 2") => (Version::V2, version_2(reader).await?, None),
        Some(b"version 1") => {
            line = reader.line().await?;
            let (capabilities, refs) = version_0(reader, line).await?;
            (Version::V0, capabilities, Some(refs))
        }
        _ => {
            let (capabilities, refs) = version_0(reader, line).await?;
            (Version::V0, capabilities, Some(refs))
        }
    };
    let spoken = Spoken {
        base,
        version,
        capabilities,
    };
    if spoken.has("object-format=sha256") {
        let error = reader.protocol("is a SHA-256 repository, which libgit2 does not read; use a SHA-1 one");
        return Err(Error {
            kind: Kind::Unsupported,
            ..error
        });
    }
    Ok((spoken, refs))
}

async fn version_2(reader: &mut Reader<Body>) -> Result<Vec<String>> {
    let mut capabilities = Vec::new();
    loop {
        let line = reader.line().await?;
        match line.text() {
            Some(text) if capabilities.len() < 1000 => capabilities.push(String::from_utf8_lossy(text).into_owned()),
            Some(_) => return Err(reader.protocol("has too many capabilities")),
            None => return Ok(capabilities),
        }
    }
}

/// `<id> <name>NUL<capabilities>`, then `<id> <name>` for each further ref; `<name>^{}` is what a tag points at.
async fn version_0(reader: &mut Reader<Body>, first: Line) -> Result<(Vec<String>, Vec<RemoteRef>)> {
    let mut capabilities = Vec::new();
    let mut refs: Vec<RemoteRef> = Vec::new();
    let mut line = first;
    let mut is_first = true;
    while let Some(text) = line.text() {
        let mut text = text;
        if is_first {
            let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
            let given = String::from_utf8_lossy(text.get(end + 1..).unwrap_or_default()).into_owned();
            capabilities = given
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect();
            text = &text[..end];
            is_first = false;
        }
        if !text.starts_with(b"shallow ") {
            let (oid, name) = id_and_name(text).ok_or_else(|| reader.protocol("sent a ref that is none"))?;
            match name.strip_suffix(b"^{}") {
                Some(tag) => {
                    if let Some(last) = refs.last_mut().filter(|last| last.name == tag) {
                        last.peeled = Some(oid);
                    }
                }
                None => refs.push(RemoteRef {
                    name: name.to_vec(),
                    oid,
                    peeled: None,
                }),
            }
        }
        if refs.len() > MOST_REFS {
            let error = reader.protocol("has more refs than are read");
            return Err(Error {
                kind: Kind::TooLarge,
                ..error
            }
            .with("limit", MOST_REFS as u64));
        }
        line = reader.line().await?;
    }
    // An empty repository: one line for the capabilities, under a name that is no ref.
    refs.retain(|r| r.name != b"capabilities");
    refs.retain(|r| !r.oid.is_zero());
    Ok((capabilities, refs))
}

/// Splits `<id> <name>`.
pub(crate) fn id_and_name(text: &[u8]) -> Option<(Oid, &[u8])> {
    let (id, name) = text.split_at_checked(40)?;
    let oid = Oid::from_str(std::str::from_utf8(id).ok()?).ok()?;
    Some((oid, name.strip_prefix(b" ")?)).filter(|(_, name)| !name.is_empty())
}
