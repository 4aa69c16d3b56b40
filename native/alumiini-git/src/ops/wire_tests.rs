//! The wire as a whole: what the contract, the golden frames and noise are read as, and how answers
//! leave.

use super::*;

use std::os::unix::ffi::OsStrExt;

use git2::Oid;
use proptest::prelude::*;
use rmpv::Value;

use crate::error::Kind;
use crate::net::auth::{Auth, SshCredential, SshLogin};
use crate::net::tls::Tls;
use crate::port::reply::{Host, Step, Waiting, event, reply, reply_after};
use crate::reference::{Reference, Tip};
use crate::spec::RemoteSpec;
use crate::task::progress::{Event, Phase, Stats};

/// The request in a frame's body.
fn decode(body: &[u8]) -> Result<Request, (Option<u64>, Error)> {
    match super::decode(body)? {
        Message::Request(request) => Ok(request),
        Message::Cancel { id } => panic!("the cancel of {id}"),
    }
}

fn pack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

/// The body of a frame.
fn body(frame: Vec<u8>) -> Vec<u8> {
    let mut bytes = &frame[..];
    let Ok(Some(crate::port::frame::Frame::Body(body))) = crate::port::frame::read(&mut bytes)
    else {
        panic!("{frame:?}")
    };
    assert!(bytes.is_empty());
    body
}

fn refused(value: &Value) -> (Option<u64>, String) {
    let (id, error) = decode(&pack(value)).unwrap_err();
    assert_eq!(error.kind, Kind::Invalid, "{error}");
    (id, error.message)
}

/// The table in `protocol/README.md` is the list in `error.rs`.
#[test]
fn the_documented_kinds_are_the_kinds_there_are() {
    let page = include_str!("../../../../protocol/README.md");
    let table = page.split("### Kinds of error").nth(1).unwrap();
    let row = table.lines().find(|line| line.starts_with("| `")).unwrap();
    let columns: Vec<&str> = row.split('|').collect();
    for (column, retryable) in [(columns[1], true), (columns[2], false)] {
        let documented: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
        let ours: Vec<&str> = Kind::ALL
            .iter()
            .filter(|kind| kind.retryable() == retryable)
            .map(|kind| kind.as_str())
            .collect();
        assert_eq!(documented, ours);
    }
}

#[test]
fn the_exchanges_of_the_contract_are_byte_for_byte() {
    let ask = b"\x85\xa2op\xa4sync\xa3url\xa6/a.git\xa6branch\xa4main\xa4path\xa2/b\xa5depth\x01";
    let request = decode(ask).unwrap();
    let Op::Sync(sync) = request.op else { panic!() };
    let spec = sync.spec;
    assert_eq!(
        (request.id, spec.reference.name(), spec.depth, sync.path),
        (None, b"main".to_vec(), 1, "/b".into())
    );

    let sha = "0123456789012345678901234567890123456789";
    let synced = Ok((
        Answer::Id(sha.into()),
        Some(Stats {
            bytes: 9,
            objects: 1,
        }),
    ));
    assert_eq!(
        body(reply(None, &synced)),
        [b"\x81\xa2ok\xd9\x28", sha.as_bytes()].concat()
    );
    let names = Ok((
        Answer::Names(vec![Name(b"a.yaml".to_vec()), Name(b"\xff.yml".to_vec())]),
        None,
    ));
    assert_eq!(
        body(reply(None, &names)),
        b"\x81\xa2ok\x92\xa6a.yaml\xc4\x05\xff.yml"
    );
    assert_eq!(
        body(reply(
            None,
            &Ok((Answer::content(b"hi".to_vec(), false), None))
        )),
        b"\x81\xa2ok\xa4aGk="
    );
    assert_eq!(
        body(reply(
            Some(7),
            &Ok((Answer::content(b"hi".to_vec(), true), None))
        )),
        b"\x82\xa2id\x07\xa2ok\xc4\x02hi"
    );
}

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

/// The golden frame of the same name.
fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden");
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    let hex: Vec<&str> = text.lines().skip(2).collect();
    unhex(&hex.concat())
}

#[test]
fn hosts_and_waits_are_told_as_the_page_says() {
    let shop = |name: &str, waiting| Waiting {
        url: format!("https://git.example.com/team/{name}.git"),
        waiting,
    };
    let busy = Host {
        host: "https://git.example.com".into(),
        proxy: None,
        running: 32,
        waiting: 3,
        limit: 32,
        per_second: Some(2.5),
        tokens: Some(0.75),
        circuit: "closed",
        held_for: None,
        failing: 9,
        repositories: vec![shop("app", 2), shop("shop", 1)],
    };
    let held = Host {
        host: "ssh://git.example.org:22".into(),
        proxy: Some("socks5://192.0.2.7:1080".into()),
        running: 0,
        waiting: 0,
        limit: 8,
        per_second: Some(2.5),
        tokens: Some(2.5),
        circuit: "half_open",
        held_for: Some(29_500),
        failing: 0,
        repositories: vec![],
    };
    let hosts = Ok((Answer::Hosts(vec![busy, held]), None));
    assert_eq!(reply(Some(31), &hosts), golden("hosts.reply.hex"));

    let waited = std::time::Duration::from_micros(1_250_417);
    let sha = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d";
    let synced = Ok((Answer::Id(sha.into()), Some(Stats::default())));
    assert_eq!(
        reply_after(Some(13), waited, &synced),
        golden("sync-waited.reply.hex")
    );
    // Nor is it told where the contract has no room for it.
    assert_eq!(reply_after(None, waited, &synced), reply(None, &synced));
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

#[test]
fn errors_travel_on_one_line() {
    let error = || Error::new(Kind::Io, "cannot read a\nb").with(Key::Path, Name::new(b"/a\nb"));
    let sent = body(reply(Some(1), &Err(error())));
    let step = Step {
        step: "refs",
        us: 1,
        note: String::new(),
        error: Some(error().into()),
    };
    let steps = body(reply(Some(1), &Ok((Answer::Steps(vec![step]), None))));
    let value = |bytes: &[u8]| rmpv::decode::read_value(&mut &bytes[..]).unwrap();
    for failed in [value(&sent), value(&steps)["ok"][0]["error"].clone()] {
        assert_eq!(failed["err"], "cannot read a\\nb".into());
        assert_eq!(failed["detail"]["path"], "/a\\nb".into());
    }
}

#[test]
fn events_carry_their_request_and_names_that_are_not_utf8_travel_as_bin() {
    let progress = body(event(
        5,
        &Event::Progress {
            phase: Phase::Receive,
            done: 1,
            total: 2,
            bytes: 3,
        },
    ));
    let value = rmpv::decode::read_value(&mut &progress[..]).unwrap();
    assert_eq!(value["id"], 5.into());
    assert_eq!(
        (&value["event"], &value["phase"], &value["total"]),
        (&"progress".into(), &"receive".into(), &2.into())
    );
    let repaired = body(event(
        6,
        &Event::Repaired {
            path: Name(b"/a\xff".to_vec()),
            reason: "odb".into(),
        },
    ));
    let value = rmpv::decode::read_value(&mut &repaired[..]).unwrap();
    assert_eq!(value["path"], Value::Binary(b"/a\xff".to_vec()));
    let ask = map(&[
        ("op", "files".into()),
        ("path", Value::Binary(b"/a\xff".to_vec())),
    ]);
    let Op::Files(files) = decode(&pack(&ask)).unwrap().op else {
        panic!("{ask:?}");
    };
    assert_eq!(files.path.as_os_str().as_bytes(), b"/a\xff");
}

/// What `protocol/golden/README.md` shows of a frame, as msgpack.
fn shown(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => number
            .as_u64()
            .map(Value::from)
            .or_else(|| number.as_i64().map(Value::from))
            .unwrap_or_else(|| number.as_f64().unwrap().into()),
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(shown).collect()),
        Json::Object(fields) => match fields.get("bin").and_then(Json::as_str) {
            Some(hex) if fields.len() == 1 => Value::Binary(unhex(hex)),
            _ => Value::Map(
                fields
                    .iter()
                    .map(|(key, value)| (key.as_str().into(), shown(value)))
                    .collect(),
            ),
        },
    }
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// The keys of a map come in no order that counts.
fn sorted(value: Value) -> Value {
    match value {
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

/// Every frame under `protocol/golden/` holds what its page says, and every request is understood.
#[test]
fn the_golden_frames_decode() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../protocol/golden");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry
            .path()
            .extension()
            .is_none_or(|extension| extension != "hex")
        {
            continue;
        }
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let (comment, rest) = text.split_once('\n').unwrap();
        let (json, hex) = rest.split_once('\n').unwrap();
        let body = body(unhex(hex));
        let value = rmpv::decode::read_value(&mut &body[..]).unwrap();
        let expected = shown(&serde_json::from_str(json).unwrap());
        assert_eq!(sorted(value), sorted(expected), "{:?}", entry.path());
        if comment.starts_with("# request") {
            match super::decode(&body) {
                Ok(_) => {}
                Err((_, error)) => panic!("{comment}: {error}"),
            }
        }
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} golden frames");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(Value::Binary),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(body in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = super::decode(&body);
    }

    /// Maps with the right keys and any values get past the first checks.
    #[test]
    fn any_values_decode_or_are_refused_with_their_id(
        op in prop::sample::select(vec![
            "hello", "cancel", "ping", "sync", "files", "read", "head", "checkout", "ls_remote",
            "x",
        ]),
        id in 1u64..,
        fields in prop::collection::btree_map(
            prop::sample::select(vec![
                "url", "path", "branch", "ref", "depth", "file", "raw", "max_bytes", "auth",
                "timeout", "subpath", "rev", "protocol", "force", "working_tree",
            ]),
            value(), 0..8),
    ) {
        let mut pairs: Vec<(Value, Value)> = fields
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect();
        pairs.push(("op".into(), op.into()));
        pairs.push(("id".into(), id.into()));
        match super::decode(&pack(&Value::Map(pairs))) {
            Ok(Message::Request(request)) => prop_assert_eq!(request.id, Some(id)),
            Ok(Message::Cancel { id: at }) => prop_assert_eq!(at, id),
            Err((at, error)) => {
                prop_assert_eq!(at, Some(id));
                let refused = matches!(
                    error.kind,
                    Kind::Invalid | Kind::Unsupported | Kind::UnsafePath
                );
                prop_assert!(refused, "{}", error);
            }
        }
    }

    /// What was asked with one byte wrong, cut short, or with a length that lies.
    #[test]
    fn damaged_requests_do_no_harm(at in 0usize..60, byte in any::<u8>(), cut in 0usize..60) {
        let mut body = pack(&map(&[
            ("op", "sync".into()),
            ("id", 7.into()),
            ("url", "https://h/r".into()),
            ("branch", "main".into()),
            ("path", "/p".into()),
        ]));
        let length = body.len();
        body[at % length] = byte;
        let _ = super::decode(&body);
        let _ = super::decode(&body[..cut % length]);
    }
}

#[test]
fn a_frame_that_nests_too_deep_is_refused() {
    // By hand: what encodes a value goes as deep as that does.
    let nested = |levels: usize| {
        let mut body = pack(&map(&[
            ("op", "files".into()),
            ("path", "/".into()),
            ("x", Value::Nil),
        ]));
        body.pop();
        body.extend(vec![0x91; levels]);
        body.push(0xc0);
        decode(&body).map(drop)
    };
    assert!(nested(5).is_ok());
    assert_eq!(nested(20).unwrap_err().1.kind, Kind::Invalid);
    assert_eq!(nested(100_000).unwrap_err().1.kind, Kind::Invalid);
}
