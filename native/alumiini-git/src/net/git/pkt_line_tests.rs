use proptest::prelude::*;

use super::*;

/// Chunks of a test: what is there, then the end.
pub(crate) struct Fixed(pub(crate) VecDeque<Bytes>);

impl Chunks for Fixed {
    async fn chunk(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop_front())
    }
}

pub(crate) fn reader(bytes: &[u8], size: usize) -> PktLineReader<Fixed> {
    let chunks = bytes
        .chunks(size.max(1))
        .map(Bytes::copy_from_slice)
        .collect();
    PktLineReader::new(Fixed(chunks), "https://h/r".into(), 1 << 20)
}

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(future)
}

/// All lines of `bytes` cut into pieces of the given sizes (in turn), and whether anything was left
/// over.
fn lines(bytes: &[u8], sizes: &[usize]) -> (Result<Vec<PktLine>, NotPktLine>, bool) {
    let mut decoder = Decoder::default();
    let (mut out, mut rest, mut sizes) = (vec![], bytes, sizes.iter().cycle());
    loop {
        loop {
            match decoder.next() {
                Ok(Some(line)) => out.push(line),
                Ok(None) => break,
                Err(e) => return (Err(e), false),
            }
        }
        if rest.is_empty() {
            return (Ok(out), decoder.is_empty());
        }
        let size = (*sizes.next().unwrap()).clamp(1, rest.len());
        let (now, later) = rest.split_at(size);
        rest = later;
        decoder.push(Bytes::copy_from_slice(now));
    }
}

fn data(bytes: &'static [u8]) -> PktLine {
    PktLine::Data(Bytes::from_static(bytes))
}

#[test]
fn decodes_however_it_is_cut() {
    let bytes = b"000ehello you\n00010004000500000002";
    let expected = vec![data(b"hello you\n"), PktLine::Delimiter, data(b"")];
    for size in 1..bytes.len() {
        let (got, _) = lines(&bytes[..22], &[size]);
        assert_eq!(got.unwrap(), expected, "{size}");
    }
    let (got, empty) = lines(b"00000002", &[3]);
    assert_eq!(
        (got.unwrap(), empty),
        (vec![PktLine::Flush, PktLine::ResponseEnd], true)
    );
    let (got, empty) = lines(b"000ahel", &[3]);
    assert_eq!((got.unwrap(), empty), (vec![], false));
}

#[test]
fn takes_the_longest_line_and_no_longer_one() {
    let mut longest = b"fff0".to_vec();
    longest.resize(65_520, b'x');
    for size in [1, 1000, 65_519, 65_520] {
        let (got, empty) = lines(&longest, &[size]);
        assert!(empty);
        assert_eq!(got.unwrap()[0].text().unwrap().len(), MAX_DATA);
    }
    for bad in [
        &b"fff1"[..],
        b"fff5",
        b"ffff",
        b"0003",
        b"zzzz",
        b"<htm",
        b"-001",
        b"+0a0",
        b"0x05",
    ] {
        for size in [1, 4] {
            assert_eq!(lines(bad, &[size]).0, Err(NotPktLine), "{bad:?}");
        }
    }
}

#[test]
fn a_line_within_a_chunk_is_a_slice_of_it() {
    let chunk = Bytes::from_static(b"0006\x01a0006\x01b");
    let mut decoder = Decoder::default();
    decoder.push(chunk.clone());
    let Some(PktLine::Data(line)) = decoder.next().unwrap() else {
        panic!()
    };
    assert_eq!(line.as_ptr(), chunk[4..].as_ptr());
}

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_give_the_same(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::collection::vec(
                prop_oneof![Just(b'0'), Just(b'1'), Just(b'5'), Just(b'a'), any::<u8>()],
                0..200,
            ),
        ],
        sizes in proptest::collection::vec(1usize..40, 1..8),
    ) {
        prop_assert_eq!(lines(&bytes, &sizes), lines(&bytes, &[usize::MAX]));
    }

    #[test]
    fn what_is_encoded_comes_back(
        texts in proptest::collection::vec("[^\n]{0,300}", 0..8),
        sizes in proptest::collection::vec(1usize..900, 1..4),
    ) {
        let mut request = PktLineWriter::default();
        for text in &texts {
            request.line(text).unwrap();
        }
        request.flush();
        let (got, empty) = lines(&request.finish(), &sizes);
        let got = got.unwrap();
        prop_assert!(empty);
        prop_assert_eq!(got.last(), Some(&PktLine::Flush));
        let got: Vec<_> = got.iter().filter_map(|line| line.text()).collect();
        prop_assert_eq!(got, texts.iter().map(|t| t.as_bytes()).collect::<Vec<_>>());
    }
}

#[test]
fn a_stream_that_ends_early_is_cut() {
    for bytes in [&b""[..], b"00", b"000ahel"] {
        let error = run(reader(bytes, 1).line()).unwrap_err();
        assert_eq!(error.kind, Kind::Network);
        assert!(error.message.contains("cut"), "{error}");
    }
}

#[test]
fn garbage_is_told_from_garbage_in_the_middle() {
    let error = run(reader(b"<html>", 2).line()).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            Kind::Protocol,
            "https://h/r did not answer in Git's protocol"
        )
    );
    let mut reader = reader(b"0005azzzz", 2);
    assert_eq!(run(reader.line()).unwrap(), data(b"a"));
    assert!(
        run(reader.line())
            .unwrap_err()
            .message
            .contains("in the middle")
    );
}

#[test]
fn err_lines_are_errors_and_say_when_a_want_is_gone() {
    let error = run(reader(b"0018ERR no\x1b[31m\r\n\tway \x00!\n", 5).line()).unwrap_err();
    assert_eq!(error.kind, Kind::Protocol);
    assert_eq!(error.message, "https://h/r answered: no [31m way !");
    for text in ["upload-pack: not our ref 1234", "want 1234 not valid"] {
        let line = format!("{:04x}ERR {text}", text.len() + 8);
        assert_eq!(
            run(reader(line.as_bytes(), 7).line()).unwrap_err().kind,
            Kind::RefNotFound
        );
    }
}

#[test]
fn sizes_are_bounded() {
    let mut reader = PktLineReader::new(
        Fixed([Bytes::from_static(b"0006ab")].into()),
        "https://h/r".into(),
        5,
    );
    let error = run(reader.line()).unwrap_err();
    assert_eq!(error.kind, Kind::TooLarge);
    assert_eq!(error.detail[&Key::Limit], 5u64.into());
    assert!(sanitised(&[b'x'; 10_000]).len() < 600);
    assert!(sanitised("ä".repeat(1000).as_bytes()).len() < 600);
    assert_eq!(
        PktLineWriter::default()
            .line(&"x".repeat(70_000))
            .unwrap_err()
            .kind,
        Kind::Invalid
    );
}
