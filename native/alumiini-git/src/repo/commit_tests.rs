use proptest::prelude::*;

use super::*;

fn author(line: &str) -> (String, String, Option<(i64, i32)>) {
    let person = person(line.as_bytes());
    (
        String::from_utf8(person.name).unwrap(),
        String::from_utf8(person.email).unwrap(),
        person.date.map(|date| (date.seconds, date.offset)),
    )
}

// What real Git makes of these, and of more, is asked in test/alumiini/git/odd_commits_test.exs.
#[test]
fn people_are_read_as_git_reads_them() {
    let is = |line: &str, name: &str, email: &str, date: Option<(i64, i32)>| {
        assert_eq!(author(line), (name.to_owned(), email.to_owned(), date), "{line}");
    };
    is("A <a@b> 1700000000 +0130", "A", "a@b", Some((1_700_000_000, 90)));
    is("A <a@b>1287367363 +0000", "A", "a@b", Some((1_287_367_363, 0)));
    is("A <a@b> 18446744073709548016 -0800", "A", "a@b", Some((0, 0)));
    is("A <a@b> 1313584730 +051800", "A", "a@b", Some((1_313_584_730, 31_080)));
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
    let text =
        text(b"tree x\nauthor A <a> 1 +0000\nauthor B <b> 2 +0000\nodd\n\n\nfirst\n\nauthor C <c> 3 +0000\0rest");
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
        assert_eq!((text.author.name, text.message), ("é".into(), "é".into()), "{encoding}");
    }
    assert_eq!(of("ISO-8859-1", 0x80).message, "\u{80}".as_bytes());
    for unknown in ["none", "utf-8", "shift_jis"] {
        assert_eq!(of(unknown, 0xff).message, b"\xff", "{unknown}");
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
