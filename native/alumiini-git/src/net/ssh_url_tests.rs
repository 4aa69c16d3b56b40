use super::*;
use crate::error::Kind;
use crate::net::url::{Location, NetUrl, RemoteUrl};

fn parse(text: &str) -> SshUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Ssh(url)) => url,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_forms_of_git() {
    for (text, user, host, port, path) in [
        ("ssh://git@h/o/r.git", Some("git"), "h", 22, "/o/r.git"),
        ("ssh://H:2222/r", None, "h", 2222, "/r"),
        ("SSH://git@[::1]:2222/r", Some("git"), "::1", 2222, "/r"),
        ("ssh://h/~ann/r", None, "h", 22, "~ann/r"),
        ("ssh://h/a%20b", None, "h", 22, "/a b"),
        ("git+ssh://h/r", None, "h", 22, "/r"),
        ("git@github.com:o/r.git", Some("git"), "github.com", 22, "o/r.git"),
        ("h:/abs", None, "h", 22, "/abs"),
        ("h:~ann/r", None, "h", 22, "~ann/r"),
        ("h:/~ann/r", None, "h", 22, "~ann/r"),
        ("git@[h:2222]:r", Some("git"), "h", 2222, "r"),
        ("git@[::1]:r", Some("git"), "::1", 22, "r"),
        ("[::1]:r", None, "::1", 22, "r"),
    ] {
        let url = parse(text);
        let got = (url.user.as_deref(), url.host.as_str(), url.port, url.path.as_str());
        assert_eq!(got, (user, host, port, path), "{text}");
        assert_eq!(parse(&url.shown()), url, "{text} is shown as {url}");
    }
}

#[test]
fn what_is_no_url_is_refused_and_never_shown() {
    for text in [
        "ssh://git:sesame@h/r",
        "git:sesame@h:r",
        "h:sesame@r",
        "ssh://git@h:sesame/r",
        "ssh://h",
        "ssh://h/",
        "ssh:///r",
        "ssh://-oProxyCommand=x/r",
        "-oProxyCommand=x:r",
        "h:-r",
        "h:",
        "ssh://h:0/r",
        "ssh://h:65536/r",
        "ssh://[::1/r",
        "ssh://@h/r",
    ] {
        let error = RemoteUrl::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid, "{text}: {error}");
        assert!(!error.message.contains("sesame"), "{error}");
    }
}
