//! A TCP connection to a host and port, through the proxy if there is one: for SSH, and for
//! `probe`.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::error::{Error, Kind, Result};
use crate::net::connection_failure;
use crate::net::proxy::{Proxy, ProxyScheme};
use crate::net::resolver::Resolver;
use crate::policy::addresses::Addresses;

/// How long a connection may take to be made, the proxy's part included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects to `host` (a name, or an address without brackets) and `port`. `shown` is what errors
/// call the remote.
///
/// `network`: no way there. `auth`: the proxy wants credentials, or others. `unsupported`: a proxy
/// over TLS, or an address that is not allowed.
pub(super) async fn dial(
    (host, port): (&str, u16),
    proxy: Option<&Proxy>,
    addresses: &Arc<Addresses>,
    shown: &str,
) -> Result<TcpStream> {
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(host, port, proxy, addresses)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(connection_failure::dial(error.as_ref(), shown, host, proxy)),
        Err(_) => Err(connection_failure::too_slow(shown, host, proxy)),
    }
}

async fn connect(
    host: &str,
    port: u16,
    proxy: Option<&Proxy>,
    addresses: &Arc<Addresses>,
) -> Result<TcpStream, Box<dyn StdError + Send + Sync>> {
    let resolver = Resolver::new(addresses.clone());
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tcp = Sparing(tcp);
    let to = |host: &str, port: u16| -> Result<Uri, http::Error> {
        let host = if host.contains(':') && !host.starts_with('[') {
            format!("[{host}]")
        } else {
            host.to_owned()
        };
        Uri::builder()
            .scheme("http")
            .authority(format!("{host}:{port}"))
            .path_and_query("/")
            .build()
    };
    let target = to(host, port)?;
    let ByteByByte(stream) = match proxy {
        None => {
            addresses.check(host)?;
            let mut direct = HttpConnector::new_with_resolver(resolver);
            direct.enforce_http(false);
            direct.set_nodelay(true);
            ByteByByte(direct.call(target).await?)
        }
        Some(proxy) => {
            addresses.check_behind_proxy(host)?;
            let at = to(&proxy.host, proxy.port)?;
            match proxy.scheme {
                ProxyScheme::Http => {
                    let mut tunnel = Tunnel::new(at, tcp);
                    if let Some(header) = proxy.header() {
                        tunnel = tunnel.with_auth(header);
                    }
                    tunnel.call(target).await?
                }
                ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                    // Its own resolver would block this thread.
                    let target = match proxy.scheme {
                        ProxyScheme::Socks5 => {
                            match resolver.lookup(host).await?.into_iter().next() {
                                Some(address) => to(&address.ip().to_string(), port)?,
                                None => return Err("the name has no address".into()),
                            }
                        }
                        _ => target,
                    };
                    let mut socks = SocksV5::new(at, tcp);
                    if let Some((user, password)) = &proxy.login {
                        socks = socks.with_auth(user.clone(), password.clone());
                    }
                    socks.call(target).await?
                }
                ProxyScheme::Https => {
                    let sentence = "an https:// proxy carries http and https only: give an \
                                    http:// or socks5:// one for SSH";
                    return Err(Box::new(Error::new(Kind::Unsupported, sentence)));
                }
            }
        }
    };
    Ok(stream.into_inner())
}

/// Makes connections on which a proxy's answer is read byte by byte.
#[derive(Clone)]
struct Sparing(HttpConnector);

impl Service<Uri> for Sparing {
    type Response = ByteByByte;
    type Error = <HttpConnector as Service<Uri>>::Error;
    type Future = Pin<Box<dyn Future<Output = Result<ByteByByte, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, at: Uri) -> Self::Future {
        let connecting = self.0.call(at);
        Box::pin(async move { Ok(ByteByByte(connecting.await?)) })
    }
}

/// Reads one byte at a time. The library that speaks to the proxy drops what it reads beyond the
/// proxy's answer. In SSH the server speaks first, so the bytes after that answer are its own.
struct ByteByByte(TokioIo<TcpStream>);

impl Read for ByteByByte {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut byte = [0];
        let mut one = ReadBuf::new(&mut byte);
        ready!(Pin::new(&mut self.0).poll_read(cx, one.unfilled()))?;
        buf.put_slice(one.filled());
        Poll::Ready(Ok(()))
    }
}

impl Write for ByteByByte {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
