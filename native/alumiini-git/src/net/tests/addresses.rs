//! Where connections may be made to, whatever a URL, a name, a redirect or a proxy says of it.
//! Everything here is on loopback.

use std::sync::Arc;

use super::repo::Repo;
use super::server::{Reply, Server, git_answer};
use super::*;
use crate::error::{Error, Kind};
use crate::net::proxy::ProxySettings;
use crate::policy::addresses::Addresses;

fn rules(default: &str, allow: &[&str], deny: &[&str]) -> Arc<Addresses> {
    let bytes = |ranges: &[&str]| -> Vec<Vec<u8>> {
        ranges
            .iter()
            .map(|range| range.as_bytes().to_vec())
            .collect()
    };
    Arc::new(Addresses::new(Some(default), &bytes(allow), &bytes(deny)).unwrap())
}

fn within(addresses: &Arc<Addresses>, endpoint: Endpoint) -> Endpoint {
    let addresses = addresses.clone();
    Endpoint {
        addresses,
        ..endpoint
    }
}

fn git_server(repo: &Repo) -> Server {
    let dir = repo.path();
    Server::start(move |seen| git_answer(&dir, seen, true))
}

fn is_denied(error: &Error, host: &str) {
    assert_eq!(error.kind, Kind::Unsupported, "{error}");
    assert!(
        error.message.contains(":addresses") && error.message.contains(host),
        "{error}"
    );
}

#[test]
fn a_host_is_refused_however_it_is_written_and_nobody_is_asked() {
    let repo = Repo::with_history();
    let server = git_server(&repo);
    let port = server.url("").rsplit(':').next().unwrap().to_owned();
    let net = Net::new();
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "0.0.0.0",
        "[::]",
        "169.254.169.254",
    ] {
        let endpoint = within(
            &rules("public", &[], &[]),
            endpoint(&format!("http://{host}:{port}/r")),
        );
        let error = run(refs(&net, &endpoint, &[])).unwrap_err();
        is_denied(&error, endpoint.url.host().trim_matches(['[', ']']));
        // Where a name leads is not for who chose it.
        assert!(
            host != "localhost" || !error.message.contains("127.0.0.1"),
            "{error}"
        );
    }
    assert_eq!(server.asked(), Vec::<String>::new());

    for host in ["127.0.0.1", "localhost", "127.1"] {
        for addresses in [
            rules("any", &[], &["10.0.0.0/8", "::1"]),
            rules("public", &["127.0.0.0/8"], &[]),
            rules("none", &["127.0.0.1"], &[]),
        ] {
            let endpoint = within(&addresses, endpoint(&format!("http://{host}:{port}/r")));
            assert_eq!(run(refs(&net, &endpoint, &[])).unwrap().len(), 4, "{host}");
        }
    }
    // Neither does what was connected to under one set of rules serve another.
    let asked = server.asked().len();
    let strict = within(&rules("public", &[], &[]), endpoint(&server.url("/r")));
    is_denied(&run(refs(&net, &strict, &[])).unwrap_err(), "127.0.0.1");
    assert_eq!(server.asked().len(), asked);
}

#[test]
fn a_redirect_leads_nowhere_else() {
    let repo = Repo::with_history();
    let inner = git_server(&repo);
    let addresses = rules("any", &[], &["127.0.0.2", "::1"]);
    for host in ["127.0.0.2", "[::ffff:127.0.0.2]"] {
        let to = inner.url("").replace("127.0.0.1", host);
        let outer = Server::start(move |seen| {
            Reply::status(302).header("Location", &format!("{to}{}", seen.target))
        });
        let error = run(refs(
            &Net::new(),
            &within(&addresses, endpoint(&outer.url("/r"))),
            &[],
        ))
        .unwrap_err();
        is_denied(
            &error,
            if host == "127.0.0.2" {
                host
            } else {
                "[::ffff:7f00:2]"
            },
        );
    }
    assert_eq!(inner.asked(), Vec::<String>::new());
    let to = inner.url("");
    let outer = Server::start(move |seen| {
        Reply::status(302).header("Location", &format!("{to}{}", seen.target))
    });
    let found = run(refs(
        &Net::new(),
        &within(&addresses, endpoint(&outer.url("/r"))),
        &[],
    ));
    assert_eq!(found.unwrap().len(), 4);
}

/// The proxy is the operator's choice. What it is asked for is checked as far as that is seen here.
#[test]
fn behind_a_proxy() {
    let repo = Repo::with_history();
    // As a proxy, it is asked for whole URLs.
    let proxy = git_server(&repo);
    let route = ProxySettings::new(Some(&proxy.url("")), None).unwrap();
    let through = |url: &str| {
        let endpoint = within(&rules("public", &[], &[]), endpoint(url));
        let route = route.clone();
        run(refs(&Net::new(), &Endpoint { route, ..endpoint }, &[]))
    };
    assert_eq!(through("http://git.example.com/r").unwrap().len(), 4);
    let asked = proxy.asked().len();
    for host in ["127.0.0.1", "10.0.0.1", "localhost", "a.localhost", "[::1]"] {
        is_denied(
            &through(&format!("http://{host}/r")).unwrap_err(),
            host.trim_matches(['[', ']']),
        );
    }
    assert_eq!(proxy.asked().len(), asked);
    // Where names are resolved here, all of them are checked: this one before the proxy is
    // connected to.
    for host in ["localhost", "127.0.0.1"] {
        let port = proxy.url("").rsplit(':').next().unwrap().to_owned();
        let socks = ProxySettings::new(Some(&format!("socks5://localhost:{port}")), None).unwrap();
        let endpoint = within(
            &rules("public", &[], &[]),
            endpoint(&format!("http://{host}/r")),
        );
        let endpoint = Endpoint {
            route: socks,
            ..endpoint
        };
        is_denied(&run(refs(&Net::new(), &endpoint, &[])).unwrap_err(), host);
    }
    assert_eq!(proxy.asked().len(), asked);
}

#[cfg(unix)]
#[test]
fn over_ssh() {
    use super::ssh::endpoint;
    use super::sshd::Sshd;

    let repo = Repo::with_history();
    let sshd = Sshd::start();
    let net = Net::new();
    let allowed = within(
        &rules("none", &["127.0.0.0/8", "::1"], &[]),
        endpoint(&sshd, &repo),
    );
    let denied = within(&rules("public", &[], &[]), endpoint(&sshd, &repo));
    run(async {
        assert_eq!(refs(&net, &allowed, &[]).await.unwrap().len(), 4);
        // Not on the connection that is there, either.
        is_denied(&refs(&net, &denied, &[]).await.unwrap_err(), "127.0.0.1");
        for host in [
            "localhost",
            "127.1",
            "0x7f000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let url = sshd.url(&repo.path()).replace("127.0.0.1", host);
            let at = super::ssh::at(&url, super::ssh::with_key(&sshd, super::sshd::USER_KEY));
            let error = refs(&net, &within(&rules("public", &[], &[]), at), &[])
                .await
                .unwrap_err();
            is_denied(&error, "address");
        }
    });
}
