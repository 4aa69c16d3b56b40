use super::*;
use crate::net::git::pkt_line::tests::{Fixed, reader, run};

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";
const ZERO: &str = "0000000000000000000000000000000000000000";

/// Lines of text as pkt-lines; "0000" and "0001" stand for themselves.
pub(crate) fn pkt(lines: &[&str]) -> Vec<u8> {
    let mut out = vec![];
    for line in lines {
        if !["0000", "0001"].contains(line) {
            out.extend_from_slice(format!("{:04x}", line.len() + 4).as_bytes());
        }
        out.extend_from_slice(line.as_bytes());
    }
    out
}

fn parse(lines: &[&str], prefixes: &[&str]) -> Result<(Capabilities, Vec<RemoteRef>)> {
    let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    let bytes = pkt(lines);
    let whole = run(advertisement(
        &mut reader(&bytes, bytes.len()),
        Wanted::unbounded(&prefixes),
    ));
    for size in [1, 2, 3, 7] {
        assert_eq!(
            run(advertisement(
                &mut reader(&bytes, size),
                Wanted::unbounded(&prefixes)
            )),
            whole
        );
    }
    whole
}

#[test]
fn v2_with_and_without_the_preamble() {
    let caps = [
        "version 2\n",
        "agent=git/2.47.3\n",
        "ls-refs=unborn\n",
        "fetch=shallow wait-for-done filter\n",
        "server-option\n",
        "object-format=sha1\n",
        "0000",
    ];
    let expected = V2 {
        agent: true,
        object_format: true,
        ls_refs: true,
        fetch: true,
        shallow: true,
        filter: true,
    };
    assert_eq!(parse(&caps, &[]).unwrap().0, Capabilities::V2(expected));
    let mut with = vec!["# service=git-upload-pack\n", "0000"];
    with.extend(&caps[..2]);
    with.extend(["fetch\n", "0000"]);
    let bare = V2 {
        agent: true,
        fetch: true,
        ..V2::default()
    };
    assert_eq!(parse(&with, &[]).unwrap().0, Capabilities::V2(bare));
}

#[test]
fn v0_with_peeled_tags_symrefs_and_prefixes() {
    let head = format!(
        "{A} HEAD\0 side-band-64k ofs-delta shallow no-progress symref=HEAD:refs/heads/main \
         object-format=sha1 agent=git/1\n"
    );
    let (main, tag, peeled) = (
        format!("{A} refs/heads/main\n"),
        format!("{B} refs/tags/v1\n"),
        format!("{A} refs/tags/v1^{{}}\n"),
    );
    let shallow = format!("shallow {B}\n");
    for preamble in [
        &["# service=git-upload-pack\n", "0000"][..],
        &["version 1\n"],
        &[],
    ] {
        let mut lines = preamble.to_vec();
        lines.extend([head.as_str(), &main, &tag, &peeled, &shallow, "0000"]);
        let (capabilities, refs) = parse(&lines, &[]).unwrap();
        let expected = V0 {
            agent: true,
            side_band_64k: true,
            ofs_delta: true,
            no_progress: true,
            shallow: true,
            is_shallow: true,
            ..V0::default()
        };
        assert_eq!(capabilities, Capabilities::V0(expected));
        let names: Vec<_> = refs
            .iter()
            .map(|r| String::from_utf8_lossy(&r.name).into_owned())
            .collect();
        assert_eq!(names, ["HEAD", "refs/heads/main", "refs/tags/v1"]);
        assert_eq!(
            refs[0].symref_target.as_deref(),
            Some(&b"refs/heads/main"[..])
        );
        assert_eq!(
            (refs[2].oid.to_string(), refs[2].peeled_or_id().to_string()),
            (B.into(), A.into())
        );
        let (_, refs) = parse(&lines, &["refs/heads/", "refs/tags/v2"]).unwrap();
        assert_eq!(refs.len(), 1);
    }
}

#[test]
fn an_empty_repository_has_no_refs() {
    let first = format!("{ZERO} capabilities^{{}}\0side-band agent=x\n");
    let (capabilities, refs) = parse(&[&first, "0000"], &[]).unwrap();
    assert_eq!(
        (capabilities, refs),
        (
            Capabilities::V0(V0 {
                agent: true,
                side_band: true,
                ..V0::default()
            }),
            vec![]
        )
    );
    assert_eq!(parse(&["0000"], &[]).unwrap().1, vec![]);
}

#[test]
fn refuses_what_is_not_ours() {
    let sha256 = format!("{A} HEAD\0object-format=sha256\n");
    for (lines, kind) in [
        (
            &["version 2\n", "object-format=sha256\n", "0000"][..],
            Kind::Unsupported,
        ),
        (&[sha256.as_str(), "0000"], Kind::Unsupported),
        (&["# service=git-receive-pack\n", "0000"], Kind::Protocol),
        // As Git: what stands before the flush tells about the service.
        (
            &["# service=git-upload-pack\n", "version 2\n", "0000"],
            Kind::Network,
        ),
        (&["version 2\n", "0001"], Kind::Protocol),
        (&["0001"], Kind::Protocol),
        (&["not a ref\n", "0000"], Kind::Protocol),
        (&["1234 HEAD\n", "0000"], Kind::Protocol),
        (&["version 2\n"], Kind::Network),
        (&["ERR access denied\n"], Kind::Auth),
        (&["ERR no\n"], Kind::Protocol),
        (&[], Kind::Network),
    ] {
        assert_eq!(parse(lines, &[]).unwrap_err().kind, kind, "{lines:?}");
    }
}

/// Against each other they would be thousands of millions of comparisons.
#[test]
fn as_many_symrefs_as_a_line_holds_cost_next_to_nothing() {
    let symrefs: String = (0..5_000).map(|n| format!(" symref={n:x}:")).collect();
    let refs: String = (0..500_000).map(|n| format!("0037{A} {n:010x}")).collect();
    let duration = |symrefs: &str| {
        let first = format!("{A} HEAD\0caps{symrefs}");
        let whole = format!("{:04x}{first}{refs}0000", first.len() + 4);
        let chunks = Fixed([bytes::Bytes::from(whole)].into());
        let mut reader = PktLineReader::new(chunks, "https://h/r".into(), u64::MAX);
        let wanted = Wanted::unbounded(&[]);
        let start = std::time::Instant::now();
        let (_, refs) = run(advertisement(&mut reader, wanted)).unwrap();
        assert_eq!(refs.len(), 500_001);
        start.elapsed()
    };
    let (without, with) = (duration(""), duration(&symrefs));
    assert!(with < without * 5, "{with:?} instead of {without:?}");
}
