use super::*;
use crate::net::url::{Location, RemoteUrl};

fn http(text: &str) -> HttpUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Http(http)) => http,
        other => panic!("{other:?}"),
    }
}

fn basic(username: &str, password: &str) -> Auth {
    Auth::Basic {
        username: username.into(),
        password: password.into(),
    }
}

#[test]
fn what_the_request_gives_stands_above_the_url() {
    let url = http("https://a:b@h/r");
    let bearer = Auth::Bearer { token: "t".into() };
    assert_eq!(effective(Some(bearer.clone()), &url), Some(bearer));
    assert_eq!(effective(None, &url), Some(basic("a", "b")));
    assert_eq!(effective(None, &http("https://h/r")), None);
}

#[test]
fn plain_http_gets_no_credentials_unless_told_to() {
    let url = http("http://ann:sesame@h/r?k=sesame");
    let error = refuse_plaintext(url.auth(), &url, false).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid);
    assert!(error.message.contains("allow_insecure: true") && error.message.contains("https://"));
    assert!(!format!("{error:?}").contains("sesame") && !format!("{error:?}").contains("ann"));
    assert!(refuse_plaintext(url.auth(), &url, true).is_ok());
    assert!(refuse_plaintext(None, &url, false).is_ok());
    let tls = http("https://ann:sesame@h/r");
    assert!(refuse_plaintext(tls.auth(), &tls, false).is_ok());
}
