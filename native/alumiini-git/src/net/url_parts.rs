//! The parts of a URL, as they are used: callers decide by them before anything is connected to.

use std::net::Ipv6Addr;

use crate::net::redacted::HIDDEN;
use crate::net::url::{Location, NetUrl, RemoteUrl};

/// A URL as it is used, without what could be a secret.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) scheme: &'static str,
    /// A name, or an address without brackets. None for a path of this machine.
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    /// [`HIDDEN`] where there may be a password in it.
    pub(crate) path: Vec<u8>,
    pub(crate) shown: Vec<u8>,
    /// Whether more is used than is shown: a query, for one.
    pub(crate) hidden: bool,
}

impl RemoteUrl {
    /// The parts that a connection would be made with. Asks nobody and reads nothing.
    pub(crate) fn parts(&self) -> Parts {
        let shown = self.redacted();
        let may_show = |path: &str| match shown.contains(HIDDEN) {
            true => HIDDEN.into(),
            false => path.as_bytes().to_vec(),
        };
        match &self.location {
            Location::Network(url) => {
                let (scheme, path, hidden) = match url {
                    NetUrl::Http(http) => {
                        // Behind the host, what is shown is the path as far as it may be.
                        let path = shown
                            .splitn(4, '/')
                            .nth(3)
                            .map_or(String::new(), |path| format!("/{path}"));
                        let scheme = if http.is_plaintext() { "http" } else { "https" };
                        (scheme, path, http.as_url().as_str() != shown)
                    }
                    NetUrl::Ssh(ssh) => ("ssh", ssh.path.clone(), ssh.spelled() != shown),
                };
                Parts {
                    scheme,
                    host: Some(bare(url.host())),
                    port: Some(url.port()),
                    path: may_show(&path),
                    shown: shown.clone().into_bytes(),
                    hidden,
                }
            }
            Location::Local(path) => {
                let bytes = path.as_os_str().as_encoded_bytes();
                let hidden = shown == HIDDEN;
                let path = if hidden { HIDDEN.as_bytes() } else { bytes }.to_vec();
                Parts {
                    scheme: "file",
                    host: None,
                    port: None,
                    shown: path.clone(),
                    path,
                    hidden,
                }
            }
        }
    }
}

/// Without brackets, and in the one form that an address of IPv6 has.
fn bare(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<Ipv6Addr>()
        .map_or_else(|_| host.to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(url: &str) -> (String, Option<String>, Option<u16>, String, String, bool) {
        let parts = RemoteUrl::parse(url.as_bytes()).unwrap().parts();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (path, shown) = (text(parts.path), text(parts.shown));
        (
            parts.scheme.to_owned(),
            parts.host,
            parts.port,
            path,
            shown,
            parts.hidden,
        )
    }

    /// As the client connects, whose own idea of a host is the oracle: `net/tests/addresses.rs` has
    /// it connect.
    #[test]
    fn a_host_and_a_path_are_what_they_come_to() {
        let rows = [
            (
                "https://0x7f000001/r",
                "https",
                "127.0.0.1",
                443,
                "/r",
                "https://127.0.0.1/r",
            ),
            (
                "https://127.1/r",
                "https",
                "127.0.0.1",
                443,
                "/r",
                "https://127.0.0.1/r",
            ),
            (
                "http://2130706433:80/r",
                "http",
                "127.0.0.1",
                80,
                "/r",
                "http://127.0.0.1/r",
            ),
            (
                "https://\u{ff11}\u{ff12}\u{ff17}.1/r",
                "https",
                "127.0.0.1",
                443,
                "/r",
                "https://127.0.0.1/r",
            ),
            (
                "HTTPS://EXAMPLE.com:443/A/../B",
                "https",
                "example.com",
                443,
                "/B",
                "https://example.com/B",
            ),
            (
                "https://ex%61mple.com/%2e%2e/r",
                "https",
                "example.com",
                443,
                "/r",
                "https://example.com/r",
            ),
            (
                "https://b\u{fc}cher.example/r",
                "https",
                "xn--bcher-kva.example",
                443,
                "/r",
                "https://xn--bcher-kva.example/r",
            ),
            (
                "https://ann:pw@h:8443/r",
                "https",
                "h",
                8443,
                "/r",
                "https://h:8443/r",
            ),
            (
                "https://[::FFFF:127.0.0.1]/r",
                "https",
                "::ffff:127.0.0.1",
                443,
                "/r",
                "https://[::ffff:7f00:1]/r",
            ),
            (
                "git@Host:team/r.git",
                "ssh",
                "host",
                22,
                "team/r.git",
                "git@host:team/r.git",
            ),
            (
                "ssh://git@127.1:22/r",
                "ssh",
                "127.0.0.1",
                22,
                "/r",
                "ssh://git@127.0.0.1/r",
            ),
            (
                "git@0x7f000001:r",
                "ssh",
                "127.0.0.1",
                22,
                "r",
                "git@127.0.0.1:r",
            ),
            (
                "ssh://git@[0::1]:2222/r",
                "ssh",
                "::1",
                2222,
                "/r",
                "ssh://git@[0::1]:2222/r",
            ),
        ];
        for (url, scheme, host, port, path, shown) in rows {
            let expected = (
                scheme.into(),
                Some(host.into()),
                Some(port),
                path.into(),
                shown.into(),
                false,
            );
            assert_eq!(parts(url), expected, "{url}");
        }
        let local = |path: &str| ("file".into(), None, None, path.into(), path.into(), false);
        assert_eq!(parts("/srv/r.git"), local("/srv/r.git"));
        assert_eq!(parts("file:///srv/r.git"), local("/srv/r.git"));
    }

    #[test]
    fn what_may_be_secret_is_not_shown_and_that_is_told() {
        for (url, path, shown) in [
            ("https://h/cgi?repo=T0K", "/cgi", "https://h/cgi"),
            ("https://h/r;token=T0K", "/r", "https://h/r"),
            ("https://h/a:T0K@x/r", "[hidden]", "https:[hidden]"),
        ] {
            let found = parts(url);
            assert_eq!(
                (found.3.as_str(), found.4.as_str(), found.5),
                (path, shown, true),
                "{url}"
            );
            assert_eq!(found.1.as_deref(), Some("h"), "{url}");
        }
    }
}
