use proptest::prelude::*;

use super::*;
use crate::repo::test_git::git;

fn author(line: &str) -> (String, String, Option<(i64, i32)>) {
    let person = person(line.as_bytes());
    (
        String::from_utf8(person.name).unwrap(),
        String::from_utf8(person.email).unwrap(),
        person.date.map(|date| (date.seconds, date.offset)),
    )
}

// What real Git makes of these, and of more, is asked in test/sync/odd_commits_test.exs.
#[test]
fn people_are_read_as_git_reads_them() {
    let is = |line: &str, name: &str, email: &str, date: Option<(i64, i32)>| {
        assert_eq!(
            author(line),
            (name.to_owned(), email.to_owned(), date),
            "{line}"
        );
    };
    is(
        "A <a@b> 1700000000 +0130",
        "A",
        "a@b",
        Some((1_700_000_000, 90)),
    );
    is(
        "A <a@b>1287367363 +0000",
        "A",
        "a@b",
        Some((1_287_367_363, 0)),
    );
    is(
        "A <a@b> 18446744073709548016 -0800",
        "A",
        "a@b",
        Some((0, 0)),
    );
    is(
        "A <a@b> 1313584730 +051800",
        "A",
        "a@b",
        Some((1_313_584_730, 31_080)),
    );
    is("A <a@b> yesterday", "A", "a@b", None);
    is("A <a@b> -5 +0000", "A", "a@b", None);
    is("A <a@b>", "A", "a@b", None);
    is("A <a <b> c> 5 -0030", "A", "a <b", Some((5, -30)));
    is("<a@b> 5 +0000", "", "a@b", Some((5, 0)));
    is("A <> 5 +0000", "A", "", Some((5, 0)));
    is("A 5 +0000", "", "", None);
    is("", "", "", None);
}

#[test]
fn the_last_of_two_headers_counts_and_the_message_is_what_follows_the_empty_line() {
    let text = text(
        b"tree x\nauthor A <a> 1 +0000\nauthor B <b> 2 +0000\nodd\n\n\nfirst\n\nauthor C <c> \
               3 +0000\0rest",
    );
    assert_eq!(text.author.name, b"B");
    assert_eq!(text.committer, Person::default());
    assert_eq!(text.message, b"\nfirst\n\nauthor C <c> 3 +0000");
}

#[test]
fn encodings_are_taken_as_git_takes_them() {
    let of = |encoding: &str, byte: u8| {
        let mut data = b"author ".to_vec();
        data.push(byte);
        data.extend(format!(" <a> 1 +0000\nencoding {encoding}\n\n").into_bytes());
        data.push(byte);
        text(&data)
    };
    for encoding in ["ISO-8859-1", "latin1", "ISO-8859-15", "cp1252"] {
        let text = of(encoding, 0xe9);
        assert_eq!(
            (text.author.name, text.message),
            ("é".into(), "é".into()),
            "{encoding}"
        );
    }
    assert_eq!(of("ISO-8859-1", 0x80).message, "\u{80}".as_bytes());
    for unknown in ["none", "utf-8", "shift_jis"] {
        assert_eq!(of(unknown, 0xff).message, b"\xff", "{unknown}");
    }
}

// By the names that `iconv` gives them, which Git on Windows wrote for years.
#[test]
fn encodings_have_the_names_that_git_knows() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet"]);
    let tree = git(
        dir.path(),
        &["hash-object", "-w", "-t", "tree", "/dev/null"],
    );
    for (encoding, message) in [
        ("CP932", &b"\x83\x65"[..]),
        ("eucJP", b"\xa5\xc6"),
        ("CP936", b"\xc4\xe3"),
        ("EUCCN", b"\xc4\xe3"),
        ("CP949", b"\xb0\xa1"),
        ("UHC", b"\xb0\xa1"),
        ("EUCKR", b"\xb0\xa1"),
        ("CP950", b"\xa7\x41"),
        ("US-ASCII", b"a"),
    ] {
        let who = "A <a@example.com> 1 +0000";
        let mut data =
            format!("tree {tree}\nauthor {who}\ncommitter {who}\nencoding {encoding}\n\n")
                .into_bytes();
        data.extend(message);
        let file = dir.path().join("commit");
        std::fs::write(&file, &data).unwrap();
        let id = git(
            dir.path(),
            &["hash-object", "-w", "-t", "commit", file.to_str().unwrap()],
        );
        let shown = git(dir.path(), &["log", "-1", "--format=%B", &id]);
        assert_eq!(
            String::from_utf8(text(&data).message).unwrap(),
            shown,
            "{encoding}"
        );
    }
}

#[test]
fn what_is_not_of_its_encoding_stays_as_it_is() {
    let of = |encoding: &str| text(format!("encoding {encoding}\n\n\u{e4}\n").as_bytes()).message;
    for encoding in ["US-ASCII", "ASCII", "UTF-16", "UTF-16LE"] {
        assert_eq!(of(encoding), "\u{e4}\n".as_bytes(), "{encoding}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = text(&data);
    }

    #[test]
    fn any_line_is_read(line in "[ <>a@0-9+-]{0,60}") {
        let _ = person(line.as_bytes());
    }
}
