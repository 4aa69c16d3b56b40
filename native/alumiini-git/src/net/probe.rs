//! The way to a remote, one step at a time, for people who want to know which step fails.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Hint, Key, Kind, Result, panicked};
use crate::net::dial::{CONNECT_TIMEOUT, dial};
use crate::net::git::advertised::Wanted;
use crate::net::git::capabilities::Capabilities;
use crate::net::git::discovery;
use crate::net::git::ls_refs::ls_refs;
use crate::net::resolver::Resolver;
use crate::net::tls::Handshakes;
use crate::net::url::{HttpUrl, NetUrl};
use crate::net::{Endpoint, Net, connection_failure, proxy};
use crate::policy::addresses::Denied;
use crate::task::pool::Pool;
use crate::task::share::Share;

/// A step on the way, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Resolve,
    Connect,
    /// What the proxy does for us.
    Proxy,
    Tls,
    /// Up to and with the check of the host key.
    Ssh,
    /// The first answer to who we are.
    Auth,
    Refs,
}

impl Step {
    /// Its name in replies.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Step::Resolve => "resolve",
            Step::Connect => "connect",
            Step::Proxy => "proxy",
            Step::Tls => "tls",
            Step::Ssh => "ssh",
            Step::Auth => "auth",
            Step::Refs => "refs",
        }
    }
}

/// A walk to `endpoint`. It makes connections of its own, so those that the worker has kept do not
/// hide a failure.
pub(crate) struct Walk {
    endpoint: Endpoint,
    net: Net,
    lists: Arc<Pool>,
    addresses: Vec<SocketAddr>,
    stream: Option<TcpStream>,
}

impl Walk {
    /// Takes no step yet. Memory for the list of refs is taken from `lists`, a pool of bytes.
    pub(crate) fn new(endpoint: Endpoint, lists: Arc<Pool>) -> Walk {
        Walk {
            endpoint,
            net: Net::new(),
            lists,
            addresses: vec![],
            stream: None,
        }
    }

    /// The steps that this endpoint needs.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let proxy = self.endpoint.proxy(&self.endpoint.url);
        let mut steps = vec![Step::Resolve, Step::Connect];
        match &self.endpoint.url {
            NetUrl::Http(url) if url.is_plaintext() => {}
            NetUrl::Http(_) => {
                steps.extend(proxy.map(|_| Step::Proxy));
                steps.push(Step::Tls);
            }
            NetUrl::Ssh(_) => {
                steps.extend(proxy.map(|_| Step::Proxy));
                steps.push(Step::Ssh);
            }
        }
        steps.extend([Step::Auth, Step::Refs]);
        steps
    }

    /// Takes a step, after all those before it. Returns a sentence for people on what it found. The
    /// errors are those that a fetch would have there.
    pub(crate) async fn take(&mut self, step: Step) -> Result<String> {
        match step {
            Step::Resolve => self.resolve().await,
            Step::Connect => self.connect().await,
            Step::Proxy => self.proxy().await,
            Step::Tls => self.tls().await,
            Step::Ssh => self.ssh().await,
            Step::Auth => self.auth().await,
            Step::Refs => self.refs().await,
        }
    }

    /// Whom a connection is made to: the proxy, where there is one.
    fn peer(&self) -> (&str, u16) {
        match self.endpoint.proxy(&self.endpoint.url) {
            Some(proxy) => (&proxy.host, proxy.port),
            None => (self.endpoint.url.host(), self.endpoint.url.port()),
        }
    }

    fn failed(&self, why: &str) -> Error {
        let shown = self.endpoint.url.redacted();
        let way = self
            .endpoint
            .proxy(&self.endpoint.url)
            .map_or(String::new(), |proxy| format!(" through the proxy {proxy}"));
        Error::new(Kind::Network, format!("cannot reach {shown}{way}: {why}"))
            .with(Key::Url, shown)
            .hinted(Hint::Unreachable)
    }

    async fn resolve(&mut self) -> Result<String> {
        let (host, port) = self.peer();
        let (host, port) = (host.trim_matches(['[', ']']).to_owned(), port);
        let mut resolver = Resolver::new(self.endpoint.addresses.clone());
        if self.endpoint.proxy(&self.endpoint.url).is_some() {
            resolver = resolver.but_for(&host);
        }
        let found = tokio::time::timeout(CONNECT_TIMEOUT, resolver.lookup(&host)).await;
        self.addresses = match found {
            Ok(Ok(found)) => found
                .iter()
                .map(|found| (found.ip(), port).into())
                .collect(),
            Ok(Err(error)) => match error.downcast_ref::<Denied>() {
                Some(denied) => {
                    return Err(connection_failure::denied(
                        denied,
                        &self.endpoint.url.redacted(),
                    ));
                }
                None => vec![],
            },
            Err(_) => vec![],
        };
        if self.addresses.is_empty() {
            return Err(self.failed(&format!(
                "the host name {host} does not resolve; check the URL and the DNS"
            )));
        }
        let mut shown: Vec<String> = self
            .addresses
            .iter()
            .map(|address| address.ip().to_string())
            .collect();
        shown.dedup();
        if shown == [host.as_str()] {
            return Ok(format!("{host} is an address already"));
        }
        Ok(format!("{host} is {}", shown.join(", ")))
    }

    async fn connect(&mut self) -> Result<String> {
        let mut last = String::from("no address took the connection");
        for address in self.addresses.clone() {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    self.stream = Some(stream);
                    return Ok(format!("{address} took the connection"));
                }
                Ok(Err(error)) => last = format!("{address}: {error}"),
                Err(_) => last = format!("{address} did not take the connection in time"),
            }
        }
        Err(self.failed(&format!("{last}; check host, port and firewalls")))
    }

    async fn proxy(&mut self) -> Result<String> {
        let url = &self.endpoint.url;
        let proxy = self.endpoint.proxy(url);
        if proxy.is_some_and(|proxy| proxy.scheme == proxy::ProxyScheme::Https) {
            // What carries HTTP through it is the HTTP client's own.
            self.stream = None;
            return Ok("a proxy over TLS, which the next steps tell of".to_owned());
        }
        let stream = dial(
            (url.host(), url.port()),
            proxy,
            &self.endpoint.addresses,
            &url.redacted(),
        )
        .await?;
        self.stream = Some(stream);
        let name = proxy.map_or(String::new(), |proxy| proxy.to_string());
        Ok(format!("{name} made the connection"))
    }

    async fn tls(&mut self) -> Result<String> {
        let Some(stream) = self.stream.take() else {
            return Ok("made with the next step".to_owned());
        };
        let shown = self.endpoint.url.redacted();
        let name =
            ServerName::try_from(self.endpoint.url.host().trim_matches(['[', ']']).to_owned())
                .map_err(|_| self.failed("its host is no name that a certificate can have"))?;
        let tls = self.endpoint.tls.clone();
        let config = tokio::task::spawn_blocking(move || {
            tls.config(&[b"h2", b"http/1.1"], Handshakes::Direct)
        })
        .await
        .map_err(|_| panicked())??;
        let made = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, made).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(connection_failure::tls(&error, &shown)),
            Err(_) => return Err(self.failed("the TLS handshake did not end in time")),
        };
        let (_, connection) = stream.get_ref();
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
            _ => "TLS",
        };
        let speaks = match connection.alpn_protocol() {
            Some(b"h2") => "HTTP/2",
            _ => "HTTP/1.1",
        };
        Ok(format!("{version}, {speaks}, and the certificate is good"))
    }

    async fn ssh(&mut self) -> Result<String> {
        self.stream = None;
        let NetUrl::Ssh(url) = &self.endpoint.url else {
            return Err(panicked());
        };
        let greeting = self.net.ssh.greet(url, &self.endpoint).await?;
        let by = if greeting.certificate {
            ", by its certificate"
        } else {
            ""
        };
        Ok(format!(
            "{}, host key {} {} is known{by}",
            greeting.version, greeting.key_type, greeting.fingerprint
        ))
    }

    async fn auth(&mut self) -> Result<String> {
        self.stream = None;
        let (server, _) =
            discovery::discover(&self.net, &self.endpoint, Wanted::named(b"\0")).await?;
        let version = match server.capabilities {
            Capabilities::V2(_) => 2,
            Capabilities::V0(_) => 0,
        };
        let led = match (&self.endpoint.url, &server.base) {
            (NetUrl::Http(asked), NetUrl::Http(base)) if !same(asked, base) => {
                format!(", redirected to {base}")
            }
            _ => String::new(),
        };
        let who = match &self.endpoint.auth {
            None => "without credentials",
            Some(_) => "the credentials were accepted",
        };
        let part = match server.capabilities.can_filter() {
            true => "sends some paths only where `paths` asks for them",
            false => "sends all files, also where `paths` asks for some",
        };
        Ok(format!("{who}; Git protocol v{version}{led}; {part}"))
    }

    async fn refs(&mut self) -> Result<String> {
        let prefixes = [b"HEAD".to_vec(), b"refs/heads/".to_vec()];
        let share = Share::of(&self.lists);
        let refs = ls_refs(&self.net, &self.endpoint, Wanted::every(&prefixes, &share)).await?;
        let branches = refs
            .iter()
            .filter(|found| found.name.starts_with(b"refs/heads/"))
            .count();
        let head = refs.iter().find(|found| found.name == b"HEAD");
        let head = match head {
            None => "no HEAD".to_owned(),
            Some(head) => {
                let target = head.symref_target.as_deref().unwrap_or(b"a commit");
                let target = target.strip_prefix(b"refs/heads/").unwrap_or(target);
                format!(
                    "HEAD is {} at {:.12}",
                    String::from_utf8_lossy(target),
                    head.oid.to_string()
                )
            }
        };
        let noun = if branches == 1 { "branch" } else { "branches" };
        Ok(format!("{branches} {noun}, {head}"))
    }
}

fn same(asked: &HttpUrl, base: &HttpUrl) -> bool {
    asked.identity() == base.identity()
}
