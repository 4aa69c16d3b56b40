//! The SSH connections that are kept, and who may use which.
//!
//! - A connection serves requests of equal [`Target`]s, eight at a time (sshd's MaxSessions is 10
//!   unless set otherwise); a server that refuses one lowers that. More requests make more
//!   connections.
//! - One connection per target is made at a time: sshd drops connections when many have not logged
//!   in yet (MaxStartups). Requests that need a connection wait for that one, and share its
//!   failure. The attempt ends when no request waits for it any more.
//! - **A pack has its connection for itself.** Russh hands out what arrives on all channels of a
//!   connection one after the other, and where a channel's reader is behind, it waits. That is what
//!   keeps a pack that is indexed slowly out of memory, and it would hold up everything else on
//!   that connection.
//! - A connection in use keeps one more channel open ahead, so that the next request on it costs
//!   two round trips and not three. OpenSSH opens sessions with a window of 0: what is asked can
//!   travel only when the command has begun, which is the second.

use std::sync::Arc;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use russh::Channel;
use russh::client::Msg;

use crate::error::{Error, Key, Kind, Result};

use super::connection;
pub(crate) use super::members::Limits;
use super::members::{Making, Member, Members, Standby};
use super::peer::Target;
use super::session::{Lease, Opened, Session};

/// How many connections may refuse even one session before the request fails with it.
const MAX_REFUSALS: usize = 4;

#[derive(Clone)]
pub(super) struct Pool {
    members: Members,
    pub(super) limits: Limits,
}

/// Why there is no lease.
pub(super) enum NoLease {
    Failed(Error),
    /// A connection that was there turned out to have ended.
    Stale,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Pool {
        Pool {
            members: Members::default(),
            limits,
        }
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_idle()
    }

    /// The number of connections made so far. A connection with a higher number is newer than every
    /// failure until now.
    pub(super) fn made(&self) -> u64 {
        self.members.lock().made
    }

    /// Leases a session with `target`. For a `pack`, its connection serves no other request
    /// meanwhile. `newer_than`: the connection has a higher number than this (see
    /// [`made`](Self::made)).
    pub(super) async fn lease(
        &self,
        target: &Arc<Target>,
        shown: &str,
        pack: bool,
        newer_than: u64,
    ) -> Result<Lease, NoLease> {
        let made_before = self.made();
        let mut refusals = 0;
        loop {
            let (session, standby, fresh) = loop {
                match self.claim(target, shown, pack, newer_than) {
                    Claim::Session(session, standby, born) => {
                        break (session, standby, born > made_before);
                    }
                    Claim::Wait(making) => making
                        .await
                        .map_err(|e| NoLease::Failed(renamed(e, shown)))?,
                }
            };
            if let Some(channel) = standby {
                return Ok(Lease {
                    channel,
                    session,
                    fresh,
                });
            }
            match session.open().await {
                Opened::Channel(channel, session) => {
                    return Ok(Lease {
                        channel,
                        session,
                        fresh,
                    });
                }
                Opened::Refused { alone: false } => {}
                Opened::Refused { alone: true } if refusals < MAX_REFUSALS => refusals += 1,
                Opened::Refused { .. } => {
                    let sentence = format!(
                        "{shown}: its server refuses sessions to this user: check that it may run \
                         git-upload-pack"
                    );
                    return Err(NoLease::Failed(
                        Error::new(Kind::Auth, sentence).with(Key::Url, shown),
                    ));
                }
                Opened::Gone if fresh => {
                    let sentence = format!(
                        "the connection to {shown} was cut before it could be used; try again later"
                    );
                    return Err(NoLease::Failed(
                        Error::new(Kind::Network, sentence).with(Key::Url, shown),
                    ));
                }
                Opened::Gone => return Err(NoLease::Stale),
            }
        }
    }

    fn claim(&self, target: &Arc<Target>, shown: &str, pack: bool, newer_than: u64) -> Claim {
        let mut state = self.members.lock();
        self.members.reap_later(&mut state, self.limits);
        let group = state.groups.entry(target.clone()).or_default();
        group
            .members
            .retain(|member| !member.connection.is_closed());
        let cap = group.cap;
        let mut new_enough = group
            .members
            .iter_mut()
            .filter(|member| member.born > newer_than);
        if let Some(member) = new_enough.find(|member| member.has_room(pack, cap)) {
            let standby = match std::mem::replace(&mut member.standby, Standby::None) {
                Standby::Open(channel) => Some(channel),
                other => {
                    member.standby = other;
                    member.used += 1;
                    None
                }
            };
            member.exclusive = pack;
            let session = Session::new(
                self.members.clone(),
                target.clone(),
                member.connection.clone(),
                pack,
            );
            return Claim::Session(session, standby, member.born);
        }
        if let Some(making) = group.making.as_ref().and_then(WeakShared::upgrade) {
            return Claim::Wait(making);
        }
        let making = self
            .clone()
            .make(target.clone(), shown.to_owned())
            .boxed()
            .shared();
        group.making = making.downgrade();
        Claim::Wait(making)
    }

    async fn make(self, target: Arc<Target>, shown: String) -> Result<()> {
        let made = connection::connect(&target, &shown, self.limits.keepalive, false).await;
        let mut state = self.members.lock();
        state.made += 1;
        let born = state.made;
        let group = state.groups.entry(target.clone()).or_default();
        group.making = None;
        match made {
            Ok((connection, _)) => {
                group.members.push(Member {
                    connection: Arc::new(connection),
                    born,
                    used: 0,
                    exclusive: false,
                    suspect: false,
                    standby: Standby::None,
                    aborted: 0,
                    idle_since: Instant::now(),
                });
                Ok(())
            }
            Err(e) => {
                if group.members.is_empty() {
                    state.groups.remove(&target);
                }
                Err(e)
            }
        }
    }
}

enum Claim {
    /// The session, the channel that was opened ahead, if there is one, and the connection's
    /// number.
    Session(Session, Option<Channel<Msg>>, u64),
    Wait(Shared<Making>),
}

/// The error of an attempt to connect that another request began, with `shown` in place of that
/// request's URL.
fn renamed(mut failed: Error, shown: &str) -> Error {
    if let Some(other) = failed.detail.get(&Key::Url).and_then(|url| url.as_str()) {
        failed.message = failed.message.replace(other, shown);
    }
    failed.with(Key::Url, shown)
}
