//! What happens while a connection is made: the server's host key is checked, and channels that the
//! server opens are refused.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use russh::Channel;
use russh::client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session};
use russh::keys::PublicKeyOrCertificate;

use super::host_key::{self, Greeting};
use super::known_hosts::Trusted;
use super::peer::Target;
use crate::error::Error;
use crate::net::git::pkt_line::sanitised;

/// What a connection learns of its server on the way.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) greeting: Greeting,
    /// What the server said when it ended the connection.
    pub(super) disconnect_message: Option<String>,
}

/// Locks, also after a panic of another thread that held the lock: what is in there is always
/// complete.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what russh asks about the server.
pub(super) struct Checker {
    pub(super) target: Target,
    pub(super) shown: String,
    pub(super) trusted: Trusted,
    pub(super) seen: Arc<Mutex<Seen>>,
}

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failed {
    Ours(Error),
    Russh(russh::Error),
}

impl From<russh::Error> for Failed {
    fn from(error: russh::Error) -> Failed {
        Failed::Russh(error)
    }
}

/// A server may open nothing on this client: dropping the handle refuses it.
macro_rules! refuse {
    ($($name:ident($($argument:ty),*);)*) => {
        $(async fn $name(
            &mut self, _: Channel<Msg>, $(_: $argument,)* reply: ChannelOpenHandle, _: &mut Session,
        ) -> Result<(), Failed> {
            drop(reply);
            Ok(())
        })*
    };
}

impl Handler for Checker {
    type Error = Failed;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Failed> {
        let at = (self.target.host.as_str(), self.target.port);
        let greeting = host_key::check(key, &self.trusted, at, &self.target.login, &self.shown)
            .map_err(Failed::Ours)?;
        lock(&self.seen).greeting = greeting;
        Ok(true)
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &russh::Names,
        session: &mut Session,
    ) -> Result<(), Failed> {
        lock(&self.seen).greeting.version = sanitised(session.remote_sshid());
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failed>) -> Result<(), Failed> {
        if let DisconnectReason::ReceivedDisconnect(disconnect_message) = reason {
            lock(&self.seen).disconnect_message =
                Some(sanitised(disconnect_message.message.as_bytes()));
        }
        Ok(())
    }

    refuse! {
        server_channel_open_forwarded_tcpip(&str, u32, &str, u32);
        server_channel_open_forwarded_streamlocal(&str);
        server_channel_open_agent_forward();
        server_channel_open_session();
        server_channel_open_direct_tcpip(&str, u32, &str, u32);
        server_channel_open_direct_streamlocal(&str);
        server_channel_open_x11(&str, u32);
    }
}
