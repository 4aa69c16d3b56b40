use super::*;
use crate::net::discovery::tests::pkt;
use crate::net::pkt::tests::{reader, run};
use crate::net::url::{Location, RemoteUrl};

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

fn server(speaks: Speaks) -> Server {
    match RemoteUrl::parse(b"https://h/r").unwrap().location {
        Location::Network(base) => Server {
            base,
            speaks,
            wordy: Default::default(),
        },
        other => panic!("{other:?}"),
    }
}

fn request(depth: Option<u32>, shallow: bool) -> FetchRequest {
    FetchRequest {
        want: Oid::from_str(A).unwrap(),
        haves: vec![Oid::from_str(B).unwrap()],
        shallow: if shallow {
            vec![Oid::from_str(B).unwrap()]
        } else {
            vec![]
        },
        depth,
        thin: true,
        max_bytes: 10,
    }
}

/// Reads `lines` as the answer to a fetch, cut in several ways.
fn answer(v2: bool, depth: bool, lines: &[&str]) -> Result<(FetchOutcome, Vec<u8>)> {
    let bytes = pkt(lines);
    let mut results = [1, 3, bytes.len()].map(|size| {
        run(async {
            let (sink, mut source) = mpsc::channel(64);
            let (mut reader, mut outcome) = (reader(&bytes, size), FetchOutcome::default());
            let first = if v2 {
                sections(&mut reader, &mut outcome).await?;
                reader.line().await?
            } else {
                acknowledgements(&mut reader, depth, &mut outcome).await?
            };
            pack(&mut reader, first, 10, &sink, &mut outcome.bytes).await?;
            drop(sink);
            let mut got = vec![];
            while let Some(chunk) = source.recv().await {
                got.extend_from_slice(&chunk);
            }
            Ok((outcome, got))
        })
    });
    results.sort_by_key(|result: &Result<_>| result.is_ok());
    assert_eq!(results[0], results[2]);
    let [result, ..] = results;
    result
}

#[test]
fn asks_in_one_round() {
    let v2 = V2 {
        object_format: true,
        fetch: true,
        shallow: true,
        ..V2::default()
    };
    let (server2, server0) = (server(Speaks::V2(V2::default())), server(Speaks::V0(V0::default())));
    let (want, have, shallow) = (format!("want {A}\n"), format!("have {B}\n"), format!("shallow {B}\n"));
    let body = body_v2(&server2, &v2, &request(Some(UNSHALLOW), true)).unwrap();
    let expected = [
        "command=fetch\n",
        "object-format=sha1\n",
        "0001",
        "thin-pack\n",
        "ofs-delta\n",
        "no-progress\n",
        &want,
        &shallow,
        "deepen 2147483647\n",
        &have,
        "done\n",
        "0000",
    ];
    assert_eq!(body, pkt(&expected));
    let v0 = V0 {
        side_band: true,
        side_band_64k: true,
        ofs_delta: true,
        shallow: true,
        ..V0::default()
    };
    let body = body_v0(&server0, &v0, &request(Some(3), true)).unwrap();
    let want = format!("want {A} side-band-64k ofs-delta\n");
    assert_eq!(body, pkt(&[&want, &shallow, "deepen 3\n", "0000", &have, "done\n"]));
}

#[test]
fn a_server_that_lacks_something_is_told_apart() {
    let (server2, server0) = (server(Speaks::V2(V2::default())), server(Speaks::V0(V0::default())));
    let v2 = V2 {
        fetch: true,
        ..V2::default()
    };
    let v0 = V0 {
        side_band: true,
        ..V0::default()
    };
    for (depth, shallow) in [(Some(1), false), (None, true)] {
        for error in [
            body_v2(&server2, &v2, &request(depth, shallow)).unwrap_err(),
            body_v0(&server0, &v0, &request(depth, shallow)).unwrap_err(),
        ] {
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.message.contains("depth: :infinity"), "{error}");
        }
    }
    assert!(body_v2(&server2, &v2, &request(None, false)).is_ok());
    assert_eq!(
        body_v0(&server0, &V0::default(), &request(None, false))
            .unwrap_err()
            .kind,
        Kind::Unsupported
    );
    let able = V2 {
        fetch: true,
        shallow: true,
        ..V2::default()
    };
    assert_eq!(
        body_v2(&server2, &able, &request(Some(0), false)).unwrap_err().kind,
        Kind::Invalid
    );
}

#[test]
fn v2_answers() {
    let (shallow, unshallow) = (format!("shallow {A}\n"), format!("unshallow {B}\n"));
    let (outcome, pack) = answer(
        true,
        true,
        &[
            "acknowledgments\n",
            "ready\n",
            "0001",
            "shallow-info\n",
            &shallow,
            &unshallow,
            "0001",
            "packfile\n",
            "\x02Counting\r",
            "\x01PA",
            "\x01",
            "\x01CK",
            "0000",
        ],
    )
    .unwrap();
    assert_eq!(pack, b"PACK");
    let (a, b) = (Oid::from_str(A).unwrap(), Oid::from_str(B).unwrap());
    assert_eq!(
        outcome,
        FetchOutcome {
            shallow: vec![a],
            unshallow: vec![b],
            bytes: 4
        }
    );
}

#[test]
fn v0_answers() {
    let (shallow, ack) = (format!("shallow {A}"), format!("ACK {B}\n"));
    let (outcome, pack) = answer(false, true, &[&shallow, "0000", &ack, "\x01PACK", "0000"]).unwrap();
    assert_eq!((outcome.shallow.len(), pack), (1, b"PACK".to_vec()));
    let (_, pack) = answer(false, false, &["NAK\n", "\x01PACK", "0000"]).unwrap();
    assert_eq!(pack, b"PACK");
}

#[test]
fn answers_that_are_wrong() {
    for (lines, kind, says) in [
        (&["packfile\n", "\x01PA"][..], Kind::Network, "cut"),
        (&["packfile\n", "0000"], Kind::Protocol, "without a pack"),
        (
            &["acknowledgments\n", "NAK\n", "0000"],
            Kind::Protocol,
            "without a pack",
        ),
        (&["0000"], Kind::Protocol, "unexpected"),
        (&["PACK"], Kind::Protocol, "unexpected"),
        (&["shallow-info\n", "shallow 12\n", "0001"], Kind::Protocol, "shallow"),
        (&["packfile\n", "PACK", "0000"], Kind::Protocol, "side-bands"),
        (&["packfile\n", "\x01a", "0001"], Kind::Protocol, "side-bands"),
        (&["packfile\n", "", "0000"], Kind::Protocol, "side-bands"),
        (
            &["packfile\n", "\x01a", "\x03no \x07memory\n"],
            Kind::Network,
            "no memory",
        ),
        (&["packfile\n", "\x0101234567890", "0000"], Kind::TooLarge, "10 bytes"),
        (&["ERR upload-pack: not our ref 1\n"], Kind::RefNotFound, "not our ref"),
        (
            &["packfile\n", "\x03upload-pack: not our ref 1\n"],
            Kind::RefNotFound,
            "not our ref",
        ),
    ] {
        let error = answer(true, false, lines).unwrap_err();
        assert_eq!(
            (error.kind, is_want_gone(&error)),
            (kind, kind == Kind::RefNotFound),
            "{lines:?}"
        );
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_sink_that_nobody_reads_ends_it() {
    let bytes = pkt(&["\x01PACK", "0000"]);
    let error = run(async {
        let (sink, source) = mpsc::channel(1);
        drop(source);
        let mut reader = reader(&bytes, 4);
        let first = reader.line().await?;
        pack(&mut reader, first, 10, &sink, &mut 0).await
    });
    assert_eq!(error.unwrap_err().kind, Kind::Cancelled);
}
