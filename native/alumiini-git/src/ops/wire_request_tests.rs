//! What requests are read as, and what is refused.

use std::sync::Arc;

use git2::Oid;
use rmpv::Value;

use super::wire_tests::{decode, map, pack, refused};
use super::*;
use crate::error::Kind;
use crate::net::auth::{Auth, SshCredential, SshLogin};
use crate::net::tls::Tls;
use crate::net::token::source::{
    AwsKeys, AwsProof, Azure, AzureProof, CodeCommit, GithubApp, Google, Installation, TokenSource,
};
use crate::reference::{Reference, Tip};
use crate::spec::RemoteSpec;

#[test]
fn wrong_requests_say_what_is_wrong_and_keep_their_id() {
    let ask = |pairs: &[(&str, Value)]| refused(&map(&[&[("id", 3.into())], pairs].concat()));
    let cases = [
        (ask(&[]), "field `op` is missing"),
        (
            ask(&[("op", 1.into())]),
            "field `op` must be a string, got an integer out of range",
        ),
        (ask(&[("op", "push".into())]), "unknown op `push`"),
        (ask(&[("op", "files".into())]), "field `path` is missing"),
        (
            ask(&[("op", "files".into()), ("path", "".into())]),
            "`path` is empty",
        ),
        (
            ask(&[
                ("op", "head".into()),
                ("path", "/a".into()),
                ("timeout", 0.into()),
            ]),
            "`timeout`",
        ),
        (
            ask(&[
                ("op", "read".into()),
                ("path", "/a".into()),
                ("file", "b".into()),
                ("raw", 1.into()),
            ]),
            "field `raw` must be a boolean",
        ),
        (
            ask(&[
                ("op", "sync".into()),
                ("path", "/a".into()),
                ("branch", "b".into()),
                ("url", "u".into()),
                ("depth", Value::from(-1)),
            ]),
            "field `depth` must be a non-negative integer",
        ),
    ];
    for ((id, message), expected) in cases {
        assert_eq!(id, Some(3), "{message}");
        assert!(
            message.contains(expected),
            "{message:?} should contain {expected:?}"
        );
    }
    assert_eq!(
        refused(&map(&[("op", "head".into()), ("id", 0.into())])).0,
        None
    );
    assert_eq!(refused(&Value::Array(vec![])).0, None);
    assert!(decode(b"\xc1").is_err() && decode(b"").is_err());
    let (id, error) = decode(
        &[
            pack(&map(&[
                ("op", "head".into()),
                ("path", "/".into()),
                ("id", 9.into()),
            ])),
            vec![0],
        ]
        .concat(),
    )
    .unwrap_err();
    assert_eq!((id, error.kind), (Some(9), Kind::Invalid));
}

#[test]
fn a_ref_is_a_branch_a_tag_a_commit_a_full_name_or_the_default() {
    let sync = |reference: Value| {
        let base = [
            ("op", "sync".into()),
            ("url", "https://h/r".into()),
            ("path", "/a".into()),
            ("ref", reference),
        ];
        match decode(&pack(&map(&base))) {
            Ok(Request {
                op: Op::Sync(sync), ..
            }) => Ok(sync.spec.reference),
            Ok(other) => panic!("{other:?}"),
            Err((_, error)) => Err(error.message),
        }
    };
    let (hex, id) = ("ab".repeat(20), Oid::from_str(&"ab".repeat(20)).unwrap());
    let tag = Oid::from_str(&"cd".repeat(20)).unwrap();
    let found = |id, commit| Tip {
        id,
        commit,
        symref_target: None,
    };
    for (fields, expected) in [
        (vec![("branch", "main".into())], Reference::branch("main")),
        (vec![("tag", "v1".into())], Reference::Tag(b"v1".to_vec())),
        (vec![("commit", hex.as_str().into())], Reference::Commit(id)),
        (
            vec![("name", "refs/pull/7/head".into())],
            Reference::Full(b"refs/pull/7/head".to_vec()),
        ),
        (vec![("default", true.into())], Reference::Default),
        (
            vec![("tag", "v1".into()), ("commit", hex.as_str().into())],
            Reference::TagAt(b"v1".to_vec(), found(id, id)),
        ),
        (
            vec![
                ("tag", "v1".into()),
                ("commit", hex.as_str().into()),
                ("id", "cd".repeat(20).as_str().into()),
            ],
            Reference::TagAt(b"v1".to_vec(), found(tag, id)),
        ),
    ] {
        assert_eq!(sync(map(&fields)), Ok(expected));
    }
    for (fields, expected) in [
        (vec![], "a map of"),
        (vec![("default", false.into())], "a map of"),
        (vec![("commit", "abcdef1".into())], "full id of a commit"),
        (
            vec![("commit", "x".repeat(40).as_str().into())],
            "full id of a commit",
        ),
    ] {
        let error = sync(map(&fields)).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn credentials_of_a_later_version_are_unsupported_rather_than_ignored() {
    assert_eq!(
        remote(&[("auth", map(&[("type", "kerberos".into())]))]).unwrap_err(),
        Kind::Unsupported
    );
}

/// The remote of an `ls_remote` with `fields`.
fn remote(fields: &[(&str, Value)]) -> Result<RemoteSpec, Kind> {
    let mut all = vec![("op", "ls_remote".into()), ("url", "ssh://h/r".into())];
    all.extend_from_slice(fields);
    match decode(&pack(&map(&all))) {
        Ok(Request {
            op: Op::LsRemote(ls_remote),
            ..
        }) => Ok(ls_remote.remote),
        Ok(other) => panic!("{other:?}"),
        Err((_, error)) => Err(error.kind),
    }
}

#[test]
fn credentials_for_ssh() {
    let key = [
        ("type", "ssh_key".into()),
        ("private_key", "k".into()),
        ("passphrase", "p".into()),
        ("username", "ann".into()),
        ("known_hosts", "h ssh-ed25519 A".into()),
    ];
    let login = |proof| {
        Some(Auth::Ssh(SshLogin {
            username: Some("ann".into()),
            proof,
            known_hosts: Some("h ssh-ed25519 A".into()),
        }))
    };
    let proof = SshCredential::Key {
        private_key: "k".into(),
        passphrase: Some("p".into()),
    };
    assert_eq!(remote(&[("auth", map(&key))]).unwrap().auth, login(proof));
    assert_eq!(
        remote(&[("auth", map(&[("type", "ssh_key".into())]))]).unwrap_err(),
        Kind::Invalid
    );
    let agent = |socket: Option<&str>| {
        let mut fields = vec![("type", Value::from("ssh_agent"))];
        fields.extend(socket.map(|socket| ("socket", socket.into())));
        match remote(&[("auth", map(&fields))]).unwrap().auth {
            Some(Auth::Ssh(SshLogin {
                proof: SshCredential::Agent { socket },
                username: None,
                known_hosts: None,
            })) => socket,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(agent(Some("/run/agent")), Some("/run/agent".into()));
    assert_eq!(agent(None), None);
}

#[test]
fn credentials_of_providers() {
    let auth = |fields: &[(&str, Value)]| remote(&[("auth", map(fields))]).map(|spec| spec.auth);
    let text = |fields: &[(&'static str, &'static str)]| -> Vec<(&'static str, Value)> {
        fields
            .iter()
            .map(|(name, value)| (*name, Value::from(*value)))
            .collect()
    };
    let source = |source| Ok(Some(Auth::Token(Arc::new(source))));
    let mut app = text(&[
        ("type", "github_app"),
        ("app_id", "1"),
        ("private_key", "k"),
        ("api_url", "https://h"),
    ]);
    assert_eq!(auth(&app), Err(Kind::Invalid));
    app.push(("installation_id", 7.into()));
    let expected = GithubApp {
        app_id: "1".into(),
        private_key: "k".into(),
        installation: Installation::Id(7),
        api_url: Some("https://h".into()),
    };
    assert_eq!(auth(&app), source(TokenSource::GithubApp(expected)));
    app.push(("owner", "acme".into()));
    assert_eq!(auth(&app), Err(Kind::Invalid));

    let mut azure = text(&[("type", "azure"), ("tenant_id", "t"), ("client_id", "c")]);
    assert_eq!(auth(&azure), Err(Kind::Invalid));
    azure.push(("token_file", "/t".into()));
    let expected = Azure {
        tenant_id: "t".into(),
        client_id: "c".into(),
        proof: AzureProof::TokenFile("/t".into()),
        endpoint: None,
    };
    assert_eq!(auth(&azure), source(TokenSource::Azure(expected)));
    azure.push(("client_secret", "s".into()));
    assert_eq!(auth(&azure), Err(Kind::Invalid));

    let mut keys = text(&[("type", "codecommit"), ("access_key_id", "a")]);
    assert_eq!(auth(&keys), Err(Kind::Invalid));
    keys.push(("secret_access_key", "s".into()));
    let expected = CodeCommit {
        region: None,
        proof: AwsProof::Keys(AwsKeys {
            access_key_id: "a".into(),
            secret_access_key: "s".into(),
            session_token: None,
        }),
    };
    assert_eq!(auth(&keys), source(TokenSource::CodeCommit(expected)));
    keys.push(("role_arn", "r".into()));
    assert_eq!(auth(&keys), Err(Kind::Invalid));

    let mut google = text(&[("type", "google"), ("service_account", "s")]);
    let expected = Google::Metadata {
        service_account: Some("s".into()),
        endpoint: None,
    };
    assert_eq!(auth(&google), source(TokenSource::Google(expected)));
    google.push(("audience", "a".into()));
    assert_eq!(auth(&google), Err(Kind::Invalid));
    google.push(("token_file", "/t".into()));
    let expected = Google::Federation {
        audience: "a".into(),
        token_file: "/t".into(),
        service_account: Some("s".into()),
        endpoint: None,
        impersonation_endpoint: None,
    };
    assert_eq!(auth(&google), source(TokenSource::Google(expected)));
}

#[test]
fn tls_and_proxies() {
    let given = remote(&[
        (
            "tls",
            map(&[
                ("ca", "A".into()),
                ("cert", "C".into()),
                ("key", "K".into()),
            ]),
        ),
        ("proxy", "http://p".into()),
        ("no_proxy", "a,b".into()),
    ])
    .unwrap();
    let tls = Tls {
        ca: Some("A".into()),
        client: Some(("C".into(), "K".into())),
    };
    assert_eq!(given.tls, tls);
    assert_eq!(
        (given.proxy.as_deref(), given.no_proxy.as_deref()),
        (Some("http://p"), Some("a,b"))
    );
    let without = remote(&[]).unwrap();
    assert_eq!((without.tls, without.proxy), (Tls::default(), None));
    assert_eq!(
        remote(&[("tls", map(&[("cert", "C".into())]))]).unwrap_err(),
        Kind::Invalid
    );
    assert_eq!(remote(&[("tls", "PEM".into())]).unwrap_err(), Kind::Invalid);
}

#[test]
fn refs_by_name_and_by_prefix() {
    let name = |value: Value| {
        let base = [
            ("op", "ls_remote".into()),
            ("url", "https://h/r".into()),
            ("ref", value),
        ];
        match decode(&pack(&map(&base))).map(|request| request.op) {
            Ok(Op::LsRemote(ls_remote)) => Some(ls_remote.reference),
            _ => None,
        }
    };
    assert_eq!(name(Value::Nil), Some(Reference::Full("HEAD".into())));
    assert_eq!(
        name("refs/pull/7/head".into()),
        Some(Reference::Full("refs/pull/7/head".into()))
    );
    assert_eq!(name("main".into()), Some(Reference::branch("main")));
    assert_eq!(
        name(map(&[("tag", "v1".into())])),
        Some(Reference::Tag("v1".into()))
    );
    assert_eq!(
        name(map(&[("name", "HEAD".into())])),
        Some(Reference::Full("HEAD".into()))
    );
    assert_eq!(name(map(&[("commit", "abc".into())])), None);

    let prefixes = |value: Value| {
        let base = [
            ("op", "refs".into()),
            ("url", "https://h/r".into()),
            ("prefixes", value),
        ];
        match decode(&pack(&map(&base))).map(|request| request.op) {
            Ok(Op::Refs(refs)) => Some(refs.prefixes),
            _ => None,
        }
    };
    assert_eq!(prefixes(Value::Nil), Some(vec![]));
    let two = Value::Array(vec!["refs/heads/".into(), "refs/tags/v".into()]);
    assert_eq!(
        prefixes(two),
        Some(vec!["refs/heads/".into(), "refs/tags/v".into()])
    );
    assert_eq!(prefixes("refs/".into()), None);
    assert_eq!(prefixes(Value::Array(vec![7.into()])), None);
    let many =
        |count: usize| prefixes(Value::Array(vec!["refs/".into(); count])).map(|all| all.len());
    assert_eq!((many(256), many(257)), (Some(256), None));
}

#[test]
fn limits_are_positive() {
    let limits = |key: &str, value: Value| {
        let base = [("op", "hello".into()), ("protocol", 1.into()), (key, value)];
        match decode(&pack(&map(&base))).map(|request| request.op) {
            Ok(Op::Hello(hello)) => Some((hello.limits.all, hello.limits.per_host)),
            _ => None,
        }
    };
    assert_eq!(limits("max_requests", 9.into()), Some((Some(9), None)));
    assert_eq!(
        limits("max_requests_per_host", 3.into()),
        Some((None, Some(3)))
    );
    assert_eq!(limits("else", 3.into()), Some((None, None)));
    assert_eq!(limits("max_requests", 0.into()), None);
}

#[test]
fn a_rate_is_a_number_within_bounds() {
    let rate = |value: Value| {
        let name = "max_requests_per_second_per_host";
        let base = [
            ("op", "hello".into()),
            ("protocol", 1.into()),
            (name, value),
        ];
        match decode(&pack(&map(&base))).map(|request| request.op) {
            Ok(Op::Hello(hello)) => Ok(hello.limits.per_second),
            Err((_, error)) => Err((error.kind, error.message)),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(rate(Value::Nil), Ok(None));
    for (value, number) in [
        (Value::from(2.5), 2.5),
        (0.001.into(), 0.001),
        (1_000_000.into(), 1e6),
    ] {
        assert_eq!(rate(value), Ok(Some(number)));
    }
    for wrong in [
        Value::from(0),
        (-1).into(),
        0.0009.into(),
        1_000_001.into(),
        f64::NAN.into(),
        f64::INFINITY.into(),
        "2".into(),
        true.into(),
    ] {
        let (kind, message) = rate(wrong.clone()).unwrap_err();
        assert_eq!(kind, Kind::Invalid, "{wrong}");
        assert!(
            message.contains("max_requests_per_second_per_host"),
            "{message}"
        );
    }
}

#[test]
fn a_root_is_an_absolute_path() {
    let root = |value: Value| {
        let base = [
            ("op", "hello".into()),
            ("protocol", 1.into()),
            ("root", value),
        ];
        match decode(&pack(&map(&base))).map(|request| request.op) {
            Ok(Op::Hello(hello)) => Ok(hello.allow.root),
            other => Err(other.map(drop).unwrap_err().1.kind),
        }
    };
    assert_eq!(root("/data/a".into()), Ok(Some(PathBuf::from("/data/a"))));
    assert_eq!(root(Value::Nil), Ok(None));
    for wrong in ["", "data", "./data", "/data/../x"] {
        assert_eq!(root(wrong.into()), Err(Kind::Invalid), "{wrong}");
    }
}

#[test]
fn no_error_shows_a_credential() {
    let auth = map(&[
        ("type", "basic".into()),
        ("username", "u".into()),
        ("password", Value::Binary(b"hunter2\xff".to_vec())),
    ]);
    let base = [
        ("op", "sync".into()),
        ("url", "https://h/r".into()),
        ("path", "/a".into()),
        ("branch", "b".into()),
        ("auth", auth),
    ];
    let (_, error) = decode(&pack(&map(&base))).unwrap_err();
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let auth = map(&[
        ("type", "basic".into()),
        ("username", "u".into()),
        ("password", "hunter2".into()),
    ]);
    let base = [
        ("op", "sync".into()),
        ("url", "https://h/r".into()),
        ("path", "/a".into()),
        ("branch", "b".into()),
        ("auth", auth),
    ];
    let request = decode(&pack(&map(&base))).unwrap();
    assert!(!format!("{request:?}").contains("hunter2"));
}
