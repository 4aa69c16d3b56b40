//! One session on a connection that is kept: opens its channel, and checks after its end whether
//! the connection is still alive.

use std::sync::Arc;
use std::time::{Duration, Instant};

use russh::Channel;
use russh::client::Msg;
use tokio::sync::oneshot;

use super::connection::Connection;
use super::members::{Members, Standby};
use super::peer::Target;
use super::wire::Use;

/// How long a server may take to open a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// After a session is given up, a server that does not answer for this long counts as gone. The
/// keepalive would find that out later.
const SILENCE: Duration = Duration::from_secs(2);

/// The right to one session on a connection, until it is dropped.
pub(super) struct Session {
    members: Members,
    target: Arc<Target>,
    connection: Arc<Connection>,
    _use: Use,
    pack: bool,
    /// Whether the session was ended by closing its channel from this side.
    aborted: bool,
}

/// A session that is about to begin.
pub(super) struct Lease {
    pub(super) channel: Channel<Msg>,
    pub(super) session: Session,
    /// Whether the connection was made for this request, so that nothing about it can be stale.
    pub(super) fresh: bool,
}

/// What came of opening a channel.
pub(super) enum Opened {
    Channel(Channel<Msg>, Session),
    /// The server refused the session. `alone`: there was no other one on this connection, so its
    /// limit of sessions is not the reason.
    Refused {
        alone: bool,
    },
    Gone,
}

impl Session {
    pub(super) fn new(
        members: Members,
        target: Arc<Target>,
        connection: Arc<Connection>,
        pack: bool,
    ) -> Session {
        Session {
            members,
            target,
            _use: connection.begin(),
            connection,
            pack,
            aborted: false,
        }
    }

    /// Opens the channel, in a task of its own: a channel that opens after the caller stopped
    /// waiting has to be closed.
    pub(super) async fn open(mut self) -> Opened {
        let (mut sender, receiver) = oneshot::channel();
        tokio::spawn(async move {
            let connection = self.connection.clone();
            let opening = try_open(&connection);
            tokio::pin!(opening);
            let opened = tokio::select! {
                opened = &mut opening => opened,
                () = sender.closed() => {
                    match tokio::time::timeout(SILENCE, opening).await {
                        Ok(Ok(channel)) => {
                            self.abort();
                            let _ = channel.close().await;
                        }
                        Ok(Err(_)) => {}
                        Err(_) => self.evict(),
                    }
                    return;
                }
            };
            let opened = match opened {
                Ok(channel) => Opened::Channel(channel, self),
                Err(true) => {
                    let others =
                        self.members
                            .with(&self.target, &self.connection, |member, cap| {
                                // `used` counts this session, too.
                                let others = member.used.saturating_sub(1);
                                *cap = (*cap).min(others.max(1));
                                others
                            });
                    Opened::Refused {
                        alone: others == Some(0),
                    }
                }
                Err(false) => Opened::Gone,
            };
            if let Err(Opened::Channel(channel, mut session)) = sender.send(opened) {
                session.aborted = true;
                let _ = channel.close().await;
            }
        });
        receiver.await.unwrap_or(Opened::Gone)
    }

    /// Opens a channel ahead for the next session, unless one is open or opening.
    pub(super) fn open_ahead(&self) {
        let wanted = self
            .members
            .with(&self.target, &self.connection, |member, cap| {
                let wanted = matches!(member.standby, Standby::None) && member.used < *cap;
                if wanted {
                    member.used += 1;
                    member.standby = Standby::Opening;
                }
                wanted
            });
        if wanted != Some(true) {
            return;
        }
        let (members, target, connection) = (
            self.members.clone(),
            self.target.clone(),
            self.connection.clone(),
        );
        tokio::spawn(async move {
            let opened = try_open(&connection).await;
            // The connection has ended, or the server does not answer.
            if matches!(opened, Err(false)) {
                connection.cut();
            }
            members.with(&target, &connection, |member, cap| match opened {
                Ok(channel) => member.standby = Standby::Open(channel),
                Err(refused) => {
                    member.standby = Standby::None;
                    member.used -= 1;
                    if refused {
                        *cap = (*cap).min(member.used.max(1));
                    }
                }
            });
        });
    }

    /// Asks the server for a sign of life after a session was given up. If there is none, the
    /// connection ends, since all other requests on it wait in vain. The cause (a firewall that
    /// forgot the connection, a host that is gone) has usually ended the other connections to that
    /// target, too, so these serve no new requests.
    pub(super) async fn check(&self) {
        if tokio::time::timeout(SILENCE, self.connection.ping())
            .await
            .is_err()
        {
            self.evict();
        }
    }

    fn evict(&self) {
        self.members.doubt(&self.target);
        self.connection.cut();
    }

    /// Notes that the session did not end by itself.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let pack = self.pack;
        let aborted = usize::from(self.aborted);
        self.members
            .with(&self.target, &self.connection, |member, _| {
                member.used -= 1;
                member.exclusive &= !pack;
                member.aborted += aborted;
                member.idle_since = Instant::now();
            });
    }
}

/// `Err(true)`: the server refused the channel. `Err(false)`: the connection has ended, or the
/// server does not answer.
async fn try_open(connection: &Connection) -> Result<Channel<Msg>, bool> {
    match tokio::time::timeout(OPEN_TIMEOUT, connection.open()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(russh::Error::ChannelOpenFailure(_))) => Err(true),
        Ok(Err(_)) | Err(_) => Err(false),
    }
}
