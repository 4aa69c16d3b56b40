//! One SSH connection: from the TCP connection to a user who is let in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, ChannelOpenHandle, Config, DisconnectReason, Handle, Handler, Msg, Session};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, SshId};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::error::{Error, Hint, Kind, Result};
use crate::net::Endpoint;
use crate::net::addresses::Addresses;
use crate::net::auth::{Login, Proof};
use crate::net::dial::{CONNECT_TIMEOUT, dial};
use crate::net::pkt::sanitised;
use crate::net::proxy::Proxy;
use crate::net::ssh_url::{DEFAULT_PORT, SshUrl};

use super::host_key::{self, Greeting};
use super::known_hosts::Trusted;
use super::wire::{Use, Uses, Wire};
use super::{agent, algorithms, keys};

/// What of a channel is on its way to its reader: the bytes that a server may send before it is told to go on, and the packets
/// that wait in memory (OpenSSH's are of 32 KiB). When those are full, the socket is no longer read.
const WINDOW: u32 = 2 << 20;
const WAITING_PACKETS: usize = 64;
/// How many signs of life a server may leave out. One more, and the connection is given up.
const MAX_UNANSWERED: usize = 3;

/// Whom a connection leads to, and as whom. Connections of equal targets may serve each other's requests.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) login: Login,
    pub(super) proxy: Option<Proxy>,
    pub(super) addresses: Arc<Addresses>,
}

impl Target {
    pub(super) fn new(url: &SshUrl, endpoint: &Endpoint) -> Result<Target> {
        let login = endpoint.login()?;
        let user = login.username.as_ref().or(url.user.as_ref());
        Ok(Target {
            host: url.host.clone(),
            port: url.port,
            user: user.cloned().unwrap_or_else(|| "git".to_owned()),
            login: login.clone(),
            proxy: endpoint.proxy(&endpoint.url).cloned(),
            addresses: endpoint.addresses.clone(),
        })
    }

    /// `git@host`, with the port where it is not 22.
    fn who(&self) -> String {
        match self.port {
            DEFAULT_PORT => format!("{}@{}", self.user, self.host),
            port => format!("{}@{}, port {port}", self.user, self.host),
        }
    }
}

/// A user who is let in. When it is dropped, its socket closes, whatever it is at.
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

    /// It serves a request until that is dropped: what comes then is not bounded here.
    pub(super) fn begin(&self) -> Use {
        self.uses.begin()
    }

    /// Ends it, for all who use it.
    pub(super) fn cut(&self) {
        self.cut.token().cancel();
    }

    /// Opens a channel for a session. Whoever drops this future leaves the server with a channel that nobody closes.
    pub(super) async fn open(&self) -> Result<Channel<Msg>, russh::Error> {
        self.handle.channel_open_session().await
    }
}

/// Why a server did not let a user in.
pub(super) enum Refusal {
    /// Not one of the keys with these fingerprints was taken.
    Keys(Vec<String>),
    /// The connection ended when it was shown the last of these.
    Ended(Vec<String>),
    /// What is needed on this side is not there.
    Ours(Error),
}

/// Connects and, unless `greet_only`, logs in.
///
/// `shown`: what errors call the remote. `keepalive`: the silence after which the server is asked for a sign of life. `network`: no way there, cut, or not done in time (the step is named). `host_key`,
/// `auth`, `invalid` (the private key), `unsupported` (no algorithm in common), `protocol` (not SSH).
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
    let made = tokio::time::timeout(limit, connect_by_steps(target, shown, keepalive, greet_only, &step)).await;
    made.unwrap_or_else(|_| {
        let step = *lock(&step);
        let sentence = format!(
            "cannot reach {shown}: its SSH server did not get through {step} within {} seconds; check that it is one, and not overloaded",
            limit.as_secs()
        );
        Err(Error::new(Kind::Network, sentence)
            .with("url", shown)
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
    // Errors of the passphrase and the like say nothing of the URL.
    let named = |e: Error| e.context(format!("cannot log in to {shown}")).with("url", shown);
    let key = async {
        match &target.login.proof {
            Proof::Key {
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
    let handle = client::connect_stream(config, Wire::new(stream, cut, uses.clone()), checker).await;
    let mut handle = handle.map_err(|failed| match failed {
        Failed::Ours(error) => error,
        Failed::Russh(error) => handshake(&error, shown, &lock(&seen)),
    })?;
    if !greet_only {
        *lock(step) = "the login";
        login(&mut handle, target, key).await.map_err(|refusal| match refusal {
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

/// bcrypt, which guards keys in OpenSSH's form, is slow by design.
async fn decode(private_key: &str, passphrase: Option<&str>) -> Result<PrivateKey> {
    let (private_key, passphrase) = (private_key.to_owned(), passphrase.map(str::to_owned));
    tokio::task::spawn_blocking(move || keys::decode(&private_key, passphrase.as_deref()))
        .await
        .map_err(|_| Error::new(Kind::Internal, "the private key cannot be decoded"))?
}

async fn login(handle: &mut Handle<Checker>, target: &Target, key: Option<PrivateKey>) -> Result<(), Refusal> {
    let rsa_key = key.as_ref().is_none_or(|key| key.algorithm().is_rsa());
    let rsa = if rsa_key {
        match handle.best_supported_rsa_hash().await {
            // A server that says nothing of it takes SHA-256 all the same, if it is of this decade (RFC 8332).
            Ok(None) => Some(HashAlg::Sha256),
            Ok(Some(hash)) => hash,
            Err(_) => return Err(Refusal::Ended(vec![])),
        }
    } else {
        None
    };
    let Some(key) = key else {
        let socket = match &target.login.proof {
            Proof::Agent { socket } => socket.as_deref(),
            Proof::Key { .. } => None,
        };
        return agent::authenticate(handle, socket, &target.user, rsa).await;
    };
    let tried = vec![key.fingerprint(HashAlg::Sha256).to_string()];
    if rsa_key && rsa.is_none() {
        let sentence = "its server takes RSA keys with SHA-1 signatures only, which are not safe: use an ed25519 key";
        return Err(Refusal::Ours(Error::new(Kind::Unsupported, sentence)));
    }
    let key = Arc::new(key);
    // What a server says that it knows is not always what it takes: sshd tells of both hashes where its configuration allows one.
    let hashes: &[Option<HashAlg>] = match rsa {
        Some(HashAlg::Sha512) => &[Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
        Some(_) => &[Some(HashAlg::Sha256), Some(HashAlg::Sha512)],
        None => &[None],
    };
    for hash in hashes {
        let key = PrivateKeyWithHashAlg::new(key.clone(), *hash);
        match handle.authenticate_publickey(&target.user, key).await {
            Ok(AuthResult::Success) => return Ok(()),
            Ok(AuthResult::Failure {
                partial_success: true, ..
            }) => {
                let sentence = "its server takes the key and asks for more than a key, such as a one-time code, which is not supported";
                return Err(Refusal::Ours(Error::new(Kind::Auth, sentence)));
            }
            Ok(AuthResult::Failure { .. }) if !handle.is_closed() => {}
            Ok(_) | Err(_) => return Err(Refusal::Ended(tried)),
        }
    }
    Err(Refusal::Keys(tried))
}

fn refused(target: &Target, shown: &str, tried: &[String]) -> Error {
    let keys = match tried {
        [one] => format!("the key {one}"),
        more => format!("any of the keys {}", more.join(", ")),
    };
    let sentence = format!(
        "{shown}: {} does not accept {keys}: check that its public half is registered there, with access to this repository, and that the user is right",
        target.who()
    );
    Error::new(Kind::Auth, sentence).with("url", shown)
}

fn ended(target: &Target, shown: &str, tried: &[String], seen: &Seen) -> Error {
    match &seen.goodbye {
        Some(goodbye) if !tried.is_empty() => {
            let mut error = refused(target, shown, tried);
            error.message = format!("{}; the server says: {goodbye}", error.message);
            error
        }
        _ => cut(shown, "the login", seen),
    }
}

fn cut(shown: &str, step: &str, seen: &Seen) -> Error {
    let said = seen
        .goodbye
        .as_ref()
        .map_or(String::new(), |goodbye| format!(": {goodbye}"));
    let sentence = format!("the connection to {shown} was ended by its server during {step}{said}; try again later");
    Error::new(Kind::Network, sentence).with("url", shown)
}

fn handshake(error: &russh::Error, shown: &str, seen: &Seen) -> Error {
    use russh::Error as E;
    let (kind, sentence) = match error {
        E::IO(_) | E::HUP | E::Disconnect | E::SendError | E::RecvError => return cut(shown, "the key exchange", seen),
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
                    "{shown} and this worker have no {what} in common: its server offers {theirs}; update it, or let it offer what current OpenSSH offers"
                ),
            )
        }
        E::WrongServerSig => (
            Kind::HostKey,
            format!("{shown} shows a host key that it cannot sign with: this is not the server that it says it is"),
        ),
        other => (
            Kind::Protocol,
            format!(
                "the SSH key exchange with {shown} failed: {}; check the URL's port",
                sanitised(other.to_string().as_bytes())
            ),
        ),
    };
    Error::new(kind, sentence).with("url", shown)
}

fn config(trusted: &Trusted, keepalive: Duration) -> Config {
    Config {
        client_id: SshId::Standard(concat!("SSH-2.0-alumiini-git_", env!("CARGO_PKG_VERSION")).into()),
        window_size: WINDOW,
        channel_buffer_size: WAITING_PACKETS,
        keepalive_interval: Some(keepalive),
        keepalive_max: MAX_UNANSWERED,
        preferred: algorithms::preferred(trusted),
        ..Config::default()
    }
}

/// What a connection learns of its server on the way.
#[derive(Default)]
struct Seen {
    greeting: Greeting,
    /// What the server said when it ended the connection.
    goodbye: Option<String>,
}

/// A panic while it is held leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers what russh asks about the server.
pub(super) struct Checker {
    target: Target,
    shown: String,
    trusted: Trusted,
    seen: Arc<Mutex<Seen>>,
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

/// Of what a server may open on a client, nothing is wanted: a handle that is dropped says no.
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
        let greeting =
            host_key::check(key, &self.trusted, at, &self.target.login, &self.shown).map_err(Failed::Ours)?;
        lock(&self.seen).greeting = greeting;
        Ok(true)
    }

    async fn kex_done(&mut self, _: Option<&[u8]>, _: &russh::Names, session: &mut Session) -> Result<(), Failed> {
        lock(&self.seen).greeting.version = sanitised(session.remote_sshid());
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Failed>) -> Result<(), Failed> {
        if let DisconnectReason::ReceivedDisconnect(goodbye) = reason {
            lock(&self.seen).goodbye = Some(sanitised(goodbye.message.as_bytes()));
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

#[cfg(test)]
mod tests {
    use super::*;
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
            let proof = Proof::Agent { socket: None };
            let login = Login {
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
            assert_eq!((error.kind, error.hint), (Kind::Network, Some(Hint::Unreachable)));
            assert!(error.message.contains("the key exchange"), "{error}");
            // What is left of it ends too, and with it the socket.
            let ended = async { tokio::task::spawn_blocking(|| server.join()).await };
            runtime.block_on(ended).unwrap().unwrap();
        }
    }
}
