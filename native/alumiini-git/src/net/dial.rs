//! A plain connection to a host and port, through a proxy where one stands between: for SSH, and for those who look step by step.

use std::error::Error as StdError;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::error::{Error, Kind, Result};
use crate::net::failure;
use crate::net::proxy::{Proxy, Speaks};

/// How long a connection may take to be made, the proxy's part included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to `host` (a name, or an address without brackets) and `port`. `shown`: what errors call the remote.
///
/// `network`: no way there. `auth`: the proxy wants credentials, or others. `unsupported`: a proxy over TLS.
pub(super) async fn dial(host: &str, port: u16, proxy: Option<&Proxy>, shown: &str) -> Result<TcpStream> {
    match tokio::time::timeout(CONNECT_TIMEOUT, connect(host, port, proxy)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(failure::dial(error.as_ref(), shown, host, proxy)),
        Err(_) => Err(failure::too_slow(shown, host, proxy)),
    }
}

async fn connect(host: &str, port: u16, proxy: Option<&Proxy>) -> Result<TcpStream, Box<dyn StdError + Send + Sync>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
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
    let stream: TokioIo<TcpStream> = match proxy {
        None => tcp.call(target).await?,
        Some(proxy) => {
            let at = to(&proxy.host, proxy.port)?;
            match proxy.speaks {
                Speaks::Http => {
                    let mut tunnel = Tunnel::new(at, tcp);
                    if let Some(header) = proxy.header() {
                        tunnel = tunnel.with_auth(header);
                    }
                    tunnel.call(target).await?
                }
                Speaks::Socks5 | Speaks::Socks5h => {
                    // Its own way to resolve would block this thread.
                    let target = match proxy.speaks {
                        Speaks::Socks5 => match tokio::net::lookup_host((host, port)).await?.next() {
                            Some(address) => to(&address.ip().to_string(), port)?,
                            None => return Err("the name has no address".into()),
                        },
                        _ => target,
                    };
                    let mut socks = SocksV5::new(at, tcp);
                    if let Some((user, password)) = &proxy.login {
                        socks = socks.with_auth(user.clone(), password.clone());
                    }
                    socks.call(target).await?
                }
                Speaks::Https => {
                    let sentence =
                        "an https:// proxy carries http and https only: give an http:// or socks5:// one for SSH";
                    return Err(Box::new(Error::new(Kind::Unsupported, sentence)));
                }
            }
        }
    };
    Ok(stream.into_inner())
}
