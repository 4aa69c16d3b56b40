//! The request of a fetch, which has one round, in both protocols (gitprotocol-v2(5), "fetch";
//! gitprotocol-pack(5), "Packfile Negotiation").

use bytes::Bytes;
use git2::Oid;

use crate::error::{Error, Key, Kind, Result};
use crate::net::git::capabilities::{AGENT, V0, V2};
use crate::net::git::pkt_line::PktLineWriter;
use crate::net::server_cache::ServerInfo;

/// The default limit of pack bytes.
pub(crate) const DEFAULT_MAX_BYTES: u64 = 8 << 30;
/// As `depth`: the whole history, also of commits that are shallow here (Git's INFINITE_DEPTH).
pub(crate) const UNSHALLOW: u32 = 2_147_483_647;

/// What to fetch.
#[derive(Debug, Clone)]
pub(crate) struct FetchRequest {
    /// The commits (or tag objects) to fetch, at least one; or files.
    pub(crate) wants: Vec<Oid>,
    /// Commits that the local repository has, with their history as far as `shallow` leaves it.
    pub(crate) haves: Vec<Oid>,
    /// All entries of `.git/shallow`.
    pub(crate) shallow: Vec<Oid>,
    /// Commits of history from the wants on, at least 1. `None` asks for all commits that are
    /// missing here, and leaves shallow commits shallow; [`UNSHALLOW`] completes their history.
    pub(crate) depth: Option<u32>,
    /// Whether the pack may be thin: it may contain deltas against objects that are here, which the
    /// indexer then has to add.
    pub(crate) thin: bool,
    /// The filter of objects to leave out, in the syntax of git-rev-list(1), `--filter`. A server
    /// that cannot filter sends all.
    pub(crate) filter: Option<&'static str>,
    /// Whether the wants are a guess of the caller's. A server that lacks them then need not be one
    /// that lags behind another.
    pub(crate) is_guess: bool,
    /// Pack bytes after which the fetch ends with `too_large`; see [`DEFAULT_MAX_BYTES`].
    pub(crate) max_bytes: u64,
}

pub(super) fn body_v2(server: &ServerInfo, v2: &V2, fetch: &FetchRequest) -> Result<Bytes> {
    if !v2.fetch {
        return Err(lacks(server, "fetch", "use another server"));
    }
    let mut request = PktLineWriter::default();
    request.line("command=fetch")?;
    if v2.agent {
        request.line(AGENT)?;
    }
    if v2.object_format {
        request.line("object-format=sha1")?;
    }
    request.delimiter();
    if fetch.thin {
        request.line("thin-pack")?;
    }
    request.line("ofs-delta")?;
    request.line("no-progress")?;
    for want in &fetch.wants {
        request.line(&format!("want {want}"))?;
    }
    shallow_lines(&mut request, server, v2.shallow, fetch, fetch.depth)?;
    if let Some(filter) = fetch.filter.filter(|_| v2.filter) {
        request.line(&format!("filter {filter}"))?;
    }
    have_lines(&mut request, fetch)?;
    request.flush();
    Ok(request.finish())
}

/// The depth to ask a v0 server for. A server whose repository is shallow says where its history
/// ends only if a depth is asked for.
pub(super) fn depth_v0(v0: &V0, fetch: &FetchRequest) -> Option<u32> {
    let all = v0.is_shallow && v0.shallow && fetch.shallow.is_empty();
    fetch.depth.or(all.then_some(UNSHALLOW))
}

pub(super) fn body_v0(
    server: &ServerInfo,
    v0: &V0,
    fetch: &FetchRequest,
    depth: Option<u32>,
) -> Result<Bytes> {
    let filter = fetch.filter.filter(|_| v0.filter && v0.any_want);
    let mut capabilities = String::new();
    // Of each kind, the first capability that the server has.
    for (capability, has) in [
        ("multi_ack_detailed", v0.multi_ack_detailed),
        ("multi_ack", v0.multi_ack && !v0.multi_ack_detailed),
        ("side-band-64k", v0.side_band_64k),
        ("side-band", v0.side_band && !v0.side_band_64k),
        ("ofs-delta", v0.ofs_delta),
        ("thin-pack", v0.thin_pack && fetch.thin),
        ("no-progress", v0.no_progress),
        ("filter", filter.is_some()),
        (AGENT, v0.agent),
    ] {
        if has {
            capabilities.push(' ');
            capabilities.push_str(capability);
        }
    }
    let mut request = PktLineWriter::default();
    for want in &fetch.wants {
        // Capabilities go with the first want.
        let capabilities = std::mem::take(&mut capabilities);
        request.line(&format!("want {want}{capabilities}"))?;
    }
    shallow_lines(&mut request, server, v0.shallow, fetch, depth)?;
    if let Some(filter) = filter {
        request.line(&format!("filter {filter}"))?;
    }
    request.flush();
    have_lines(&mut request, fetch)?;
    Ok(request.finish())
}

fn shallow_lines(
    request: &mut PktLineWriter,
    server: &ServerInfo,
    able: bool,
    fetch: &FetchRequest,
    depth: Option<u32>,
) -> Result<()> {
    if !able && (depth.is_some() || !fetch.shallow.is_empty()) {
        return Err(lacks(server, "shallow", "use depth: :infinity"));
    }
    for oid in &fetch.shallow {
        request.line(&format!("shallow {oid}"))?;
    }
    match depth {
        Some(0) => Err(Error::new(
            Kind::Invalid,
            "a depth of 0 cannot be asked for",
        )),
        Some(depth) => request.line(&format!("deepen {}", depth.min(UNSHALLOW))),
        None => Ok(()),
    }
}

fn have_lines(request: &mut PktLineWriter, fetch: &FetchRequest) -> Result<()> {
    for oid in &fetch.haves {
        request.line(&format!("have {oid}"))?;
    }
    request.line("done")
}

fn lacks(server: &ServerInfo, capability: &str, advice: &str) -> Error {
    let sentence = format!("the server of {} lacks {capability}: {advice}", server.base);
    Error::new(Kind::Unsupported, sentence).with(Key::Url, server.base.redacted())
}

#[cfg(test)]
#[path = "fetch_request_tests.rs"]
mod tests;
