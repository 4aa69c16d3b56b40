//! The wire as a whole: the exchanges of the contract, and how answers leave.

use super::*;

use std::os::unix::ffi::OsStrExt;

use rmpv::Value;

use crate::error::Kind;
use crate::port::reply::{Host, Step, Waiting, event, reply, reply_after};
use crate::task::patience::Spent;
use crate::task::progress::{Event, Phase, Stats};

/// The request in a frame's body.
pub(super) fn decode(body: &[u8]) -> Result<Request, (Option<u64>, Error)> {
    match super::decode(body)? {
        Message::Request(request) => Ok(request),
        Message::Cancel { id } => panic!("the cancel of {id}"),
    }
}

pub(super) fn pack(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

pub(super) fn map(pairs: &[(&str, Value)]) -> Value {
    Value::Map(
        pairs
            .iter()
            .map(|(key, value)| ((*key).into(), value.clone()))
            .collect(),
    )
}

/// The body of a frame.
pub(super) fn body(frame: Vec<u8>) -> Vec<u8> {
    let mut bytes = &frame[..];
    let Ok(Some(crate::port::frame::Frame::Body(body))) = crate::port::frame::read(&mut bytes)
    else {
        panic!("{frame:?}")
    };
    assert!(bytes.is_empty());
    body
}

pub(super) fn refused(value: &Value) -> (Option<u64>, String) {
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

/// The golden frame of the same name.
pub(super) fn golden(name: &str) -> Vec<u8> {
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

    let waited = Spent {
        waited: std::time::Duration::from_micros(1_250_417),
        ..Spent::default()
    };
    let sha = "7fd1a60b01f91b314f59955a4e4d4e80d8edf11d";
    let synced = Ok((Answer::Id(sha.into()), Some(Stats::default())));
    assert_eq!(
        reply_after(Some(13), waited, &synced),
        golden("sync-waited.reply.hex")
    );
    let spent = Spent {
        requests: 3,
        retries: 1,
        ..waited
    };
    assert_eq!(
        reply_after(Some(13), spent, &synced),
        golden("sync-spent.reply.hex")
    );
    // Nor is it told where the contract has no room for it.
    assert_eq!(reply_after(None, spent, &synced), reply(None, &synced));
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

pub(super) fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(char::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|two| u8::from_str_radix(&two.iter().collect::<String>(), 16).unwrap())
        .collect()
}
