//! A fetch in one round: the request has all wants and haves, and the pack arrives while the server
//! makes it.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::error::{Error, Kind, Result};
use crate::net::git::advertised::Wanted;
use crate::net::git::capabilities::Capabilities;
use crate::net::git::discovery::discover;
pub(crate) use crate::net::git::fetch_answer::FetchOutcome;
use crate::net::git::fetch_answer::{Form, answer};
pub(crate) use crate::net::git::fetch_request::{DEFAULT_MAX_BYTES, FetchRequest, UNSHALLOW};
use crate::net::git::fetch_request::{body_v0, body_v2, depth_v0};
use crate::net::server_cache::{ServerInfo, could_cause};
use crate::net::{Endpoint, Net};

/// Fetches into `sink`: the pack's bytes in order, as they arrive. While the channel is full,
/// nothing more is read. The pack is complete only when this returns `Ok`. The channel stays open:
/// its owner has to drop the sender afterwards.
///
/// `ref_not_found` means only that the server no longer has (or offers) one of the wants: see
/// [`is_denied`]. `cancelled` means that the receiver of `sink` was dropped; the receiver's own
/// error says why. Others: `network`, `rate_limited`, `certificate`, `auth`, `repo_not_found`,
/// `protocol`, `unsupported` (a server without `shallow`), `too_large`, `invalid` (a depth of 0).
pub(crate) async fn fetch(
    net: &Net,
    endpoint: &Endpoint,
    request: &FetchRequest,
    sink: &mpsc::Sender<Bytes>,
) -> Result<FetchOutcome> {
    let mut outcome = FetchOutcome::default();
    if let Some(server) = net.server_cache.get(endpoint) {
        match attempt(net, endpoint, &server, request, sink, &mut outcome).await {
            // After the first bytes of a pack have gone to `sink`, no second pack may follow.
            Err(e) if outcome.bytes == 0 && could_cause(endpoint, &server.base, &e) => {
                net.server_cache.doubt(endpoint)
            }
            Err(e) if request.is_guess && is_denied(&e) => return Err(e),
            done => return net.server_cache.judge(endpoint, done).map(|()| outcome),
        }
        outcome = FetchOutcome::default();
    }
    let done = async {
        // A v0 server sends its refs, too, which are not wanted here. A name that no ref has keeps
        // none of them.
        let (server, _) = discover(net, endpoint, Wanted::named(b"\0")).await?;
        attempt(net, endpoint, &server, request, sink, &mut outcome).await
    };
    let done = done.await;
    net.server_cache.judge(endpoint, done).map(|()| outcome)
}

/// Whether a fetch failed because the server does not have an object that it listed: the ref has
/// moved since, or there are several servers behind the URL and one lags. The caller asks for the
/// ref again and fetches once more.
pub(crate) fn is_denied(error: &Error) -> bool {
    matches!(error.kind, Kind::RefNotFound | Kind::RepoNotFound)
}

async fn attempt(
    net: &Net,
    endpoint: &Endpoint,
    server: &ServerInfo,
    request: &FetchRequest,
    sink: &mpsc::Sender<Bytes>,
    outcome: &mut FetchOutcome,
) -> Result<()> {
    let (body, form) = match &server.capabilities {
        Capabilities::V2(v2) => (body_v2(server, v2, request)?, Form::Sections),
        Capabilities::V0(v0) => {
            let depth = depth_v0(v0, request);
            let deepened = depth.is_some();
            (
                body_v0(server, v0, request, depth)?,
                Form::Acknowledged { deepened },
            )
        }
    };
    outcome.is_filtered = request.filter.is_some() && server.capabilities.can_filter();
    // Bounded by the pack's own limit, and by the number of other lines.
    let mut reader = net.ask(endpoint, server, body, u64::MAX).await?;
    answer(&mut reader, form, request.max_bytes, sink, outcome).await?;
    reader.finish().await;
    Ok(())
}
