//! One SSH connection, from TCP to a user who is logged in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::client::{self, Config, Handle, Msg};
use russh::{Channel, SshId};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Hint, Key, Kind, Result};
use crate::net::auth::SshCredential;
use crate::net::dial::{CONNECT_TIMEOUT, dial};
use crate::net::git::pkt_line::sanitised;

use super::agent::Refusal;
use super::algorithms;
use super::handler::{Checker, Failed, Seen, lock};
use super::host_key::{self, Greeting};
use super::known_hosts::Trusted;
use super::login::{decode, login};
use super::peer::Target;
use super::wire::{Use, Uses, Wire};

/// Bounds what a channel's reader has not read yet: the bytes that a server may send before it is
/// told to go on, and the packets that wait in memory (OpenSSH's have 32 KiB). While as many
/// packets wait, the socket is not read.
const WINDOW: u32 = 2 << 20;
const WAITING_PACKETS: usize = 64;
/// How many keepalives a server may leave unanswered. After one more the connection is given up.
const MAX_UNANSWERED: usize = 3;

/// A connection on which a user is logged in. Dropping it closes its socket at once.
pub(super) struct Connection {
    handle: Handle<Checker>,
    cut: DropGuard,
    uses: Arc<Uses>,
}

impl Connection {
    /// Whether it has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Asks the server for a sign of life, and waits for it.
    pub(super) async fn ping(&self) -> Result<(), russh::Error> {
        self.handle.send_ping().await
    }

    /// Marks the connection as used until the result is dropped. What arrives on a connection that
    /// is used is not bounded here.
    pub(super) fn begin(&self) -> Use {
        self.uses.begin()
    }

    /// Ends the connection, with all of its sessions.
    pub(super) fn cut(&self) {
        self.cut.token().cancel();
    }

    /// Opens a channel for a session. Whoever drops this future leaves the server with a channel
    /// that nobody closes.
    pub(super) async fn open(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }
}

/// Connects and, unless `greet_only`, logs in.
///
/// `shown`: what errors call the remote. `keepalive`: the silence after which the server is asked
/// for a sign of life. `network`: no way there, cut, or not done in time (the step is named).
/// `host_key`, `auth`, `invalid` (the private key), `unsupported` (no algorithm in common),
/// `protocol` (not SSH).
pub(super) async fn connect(
    target: &Target,
    shown: &str,
    keepalive: Duration,
    greet_only: bool,
) -> Result<(Connection, Greeting)> {
    connect_within(CONNECT_TIMEOUT, target, shown, keepalive, greet_only).await
}

async fn connect_within(
    limit: Duration,
    target: &Target,
    shown: &str,
    keepalive: Duration,
    greet_only: bool,
) -> Result<(Connection, Greeting)> {
    let step = Mutex::new("the connection");
    let made = tokio::time::timeout(
        limit,
        connect_by_steps(target, shown, keepalive, greet_only, &step),
    )
    .await;
    made.unwrap_or_else(|_| {
        let step = *lock(&step);
        let sentence = format!(
            "cannot reach {shown}: its SSH server did not get through {step} within {} seconds; \
             check that it is one, and not overloaded",
            limit.as_secs()
        );
        Err(Error::new(Kind::Network, sentence)
            .with(Key::Url, shown)
            .hinted(Hint::Unreachable))
    })
}

async fn connect_by_steps(
    target: &Target,
    shown: &str,
    keepalive: Duration,
    greet_only: bool,
    step: &Mutex<&'static str>,
) -> Result<(Connection, Greeting)> {
    // Errors of the key and the passphrase do not name the URL.
    let named = |e: Error| {
        e.context(format!("cannot log in to {shown}"))
            .with(Key::Url, shown)
    };
    let key = async {
        match &target.login.proof {
            SshCredential::Key {
                private_key,
                passphrase,
            } if !greet_only => decode(private_key, passphrase.as_deref())
                .await
                .map(Some)
                .map_err(named),
            _ => Ok(None),
        }
    };
    let (stream, trusted, key) = tokio::try_join!(
        dial(
            (&target.host, target.port),
            target.proxy.as_ref(),
            &target.addresses,
            shown
        ),
        host_key::trusted(&target.login, &target.host, target.port),
        key
    )?;

    *lock(step) = "the key exchange";
    let config = Arc::new(config(&trusted, keepalive));
    let seen = Arc::<Mutex<Seen>>::default();
    let checker = Checker {
        target: target.clone(),
        shown: shown.to_owned(),
        trusted,
        seen: seen.clone(),
    };
    let cut = CancellationToken::new();
    let guard = cut.clone().drop_guard();
    let uses = Arc::<Uses>::default();
    let handle =
        client::connect_stream(config, Wire::new(stream, cut, uses.clone()), checker).await;
    let mut handle = handle.map_err(|failed| match failed {
        Failed::Ours(error) => error,
        Failed::Russh(error) => handshake(&error, shown, &lock(&seen)),
    })?;
    if !greet_only {
        *lock(step) = "the login";
        login(&mut handle, target, key)
            .await
            .map_err(|refusal| match refusal {
                Refusal::Ours(error) => named(error),
                Refusal::Keys(tried) => refused(target, shown, &tried),
                Refusal::Ended(tried) => ended(target, shown, &tried, &lock(&seen)),
            })?;
    }
    let greeting = lock(&seen).greeting.clone();
    let connection = Connection {
        handle,
        cut: guard,
        uses,
    };
    Ok((connection, greeting))
}

fn refused(target: &Target, shown: &str, tried: &[String]) -> Error {
    let keys = match tried {
        [one] => format!("the key {one}"),
        more => format!("any of the keys {}", more.join(", ")),
    };
    let sentence = format!(
        "{shown}: {} does not accept {keys}: check that its public half is registered there, with \
         access to this repository, and that the user is right",
        target.who()
    );
    Error::new(Kind::Auth, sentence).with(Key::Url, shown)
}

fn ended(target: &Target, shown: &str, tried: &[String], seen: &Seen) -> Error {
    match &seen.disconnect_message {
        Some(disconnect_message) if !tried.is_empty() => {
            let mut error = refused(target, shown, tried);
            error.message = format!("{}; the server says: {disconnect_message}", error.message);
            error
        }
        _ => cut(shown, "the login", seen),
    }
}

fn cut(shown: &str, step: &str, seen: &Seen) -> Error {
    let said = seen
        .disconnect_message
        .as_ref()
        .map_or(String::new(), |disconnect_message| {
            format!(": {disconnect_message}")
        });
    let sentence = format!(
        "the connection to {shown} was ended by its server during {step}{said}; try again later"
    );
    Error::new(Kind::Network, sentence).with(Key::Url, shown)
}

fn handshake(error: &russh::Error, shown: &str, seen: &Seen) -> Error {
    use russh::Error as E;
    let (kind, sentence) = match error {
        E::IO(_) | E::HUP | E::Disconnect | E::SendError | E::RecvError => {
            return cut(shown, "the key exchange", seen);
        }
        E::Version => (
            Kind::Protocol,
            format!("{shown} did not answer in SSH: check the URL's port"),
        ),
        E::NoCommonAlgo { kind, theirs, .. } => {
            let what = algorithms::what(kind);
            let theirs = sanitised(algorithms::real(theirs).join(", ").as_bytes());
            (
                Kind::Unsupported,
                format!(
                    "{shown} and this worker have no {what} in common: its server offers \
                     {theirs}; update it, or let it offer what current OpenSSH offers"
                ),
            )
        }
        E::WrongServerSig => (
            Kind::HostKey,
            format!(
                "{shown} shows a host key that it cannot sign with: this is not the server that \
                 it says it is"
            ),
        ),
        other => (
            Kind::Protocol,
            format!(
                "the SSH key exchange with {shown} failed: {}; check the URL's port",
                sanitised(other.to_string().as_bytes())
            ),
        ),
    };
    Error::new(kind, sentence).with(Key::Url, shown)
}

fn config(trusted: &Trusted, keepalive: Duration) -> Config {
    Config {
        client_id: SshId::Standard(
            concat!("SSH-2.0-alumiini-git_", env!("CARGO_PKG_VERSION")).into(),
        ),
        window_size: WINDOW,
        channel_buffer_size: WAITING_PACKETS,
        keepalive_interval: Some(keepalive),
        keepalive_max: MAX_UNANSWERED,
        preferred: algorithms::preferred(trusted),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::auth::SshLogin;
    use std::net::TcpListener;

    #[test]
    fn a_server_that_hangs_is_given_up_and_the_step_is_named() {
        for banner in ["", "SSH-2.0-nothing\r\n"] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                std::io::Write::write_all(&mut stream, banner.as_bytes()).unwrap();
                // Until the other side has gone.
                std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or(0)
            });
            let proof = SshCredential::Agent { socket: None };
            let login = SshLogin {
                username: None,
                proof,
                known_hosts: Some(String::new()),
            };
            let target = Target {
                host: "127.0.0.1".into(),
                port,
                user: "git".into(),
                login,
                proxy: None,
                addresses: Arc::default(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let limit = Duration::from_millis(500);
            let made = runtime.block_on(connect_within(
                limit,
                &target,
                "ssh://h/r",
                Duration::from_secs(20),
                true,
            ));
            let error = made.err().unwrap();
            assert_eq!(
                (error.kind, error.hint),
                (Kind::Network, Some(Hint::Unreachable))
            );
            assert!(error.message.contains("the key exchange"), "{error}");
            // The task that is left of the connection ends, too, and the socket closes.
            let ended = async { tokio::task::spawn_blocking(|| server.join()).await };
            runtime.block_on(ended).unwrap().unwrap();
        }
    }
}
