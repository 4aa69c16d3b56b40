use super::*;

fn parse(text: &str) -> Proxy {
    Proxy::parse(text).unwrap()
}

#[test]
fn kinds_ports_and_credentials() {
    assert_eq!(parse("http://p:3128").to_string(), "http://p:3128");
    assert_eq!(parse("http://p").port, 80);
    assert_eq!(parse("https://p").port, 443);
    assert_eq!(parse("https://p:80").port, 80);
    assert_eq!(parse("SOCKS5://p").port, 1080);
    let proxy = parse("socks5h://ann:s%40same@[::1]:9/");
    assert_eq!(
        (proxy.scheme, proxy.host.as_str(), proxy.port),
        (ProxyScheme::Socks5h, "[::1]", 9)
    );
    assert_eq!(proxy.login, Some(("ann".into(), "s@same".into())));
    assert!(!format!("{proxy} {proxy:?}").contains("same"));
    assert_eq!(
        parse("http://ann:sesame@p").header().unwrap(),
        "Basic YW5uOnNlc2FtZQ=="
    );
}

#[test]
fn what_is_no_proxy_is_refused_and_not_shown() {
    for text in [
        "p:3128",
        "ftp://p",
        "http://ann:ses/ame@p",
        "http://",
        "http://p/sesame",
        "http://ann:ses#ame@p",
    ] {
        let error = Proxy::parse(text).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(!error.message.contains("ame"), "{error}");
    }
}

#[test]
fn hosts_that_go_without() {
    let route = ProxySettings::new(Some("http://p"), Some("example.com, 10.0.0.0/8,::1,.svc"))
        .unwrap()
        .unwrap();
    for host in [
        "example.com",
        "a.example.com",
        "10.1.2.3",
        "[::1]",
        "::1",
        "x.svc",
    ] {
        assert!(route.to(host).is_none(), "{host}");
    }
    for host in ["example.org", "11.1.2.3", "notexample.com"] {
        assert!(route.to(host).is_some(), "{host}");
    }
    assert!(
        ProxySettings::new(Some("http://p"), Some("*"))
            .unwrap()
            .unwrap()
            .to("127.0.0.1")
            .is_none()
    );
    assert!(
        ProxySettings::new(Some("http://p"), None)
            .unwrap()
            .unwrap()
            .to("h")
            .is_some()
    );
    assert!(ProxySettings::new(Some(""), None).unwrap().is_none());
}
