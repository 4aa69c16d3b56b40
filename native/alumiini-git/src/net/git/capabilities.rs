//! The capabilities that a server advertises: the version of the protocol, and its features.

use crate::error::{Kind, Result};
use crate::net::git::advertised::{Advertised, RemoteRef, Wanted};
use crate::net::git::pkt_line::{Chunks, PktLine, PktLineReader};

/// The agent that we name where a server asks for one.
pub(in crate::net) const AGENT: &str = concat!("agent=alumiini-git/", env!("CARGO_PKG_VERSION"));

#[derive(Debug, PartialEq)]
pub(in crate::net) enum Capabilities {
    V2(V2),
    V0(V0),
}

impl Capabilities {
    /// Whether a filter can leave objects out of a pack, and these can be wanted by their ids
    /// later.
    pub(in crate::net) fn can_filter(&self) -> bool {
        match self {
            Capabilities::V2(v2) => v2.filter,
            Capabilities::V0(v0) => v0.filter && v0.any_want,
        }
    }
}

/// The features of protocol v2 that are optional (gitprotocol-v2, "Capability Advertisement"). A
/// request must not use a feature that was not advertised.
#[derive(Debug, Default, PartialEq)]
pub(in crate::net) struct V2 {
    pub(in crate::net) agent: bool,
    pub(in crate::net) object_format: bool,
    pub(in crate::net) ls_refs: bool,
    pub(in crate::net) fetch: bool,
    /// `fetch` takes `shallow` and `deepen`.
    pub(in crate::net) shallow: bool,
    /// `fetch` takes `filter`. In v2, any object may be wanted by its id.
    pub(in crate::net) filter: bool,
}

/// The capabilities of v0 that matter here (gitprotocol-capabilities).
#[derive(Debug, Default, PartialEq)]
pub(in crate::net) struct V0 {
    pub(in crate::net) agent: bool,
    /// Some servers offer these two, and refuse a client that asks for neither.
    pub(in crate::net) multi_ack: bool,
    pub(in crate::net) multi_ack_detailed: bool,
    pub(in crate::net) side_band: bool,
    pub(in crate::net) side_band_64k: bool,
    pub(in crate::net) ofs_delta: bool,
    pub(in crate::net) thin_pack: bool,
    pub(in crate::net) no_progress: bool,
    pub(in crate::net) shallow: bool,
    pub(in crate::net) filter: bool,
    /// Whether any object may be wanted by its id. Otherwise a client could not ask for the objects
    /// that a filter left out.
    pub(in crate::net) any_want: bool,
    /// Whether the repository is shallow itself, so that its history ends at the commits in its own
    /// `.git/shallow`.
    pub(in crate::net) is_shallow: bool,
}

/// Reads the advertisement of a server, up to its last flush.
pub(in crate::net) async fn advertisement<C: Chunks>(
    reader: &mut PktLineReader<C>,
    wanted: Wanted<'_>,
) -> Result<(Capabilities, Vec<RemoteRef>)> {
    let mut line = reader.line().await?;
    // v2 servers may leave this preamble out (gitprotocol-v2, "HTTP Transport").
    if line
        .text()
        .is_some_and(|text| text.starts_with(b"# service="))
    {
        if line.text() != Some(b"# service=git-upload-pack") {
            return Err(reader.protocol("answered for another service than git-upload-pack"));
        }
        // More lines about the service may follow, which Git skips.
        while line.text().is_some() {
            line = reader.line().await?;
        }
        line = reader.line().await?;
    }
    match line.text() {
        Some(b"version 2") => Ok((Capabilities::V2(v2(reader).await?), vec![])),
        // v1 is v0 with this additional line.
        Some(b"version 1") => {
            line = reader.line().await?;
            v0(reader, line, wanted).await
        }
        _ => v0(reader, line, wanted).await,
    }
}

async fn v2<C: Chunks>(reader: &mut PktLineReader<C>) -> Result<V2> {
    let mut v2 = V2::default();
    loop {
        let line = reader.line().await?;
        let Some(text) = line.text() else {
            return if line == PktLine::Flush {
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
                for feature in value.split(|b| *b == b' ') {
                    v2.shallow |= feature == b"shallow";
                    v2.filter |= feature == b"filter";
                }
            }
            // Without a value the line adds nothing.
            b"object-format" if value.is_empty() => {}
            b"object-format" => {
                only_sha1(reader, value)?;
                v2.object_format = true;
            }
            _ => {}
        }
    }
}

async fn v0<C: Chunks>(
    reader: &mut PktLineReader<C>,
    first: PktLine,
    wanted: Wanted<'_>,
) -> Result<(Capabilities, Vec<RemoteRef>)> {
    let mut v0 = V0::default();
    let mut refs = Advertised::new(wanted);
    // Some servers answer with a lone flush for an empty repository.
    let mut line = first;
    let mut is_first = true;
    let mut has_format = false;
    while line != PktLine::Flush {
        let Some(text) = line.text() else {
            return Err(reader.protocol("sent a malformed list of refs"));
        };
        let mut parts = text.splitn(2, |b| *b == 0);
        let shown_ref = parts.next().unwrap_or_default();
        let capabilities = parts.next().filter(|_| is_first).unwrap_or_default();
        for capability in capabilities.split(|b| *b == b' ') {
            match capability {
                b"multi_ack" => v0.multi_ack = true,
                b"multi_ack_detailed" => v0.multi_ack_detailed = true,
                b"side-band" => v0.side_band = true,
                b"side-band-64k" => v0.side_band_64k = true,
                b"ofs-delta" => v0.ofs_delta = true,
                b"thin-pack" => v0.thin_pack = true,
                b"no-progress" => v0.no_progress = true,
                b"shallow" => v0.shallow = true,
                b"filter" => v0.filter = true,
                // This includes files: Git treats any file that exists as reachable.
                b"allow-reachable-sha1-in-want" | b"allow-any-sha1-in-want" => v0.any_want = true,
                other => {
                    if let Some(format) = other.strip_prefix(b"object-format=") {
                        // The first counts.
                        if !std::mem::replace(&mut has_format, true) {
                            only_sha1(reader, format)?;
                        }
                    } else if let Some(pair) = other.strip_prefix(b"symref=") {
                        refs.symref(pair);
                    } else if other.starts_with(b"agent=") {
                        v0.agent = true;
                    }
                }
            }
        }
        refs.line(reader, shown_ref).await?;
        is_first = false;
        line = reader.line().await?;
    }
    v0.is_shallow = refs.shallow;
    Ok((Capabilities::V0(v0), refs.finish()))
}

fn only_sha1<C: Chunks>(reader: &PktLineReader<C>, format: &[u8]) -> Result<()> {
    if format == b"sha1" {
        return Ok(());
    }
    let mut error = reader.protocol("is a SHA-256 repository, which is not supported");
    error.kind = Kind::Unsupported;
    Err(error)
}

#[cfg(test)]
#[path = "capabilities_tests.rs"]
pub(crate) mod tests;
