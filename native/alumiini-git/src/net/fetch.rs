//! `fetch`, in one round: what we want and have, and a pack for an answer (gitprotocol-v2; gitprotocol-pack for v0).

use bytes::Bytes;
use git2::Oid;
use tokio::sync::mpsc;

use crate::error::{Error, Kind, Result};
use crate::net::discover::{Spoken, Version, discover};
use crate::net::http::{AGENT, Body, Endpoint, Net};
use crate::net::pkt::{Line, Reader, Request};

/// Bytes of one answer that are read.
const MOST_BYTES: u64 = 8 << 30;

#[derive(Debug)]
pub(crate) struct FetchRequest {
    pub(crate) want: Oid,
    pub(crate) haves: Vec<Oid>,
    /// The lines of `.git/shallow`.
    pub(crate) shallow: Vec<Oid>,
    /// Commits of history from the wanted one; `None` leaves the boundary where it is.
    pub(crate) depth: Option<u32>,
}

/// How the boundary of the history moves.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) shallow: Vec<Oid>,
    pub(crate) unshallow: Vec<Oid>,
}

/// Whether the server no longer has what was wanted: the branch has moved since it was asked.
pub(crate) fn is_want_gone(error: &Error) -> bool {
    error.kind == Kind::RefNotFound
}

/// Fetches a pack into `pack`, chunk by chunk, at the pace of its receiver. `cancelled` where the receiver is gone.
pub(crate) async fn fetch(
    net: &Net,
    endpoint: &Endpoint,
    request: &FetchRequest,
    pack: &mpsc::Sender<Bytes>,
) -> Result<Outcome> {
    let spoken = match net.known(endpoint) {
        Some(known) => known,
        None => discover(net, endpoint).await?.0,
    };
    let shallow = match spoken.version {
        Version::V2 => spoken.offers("fetch", "shallow"),
        Version::V0 => spoken.has("shallow"),
    };
    if !shallow && (request.depth.is_some() || !request.shallow.is_empty()) {
        let shown = endpoint.url.shown();
        let message =
            format!("{shown} does not serve shallow clones; use depth: :infinity, in a fresh directory if this is one");
        return Err(Error::new(Kind::Unsupported, message).with("url", shown));
    }
    match spoken.version {
        Version::V2 => version_2(net, endpoint, &spoken, request, pack).await,
        Version::V0 => version_0(net, endpoint, &spoken, request, pack).await,
    }
}

async fn version_2(
    net: &Net,
    endpoint: &Endpoint,
    spoken: &Spoken,
    request: &FetchRequest,
    pack: &mpsc::Sender<Bytes>,
) -> Result<Outcome> {
    let mut body = Request::default();
    body.line("command=fetch")?;
    body.line(AGENT)?;
    if spoken.has("object-format=sha1") {
        body.line("object-format=sha1")?;
    }
    body.delimiter();
    for line in ["thin-pack", "ofs-delta", "no-progress"] {
        body.line(line)?;
    }
    body.line(&format!("want {}", request.want))?;
    boundary(&mut body, request)?;
    haves(&mut body, request)?;
    body.line("done")?;
    body.flush();

    let mut reader = post(net, endpoint, spoken, body).await?;
    let mut outcome = Outcome::default();
    loop {
        let line = reader.line().await?;
        match line.text() {
            Some(b"packfile") => break,
            Some(b"shallow-info") => while moved(&mut reader, &mut outcome).await? {},
            // Sections that we did not ask for.
            Some(_) => while matches!(reader.line().await?, Line::Data(_)) {},
            None => return Err(reader.protocol("ended its answer without a pack")),
        }
    }
    let first = reader.line().await?;
    side_band(&mut reader, first, pack).await?;
    reader.finish().await;
    Ok(outcome)
}

async fn version_0(
    net: &Net,
    endpoint: &Endpoint,
    spoken: &Spoken,
    request: &FetchRequest,
    pack: &mpsc::Sender<Bytes>,
) -> Result<Outcome> {
    let Some(band) = ["side-band-64k", "side-band"].into_iter().find(|band| spoken.has(band)) else {
        let shown = endpoint.url.shown();
        let message = format!("{shown} lacks side-band, which every Git server since 2006 has");
        return Err(Error::new(Kind::Unsupported, message).with("url", shown));
    };
    let mut body = Request::default();
    let mut capabilities = vec![band];
    capabilities.extend(
        ["thin-pack", "ofs-delta", "no-progress"]
            .into_iter()
            .filter(|word| spoken.has(word)),
    );
    // What a client asks of `shallow` and `deepen` needs the capability named back.
    if request.depth.is_some() || !request.shallow.is_empty() {
        capabilities.push("shallow");
    }
    capabilities.push(AGENT);
    body.line(&format!("want {} {}", request.want, capabilities.join(" ")))?;
    boundary(&mut body, request)?;
    body.flush();
    haves(&mut body, request)?;
    body.line("done")?;

    let mut reader = post(net, endpoint, spoken, body).await?;
    let mut outcome = Outcome::default();
    if request.depth.is_some() {
        while moved(&mut reader, &mut outcome).await? {}
    }
    // One ACK for what is common, or a NAK; then the pack, whose lines begin with the number of their band.
    loop {
        let line = reader.line().await?;
        match line.text() {
            Some(text) if text.starts_with(b"ACK ") || text == b"NAK" => {}
            Some(_) => {
                side_band(&mut reader, line, pack).await?;
                break;
            }
            None => return Err(reader.protocol("ended its answer without a pack")),
        }
    }
    reader.finish().await;
    Ok(outcome)
}

async fn post(net: &Net, endpoint: &Endpoint, spoken: &Spoken, body: Request) -> Result<Reader<Body>> {
    let v2 = spoken.version == Version::V2;
    let body = net
        .post(&spoken.base, endpoint, v2, body.finish())
        .await
        .inspect_err(|error| {
            if matches!(error.kind, Kind::Auth | Kind::RepoNotFound | Kind::Protocol) {
                net.forget(endpoint);
            }
        })?;
    Ok(Reader::new(body, endpoint.url.shown(), MOST_BYTES))
}

fn boundary(body: &mut Request, request: &FetchRequest) -> Result<()> {
    for commit in &request.shallow {
        body.line(&format!("shallow {commit}"))?;
    }
    match request.depth {
        Some(depth) => body.line(&format!("deepen {depth}")),
        None => Ok(()),
    }
}

fn haves(body: &mut Request, request: &FetchRequest) -> Result<()> {
    request
        .haves
        .iter()
        .try_for_each(|commit| body.line(&format!("have {commit}")))
}

/// Takes one line of how the boundary moves. False at the end of the section.
async fn moved(reader: &mut Reader<Body>, outcome: &mut Outcome) -> Result<bool> {
    let line = reader.line().await?;
    let Some(text) = line.text() else { return Ok(false) };
    let oid = |hex: &[u8]| std::str::from_utf8(hex).ok().and_then(|hex| Oid::from_str(hex).ok());
    let (list, id) = if let Some(id) = text.strip_prefix(b"shallow ") {
        (&mut outcome.shallow, oid(id))
    } else if let Some(id) = text.strip_prefix(b"unshallow ") {
        (&mut outcome.unshallow, oid(id))
    } else {
        return Err(reader.protocol("sent something else than the boundary of its history"));
    };
    list.push(id.ok_or_else(|| reader.protocol("sent an id that is none"))?);
    Ok(true)
}

/// Passes the pack on until its flush: band 1 is the pack, 2 is for people, 3 is why it ends here.
async fn side_band(reader: &mut Reader<Body>, first: Line, pack: &mpsc::Sender<Bytes>) -> Result<()> {
    let mut line = first;
    loop {
        let Line::Data(data) = line else { return Ok(()) };
        match data.first() {
            Some(1) => {
                if pack.send(data.slice(1..)).await.is_err() {
                    return Err(Error::new(Kind::Cancelled, "nobody takes the pack"));
                }
            }
            Some(2) | None => {}
            Some(3) => return Err(reader.failed(&data[1..])),
            Some(_) => return Err(reader.protocol("sent a pack that is not in side-bands")),
        }
        line = reader.line().await?;
    }
}
