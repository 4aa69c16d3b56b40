use super::*;

use bytes::Bytes;

use crate::net::git::advertised::{RemoteRef, Wanted};
use crate::net::git::capabilities::tests::pkt;
use crate::net::git::pkt_line::tests::{Fixed, reader, run};
use crate::task::pool::Pool;
use crate::task::share::Share;

const A: &str = "1111111111111111111111111111111111111111";
const B: &str = "2222222222222222222222222222222222222222";

fn refs(lines: &[&str], prefixes: &[&str]) -> Result<Vec<RemoteRef>> {
    let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|p| p.as_bytes().to_vec()).collect();
    let bytes = pkt(lines);
    let whole = run(parse(
        &mut reader(&bytes, bytes.len()),
        Wanted::unbounded(&prefixes),
    ));
    for size in [1, 5] {
        assert_eq!(
            run(parse(
                &mut reader(&bytes, size),
                Wanted::unbounded(&prefixes)
            )),
            whole
        );
    }
    whole
}

#[test]
fn asks_by_prefix_and_only_for_what_was_advertised() {
    let v2 = V2 {
        agent: true,
        object_format: true,
        ..V2::default()
    };
    let bytes = request(&v2, [&b"refs/heads/main"[..], b"HEAD"].into_iter()).unwrap();
    let agent = format!("{AGENT}\n");
    let expected = pkt(&[
        "command=ls-refs\n",
        &agent,
        "object-format=sha1\n",
        "0001",
        "peel\n",
        "symrefs\n",
        "ref-prefix refs/heads/main\n",
        "ref-prefix HEAD\n",
        "0000",
    ]);
    assert_eq!(bytes, expected);
    let bytes = request(&V2::default(), [].into_iter()).unwrap();
    assert_eq!(
        bytes,
        pkt(&["command=ls-refs\n", "0001", "peel\n", "symrefs\n", "0000"])
    );
    assert_eq!(
        request(&v2, [&b"a\nb"[..]].into_iter()).unwrap_err().kind,
        Kind::Invalid
    );
}

#[test]
fn reads_attributes_and_drops_what_was_not_asked_for() {
    let lines = [
        format!("{A} HEAD symref-target:refs/heads/main\n"),
        format!("{A} refs/heads/main\n"),
        format!("{B} refs/tags/v1 peeled:{A} unknown:x\n"),
        "unborn refs/heads/none symref-target:x\n".to_owned(),
    ];
    let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    lines.push("0000");
    let all = refs(&lines, &[]).unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(
        all[0].symref_target.as_deref(),
        Some(&b"refs/heads/main"[..])
    );
    assert_eq!(
        (all[2].oid.to_string(), all[2].peeled_or_id().to_string()),
        (B.into(), A.into())
    );
    assert_eq!(refs(&lines, &["refs/heads/main"]).unwrap(), all[1..2]);
}

#[test]
fn a_name_need_not_be_utf8() {
    let mut bytes = format!("{:04x}{A} ", 4 + 41 + 12 + 1).into_bytes();
    bytes.extend_from_slice(b"refs/heads/\xff\n0000");
    let refs = run(parse(&mut reader(&bytes, 9), Wanted::unbounded(&[]))).unwrap();
    assert_eq!(refs[0].name, b"refs/heads/\xff");
}

#[test]
fn malformed_lists_are_refused() {
    let (short, no_name, peeled) = (
        format!("{} HEAD\n", &A[..39]),
        format!("{A}\n"),
        format!("{A} t peeled:12\n"),
    );
    for lines in [
        &[short.as_str(), "0000"][..],
        &[&no_name, "0000"],
        &[&peeled, "0000"],
        &["\n"],
        &["0001"],
    ] {
        assert_eq!(
            refs(lines, &[]).unwrap_err().kind,
            Kind::Protocol,
            "{lines:?}"
        );
    }
    assert_eq!(
        refs(&[&format!("{A} HEAD\n")], &[]).unwrap_err().kind,
        Kind::Network
    );
}

#[test]
fn what_is_kept_of_a_list_is_bounded_in_both_protocols() {
    let mut lines: Vec<String> = (0..10)
        .map(|n| format!("{A} refs/heads/{n} peeled:{B} symref-target:refs/x\n"))
        .collect();
    lines.push("0000".to_owned());
    let v2 = pkt(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let mut lines: Vec<String> = (0..10).map(|n| format!("{A} refs/heads/{n}")).collect();
    lines[0].push_str("\0caps");
    lines.push("0000".to_owned());
    let v0 = pkt(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let heads = [b"refs/heads/".to_vec()];
    let others = [b"refs/tags/".to_vec()];
    let pool = Pool::new(0);
    let share = Share::of(&pool);
    let all = |prefixes, max_bytes| Wanted::within(prefixes, max_bytes, &share);
    let with =
        |bytes: &[u8], wanted| run(parse(&mut reader(bytes, 50), wanted)).map(|refs| refs.len());
    let without = |bytes: &[u8], wanted| {
        run(advertisement(&mut reader(bytes, 50), wanted)).map(|(_, refs)| refs.len())
    };
    assert_eq!(with(&v2, all(&heads, 10 * (12 + 6 + 80))), Ok(10));
    assert_eq!(without(&v0, all(&heads, 10 * (12 + 40))), Ok(10));
    assert_eq!(with(&v2, all(&others, 1)), Ok(0));
    assert_eq!(without(&v0, all(&others, 1)), Ok(0));
    for error in [
        with(&v2, all(&heads, 10 * (12 + 6 + 80) - 1)).unwrap_err(),
        without(&v0, all(&heads, 10 * (12 + 40) - 1)).unwrap_err(),
    ] {
        assert_eq!(error.kind, Kind::TooLarge);
        assert!(error.detail.contains_key(&Key::Limit) && error.message.contains("by prefix"));
    }
}

/// Also of refs that nobody asked for, which take no room.
#[test]
fn a_list_has_so_many_lines_and_no_more() {
    let line = format!("0034{A} refs/x\n");
    let list = |lines: usize| {
        let chunks = vec![Bytes::from(line.repeat(1_000)); lines / 1_000];
        let mut reader = PktLineReader::new(Fixed(chunks.into()), "https://h/r".into(), u64::MAX);
        run(parse(&mut reader, Wanted::named(b"HEAD")))
            .unwrap_err()
            .kind
    };
    assert_eq!(list(1_000_000), Kind::Network, "it is cut");
    assert_eq!(list(1_001_000), Kind::TooLarge);
}
