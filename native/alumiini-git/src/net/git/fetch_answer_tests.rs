use super::*;
use crate::net::git::capabilities::tests::pkt;
use crate::net::git::fetch::is_denied;
use crate::net::git::pkt_line::tests::{Fixed, reader, run};

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

/// Reads `lines` as the answer to a fetch, cut in several ways.
fn answer(v2: bool, depth: bool, lines: &[&str]) -> Result<(FetchOutcome, Vec<u8>)> {
    let form = if v2 {
        Form::Sections
    } else {
        Form::Acknowledged { deepened: depth }
    };
    read(form, &pkt(lines))
}

fn read(form: Form, bytes: &[u8]) -> Result<(FetchOutcome, Vec<u8>)> {
    let mut results = [1, 3, bytes.len()].map(|size| {
        run(async {
            let (sink, mut source) = mpsc::channel(64);
            let (mut reader, mut outcome) = (reader(bytes, size), FetchOutcome::default());
            super::answer(&mut reader, form, 10, &sink, &mut outcome).await?;
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
            bytes: 4,
            is_filtered: false,
        }
    );
}

#[test]
fn v0_answers() {
    let (shallow, ack) = (format!("shallow {A}"), format!("ACK {B}\n"));
    let (outcome, pack) =
        answer(false, true, &[&shallow, "0000", &ack, "\x01PACK", "0000"]).unwrap();
    assert_eq!((outcome.shallow.len(), pack), (1, b"PACK".to_vec()));
    let (common, ready, more) = (
        format!("ACK {A} common\n"),
        format!("ACK {B} ready"),
        format!("ACK {A} continue\n"),
    );
    for lines in [
        &["NAK\n"][..],
        &["NAK", "NAK\n"],
        &[&ack],
        &[&common, &ready, &ack],
        &[&more, "NAK\n", &common, &common, "NAK\n", &ready, &ack],
    ] {
        let (_, pack) = answer(false, false, &[lines, &["\x01PACK", "0000"]].concat()).unwrap();
        assert_eq!(pack, b"PACK", "{lines:?}");
    }
    for lines in [&["nak\n"][..], &["ACK", "0000"], &["0000"], &["0001"]] {
        let error = answer(false, false, lines).unwrap_err();
        assert_eq!(error.kind, Kind::Protocol, "{lines:?}: {error}");
    }
}

/// Without side-bands the pack comes as it is, up to the end of the stream.
#[test]
fn v0_answers_without_side_bands() {
    let form = Form::Acknowledged { deepened: false };
    let pack = |version: u8| {
        let mut pack = [&b"PACK\0\0\0"[..], &[version], &[0; 4]].concat();
        let sum = <sha1::Sha1 as sha1::Digest>::digest(&pack);
        pack.extend_from_slice(&sum);
        pack
    };
    let ack = format!("ACK {B} common\n");
    for before in [&["NAK\n"][..], &[&ack, "NAK\n"]] {
        for version in [2, 3] {
            let bytes = [pkt(before), pack(version)].concat();
            let form = Form::Acknowledged { deepened: false };
            let error = read(form, &bytes).unwrap_err();
            assert_eq!(error.kind, Kind::TooLarge, "its 32 bytes count, too");
            let got = run(async {
                let (sink, mut source) = mpsc::channel(64);
                let (mut reader, mut outcome) = (reader(&bytes, 5), FetchOutcome::default());
                super::answer(&mut reader, form, 32, &sink, &mut outcome)
                    .await
                    .unwrap();
                drop(sink);
                let mut got = vec![];
                while let Some(chunk) = source.recv().await {
                    got.extend_from_slice(&chunk);
                }
                got
            });
            assert_eq!(got, pack(2));
        }
    }
    for cut in 0..8 {
        let bytes = [pkt(&["NAK\n"]), pack(2)[..cut].to_vec()].concat();
        let error = read(form, &bytes).unwrap_err();
        assert_eq!(error.kind, Kind::Network, "{cut}: {error}");
    }
    let error = read(form, &[pkt(&["NAK\n"]), b"PAKK".to_vec()].concat()).unwrap_err();
    assert_eq!(error.kind, Kind::Protocol);
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
        (
            &["shallow-info\n", "shallow 12\n", "0001"],
            Kind::Protocol,
            "shallow",
        ),
        (
            &["packfile\n", "PACK", "0000"],
            Kind::Protocol,
            "side-bands",
        ),
        (
            &["packfile\n", "\x01a", "0001"],
            Kind::Protocol,
            "side-bands",
        ),
        (&["packfile\n", "", "0000"], Kind::Protocol, "side-bands"),
        (
            &["packfile\n", "\x01a", "\x03no \x07memory\n"],
            Kind::Network,
            "no memory",
        ),
        (
            &["packfile\n", "\x0101234567890", "0000"],
            Kind::TooLarge,
            "10 bytes",
        ),
        (
            &["ERR upload-pack: not our ref 1\n"],
            Kind::RefNotFound,
            "not our ref",
        ),
        (
            &["packfile\n", "\x03upload-pack: not our ref 1\n"],
            Kind::RefNotFound,
            "not our ref",
        ),
    ] {
        let error = answer(true, false, lines).unwrap_err();
        assert_eq!(
            (error.kind, is_denied(&error)),
            (kind, kind == Kind::RefNotFound),
            "{lines:?}"
        );
        assert!(error.message.contains(says), "{error}");
    }
}

#[test]
fn a_sink_that_nobody_reads_ends_it() {
    let bytes = pkt(&["NAK\n", "\x01PACK", "0000"]);
    let error = run(async {
        let (sink, source) = mpsc::channel(1);
        drop(source);
        let (mut reader, mut outcome) = (reader(&bytes, 4), FetchOutcome::default());
        let form = Form::Acknowledged { deepened: false };
        super::answer(&mut reader, form, 10, &sink, &mut outcome).await
    });
    assert_eq!(error.unwrap_err().kind, Kind::Cancelled);
}

/// Pieces of `piece`, so many times, in an answer of v2.
fn answer_of(first: &str, piece: Vec<u8>, times: usize) -> Error {
    let mut chunks = vec![Bytes::from(pkt(&[first]))];
    chunks.extend(vec![Bytes::from(piece); times]);
    let mut reader = PktLineReader::new(Fixed(chunks.into()), "https://h/r".into(), u64::MAX);
    run(async {
        let (sink, _source) = mpsc::channel(1);
        let mut outcome = FetchOutcome::default();
        super::answer(&mut reader, Form::Sections, 10, &sink, &mut outcome).await
    })
    .unwrap_err()
}

#[test]
fn what_comes_before_a_pack_and_beside_it_has_an_end() {
    let shallow = format!("shallow {A}\n");
    let thousand = pkt(&vec![&shallow[..]; 1_000]);
    assert_eq!(
        answer_of("shallow-info\n", thousand.clone(), 1_000).kind,
        Kind::Network,
        "it is cut"
    );
    assert_eq!(
        answer_of("shallow-info\n", thousand, 1_001).kind,
        Kind::Protocol
    );
    let progress = pkt(&[&format!("\x02{}", "x".repeat(65_000))]);
    assert_eq!(
        answer_of("packfile\n", progress.clone(), 1_000).kind,
        Kind::Network,
        "it is cut"
    );
    let error = answer_of("packfile\n", progress, 1_040);
    assert!(
        error.message.contains("progress messages without end"),
        "{error}"
    );
}
