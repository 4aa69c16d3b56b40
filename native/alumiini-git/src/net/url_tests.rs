use super::*;

fn http(text: &str) -> HttpUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Http(http)) => http,
        other => panic!("{other:?}"),
    }
}

fn kind(text: &[u8]) -> Kind {
    RemoteUrl::parse(text).unwrap_err().kind
}

#[test]
fn splits_userinfo_off_and_never_shows_it() {
    let url = RemoteUrl::parse(b"HTTPS://us%40er:p%3Ass%2Fw@Example.COM:8443/a/b.git?token=sesame")
        .unwrap();
    let Location::Network(NetUrl::Http(http)) = &url.location else {
        panic!()
    };
    let auth = Auth::Basic {
        username: "us@er".into(),
        password: "p:ss/w".into(),
    };
    assert_eq!(http.auth(), Some(&auth));
    assert_eq!(url.redacted(), "https://example.com:8443/a/b.git");
    for text in [
        format!("{url}"),
        format!("{url:?}"),
        format!("{http} {http:?} {:?}", url.identity()),
    ] {
        for secret in ["us@er", "us%40er", "p:ss", "p%3A", "sesame"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_token_alone_is_a_user_without_password() {
    let auth = http("https://tok@h/r").auth().cloned();
    assert_eq!(
        auth,
        Some(Auth::Basic {
            username: "tok".into(),
            password: String::new()
        })
    );
    assert_eq!(http("https://@h/r").auth(), None);
    assert_eq!(http("https://h/r").auth(), None);
}

#[test]
fn appends_services_as_git_does() {
    for (url, refs, pack) in [
        (
            "https://h/r.git",
            "https://h/r.git/info/refs?service=git-upload-pack",
            "https://h/r.git/git-upload-pack",
        ),
        (
            "https://h/r.git/",
            "https://h/r.git/info/refs?service=git-upload-pack",
            "https://h/r.git/git-upload-pack",
        ),
        (
            "https://h",
            "https://h/info/refs?service=git-upload-pack",
            "https://h/git-upload-pack",
        ),
        (
            "https://h/cgi?repo=r",
            "https://h/cgi?repo=r/info/refs&service=git-upload-pack",
            "https://h/cgi?repo=r/git-upload-pack",
        ),
    ] {
        let url = http(url);
        assert_eq!(url.info_refs().unwrap().as_url().as_str(), refs);
        assert_eq!(url.upload_pack().unwrap().as_url().as_str(), pack);
        let base = url.info_refs().unwrap().strip_info_refs().unwrap();
        assert_eq!(base.upload_pack().unwrap().as_url().as_str(), pack);
    }
    assert_eq!(http("https://h/login").strip_info_refs(), None);
    assert_eq!(http("https://h/r/info/refs").strip_info_refs(), None);
}

#[test]
fn the_identity_ignores_userinfo_and_a_trailing_slash_but_not_the_query() {
    let identity = |text: &str| RemoteUrl::parse(text.as_bytes()).unwrap().identity();
    assert_eq!(identity("https://a:b@h/r"), identity("https://H:443/r/"));
    assert_ne!(identity("https://h/c?r=1"), identity("https://h/c?r=2"));
    assert_ne!(identity("https://h/r"), identity("http://h/r"));
}

#[test]
fn a_password_that_was_not_encoded_never_becomes_a_host() {
    for text in [
        "https://user:12#34@host/r",
        "https://user:12?34@host/r",
        "https://user\\x@host/r",
    ] {
        let error = RemoteUrl::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(
            !error.message.contains("user") && !error.message.contains("34"),
            "{error}"
        );
    }
    // A slash ends the authority: "12" is no password any more, and nothing of it is shown.
    assert_eq!(kind(b"https://user:pa/ss@host/r"), Kind::Invalid);
}

#[test]
fn refuses_what_is_empty_or_holds_control_characters() {
    for text in [
        &b""[..],
        b"https://h/r\n",
        b"https://h/\0r",
        b"/a\rb",
        b"\t/a",
        b"https:///r",
        b"https://",
        b"http://h:99999/r",
    ] {
        assert_eq!(kind(text), Kind::Invalid, "{text:?}");
    }
    assert_eq!(kind(b"https://h/\xff"), Kind::Invalid);
    assert_eq!(kind(b"file:///a%00b"), Kind::Invalid);
}

#[test]
fn names_what_it_does_not_speak() {
    for text in [
        "git://h/r",
        "ftp://u:p@h/r",
        "ext::sh -c x",
        "repo",
        "rsync://h",
    ] {
        let error = RemoteUrl::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{text}");
        assert!(!error.message.contains("u:p"));
    }
}

#[test]
fn local_paths() {
    let local = |text: &[u8]| match RemoteUrl::parse(text).unwrap().location {
        Location::Local(path) => path.as_os_str().as_encoded_bytes().to_vec(),
        other => panic!("{other:?}"),
    };
    for text in [
        &b"/srv/r.git"[..],
        b"./r",
        b"../r",
        b"a/b",
        b".",
        b"./a:b",
        b"/a:b",
        b"/srv/\xff",
    ] {
        assert_eq!(local(text), text);
    }
    assert_eq!(local(b"file:///srv/a%20b"), b"/srv/a b");
    assert_eq!(local(b"FILE://localhost/srv/r"), b"/srv/r");
    assert_eq!(kind(b"file://srv/r"), Kind::Invalid);
    assert_eq!(RemoteUrl::parse(b"/srv/r").unwrap().redacted(), "/srv/r");
}

/// `protocol/shown_urls.txt`, which the library's tests read, too.
#[test]
fn what_is_shown_is_as_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/shown_urls.txt");
    let table = std::fs::read_to_string(path).unwrap();
    let mut rows = 0;
    for line in table
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let columns: Vec<&str> = line.split('\t').collect();
        let text = bytes(columns[0]);
        let expected = columns.get(2).unwrap_or(&columns[1]);
        let seen = redacted(&text);
        assert_eq!(seen, *expected, "{line}");
        assert!(!seen.contains("T0K") && !seen.contains("3N"), "{line}");
        match RemoteUrl::parse(&text) {
            Ok(url) => assert_eq!(
                format!("{url}|{url:?}"),
                format!("{seen}|RemoteUrl({seen})")
            ),
            Err(error) => assert!(!format!("{error:?}").contains("T0K"), "{line}: {error}"),
        }
        rows += 1;
    }
    assert!(rows > 80, "only {rows} rows");
}

/// With `\xNN` for a byte.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    bytes
}
