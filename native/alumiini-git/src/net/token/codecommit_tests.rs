use super::*;
use crate::net::url::{Location, NetUrl, RemoteUrl};

fn url(text: &str) -> HttpUrl {
    match RemoteUrl::parse(text.as_bytes()).unwrap().location {
        Location::Network(NetUrl::Http(http)) => http,
        other => panic!("{other:?}"),
    }
}

fn keys(session_token: Option<&str>) -> AwsKeys {
    AwsKeys {
        access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
        session_token: session_token.map(str::to_owned),
    }
}

/// Compared with what Python's hmac and hashlib make of the same texts.
#[test]
fn a_login_is_signed_as_aws_says() {
    let remote = url("https://git-codecommit.us-east-1.amazonaws.com/v1/repos/shop");
    // 2016-07-11T22:14:10Z
    let time = 1_468_275_250;
    let signature = "2fefa3472692e4187a1988d34c337f8f3f3120826f18c2bbd907ffda8cfa2433";
    let expected = |username: &str| Auth::Basic {
        username: username.into(),
        password: format!("20160711T221410Z{signature}"),
    };
    assert!(login(&keys(None), "us-east-1", &remote, time) == expected("AKIAIOSFODNN7EXAMPLE"));
    let session = login(&keys(Some("a/b=")), "us-east-1", &remote, time);
    assert!(session == expected("AKIAIOSFODNN7EXAMPLE%a/b="));
    let slash = url("https://git-codecommit.us-east-1.amazonaws.com/v1/repos/shop/");
    assert!(login(&keys(None), "us-east-1", &slash, time) == expected("AKIAIOSFODNN7EXAMPLE"));
    assert!(login(&keys(None), "us-east-2", &remote, time) != expected("AKIAIOSFODNN7EXAMPLE"));
}

#[test]
fn a_region_is_given_or_in_the_name_of_the_host() {
    let of = |given: Option<&str>, text: &str| {
        let source = CodeCommit {
            region: given.map(str::to_owned),
            proof: AwsProof::Keys(keys(None)),
        };
        region(&source, &url(text))
    };
    for (host, expected) in [
        ("git-codecommit.eu-west-1.amazonaws.com", "eu-west-1"),
        ("git-codecommit-fips.us-east-2.amazonaws.com", "us-east-2"),
        ("git-codecommit.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    ] {
        let found = of(None, &format!("https://{host}/v1/repos/r"));
        assert_eq!(found.unwrap(), expected);
    }
    assert_eq!(of(Some("eu-west-1"), "https://h/r").unwrap(), "eu-west-1");
    for host in [
        "h",
        "codecommit.example.com",
        "git-codecommit.eu-west-1.amazonaws.com.example.com",
        "vpce-1.git-codecommit.eu-west-1.vpce.amazonaws.com",
    ] {
        let error = of(None, &format!("https://{host}/v1/repos/r")).unwrap_err();
        assert_eq!(error.kind, Kind::Invalid);
        assert!(error.message.contains("option region"), "{error}");
    }
    assert_eq!(
        token_service("eu-west-1"),
        "https://sts.eu-west-1.amazonaws.com"
    );
    assert_eq!(
        token_service("cn-north-1"),
        "https://sts.cn-north-1.amazonaws.com.cn"
    );
}

#[test]
fn elements_are_found_in_an_answer() {
    let xml = "<a xmlns=\"x\"><b>\n <c> t&amp;lt;&lt; </c></b><d></d><e><f/></e></a>";
    assert_eq!(element(xml, "c").as_deref(), Some("t&lt;<"));
    for name in ["b", "d", "e", "f", "g"] {
        assert_eq!(element(xml, name), None, "{name}");
    }
}
