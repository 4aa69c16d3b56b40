use super::*;
use crate::error::Detail;
use crate::net::url::{Location, NetUrl, RemoteUrl};

fn url() -> HttpUrl {
    match RemoteUrl::parse(b"https://ann:sesame@h/r?k=sesame")
        .unwrap()
        .location
    {
        Location::Network(NetUrl::Http(http)) => http,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_status_has_a_kind() {
    use Credentials as C;
    for (code, credentials, kind, says) in [
        (401, C::None, Kind::Auth, "none were given"),
        (401, C::Sent, Kind::Auth, "did not accept"),
        (401, C::Withheld, Kind::Auth, "redirects to"),
        (403, C::Sent, Kind::Auth, "permission"),
        (404, C::None, Kind::RepoNotFound, "no repository at"),
        (410, C::Sent, Kind::RepoNotFound, "may not see"),
        (407, C::None, Kind::Auth, "proxy"),
        (429, C::None, Kind::RateLimited, "too often"),
        (408, C::None, Kind::Network, "try again"),
        (413, C::None, Kind::Protocol, "limit"),
        (421, C::None, Kind::Network, "try again"),
        (423, C::None, Kind::Network, "try again"),
        (451, C::None, Kind::RepoNotFound, "legal"),
        (522, C::None, Kind::Network, "try again later"),
        (418, C::None, Kind::Protocol, "check the URL"),
        (302, C::None, Kind::Protocol, "redirects"),
        (204, C::None, Kind::Protocol, "HTTP 204"),
        (500, C::None, Kind::Network, "try again later"),
        (503, C::Sent, Kind::Network, "try again later"),
    ] {
        let error = status(
            StatusCode::from_u16(code).unwrap(),
            &HeaderMap::new(),
            &url(),
            credentials,
            &Said {
                text: "a reason".into(),
                too_often: false,
            },
        );
        assert_eq!(error.kind, kind, "{code}");
        let told = error.message.ends_with("; the server says: a reason");
        assert_eq!(told, ![401, 404, 407, 410].contains(&code), "{error}");
        assert!(error.message.contains(says), "{error}");
        assert!(error.message.contains("https://h/r"), "{error}");
        assert!(!format!("{error:?}").contains("sesame"));
        assert_eq!(error.detail[&Key::Status], code.into());
    }
}

#[test]
fn what_is_asked_too_often_is_known_by_each_of_its_signs() {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let reset = (now + 90).to_string();
    let said = Said {
        text: String::new(),
        too_often: true,
    };
    type Headers<'a> = &'a [(&'static str, &'a str)];
    type Seconds = Option<std::ops::RangeInclusive<u64>>;
    type Case<'a> = (u16, Headers<'a>, &'a Said, Kind, Seconds);
    let cases: [Case<'_>; 9] = [
        (
            403,
            &[("retry-after", "7")],
            &Said::default(),
            Kind::RateLimited,
            Some(7..=7),
        ),
        (
            429,
            &[("retry-after", "7")],
            &Said::default(),
            Kind::RateLimited,
            Some(7..=7),
        ),
        (403, &[], &said, Kind::RateLimited, None),
        (503, &[], &said, Kind::RateLimited, None),
        (
            503,
            &[("retry-after", "7")],
            &Said::default(),
            Kind::Network,
            Some(7..=7),
        ),
        (
            403,
            &[
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", &reset),
            ],
            &Said::default(),
            Kind::RateLimited,
            Some(80..=90),
        ),
        (
            429,
            &[("ratelimit-remaining", "0"), ("ratelimit-reset", "30")],
            &Said::default(),
            Kind::RateLimited,
            Some(30..=30),
        ),
        (
            403,
            &[("x-ratelimit-remaining", "59")],
            &Said::default(),
            Kind::Auth,
            None,
        ),
        (
            404,
            &[("retry-after", "7")],
            &Said::default(),
            Kind::RepoNotFound,
            None,
        ),
    ];
    for (code, headers, said, kind, seconds) in cases {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        let error = status(
            StatusCode::from_u16(code).unwrap(),
            &map,
            &url(),
            Credentials::Sent,
            said,
        );
        assert_eq!(error.kind, kind, "{code} {headers:?}");
        let told = error.detail.get(&Key::RetryAfter).and_then(Detail::as_u64);
        match seconds {
            Some(seconds) => assert!(
                seconds.contains(&told.unwrap()),
                "{code} {headers:?} {told:?}"
            ),
            None => assert_eq!(told, None, "{code} {headers:?}"),
        }
    }
}
