use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::HeaderValue;

use super::*;

fn headers(values: &[&'static str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
    }
    headers
}

fn folded(how: &str, text: &[u8]) -> Vec<u8> {
    let level = Compression::default();
    match how {
        "deflate" => {
            let mut encoder = ZlibEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "raw" => {
            let mut encoder = DeflateEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        _ => {
            let mut encoder = GzEncoder::new(vec![], level);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// What `bytes` unfold to in pieces of `size`, and the longest part of it.
fn unfolded(name: &'static str, bytes: &[u8], size: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut unfolding = Unfolding::of(&headers(&[name])).unwrap().unwrap();
    let (mut out, mut longest) = (vec![], 0);
    for piece in bytes.chunks(size) {
        unfolding.push(Bytes::copy_from_slice(piece));
        while let Some(part) = unfolding.next()? {
            longest = longest.max(part.len());
            out.extend_from_slice(&part);
        }
    }
    unfolding.end()?;
    Ok((out, longest))
}

#[test]
fn all_that_curl_takes() {
    let texts = [
        vec![],
        b"a".to_vec(),
        (0..100_000u32).flat_map(u32::to_le_bytes).collect(),
    ];
    for (name, how) in [
        ("gzip", "gzip"),
        ("x-gzip", "gzip"),
        ("GZip", "gzip"),
        ("deflate", "deflate"),
        ("deflate", "raw"),
        ("identity, gzip", "gzip"),
    ] {
        for text in &texts {
            let bytes = folded(how, text);
            for size in [1, 2, 3, 1023, 1024, 1025, 1 << 20] {
                assert_eq!(
                    unfolded(name, &bytes, size).unwrap().0,
                    *text,
                    "{name} {how} {size}"
                );
            }
            for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                assert!(
                    unfolded(name, &bytes[..cut], 7).is_err(),
                    "{name} {how} cut at {cut}"
                );
            }
            let more = [&bytes[..], b"more"].concat();
            assert_eq!(
                unfolded(name, &more, 1 << 20).unwrap().0,
                *text,
                "{name} {how}"
            );
        }
        assert!(unfolded(name, b"\xff\xff<html>, not that at all, and long enough", 5).is_err());
    }
}

#[test]
fn a_bomb_goes_off_in_small_parts() {
    let bytes = folded("gzip", &vec![0; 64 << 20]);
    let (out, longest) = unfolded("gzip", &bytes, bytes.len()).unwrap();
    assert_eq!(out.len(), 64 << 20);
    assert!(longest <= 2 << 20, "{longest}");
}

#[test]
fn names() {
    for none in [
        &[][..],
        &[""],
        &["identity"],
        &["none, identity"],
        &["identity", "Identity"],
    ] {
        assert!(Unfolding::of(&headers(none)).unwrap().is_none(), "{none:?}");
    }
    for (values, says) in [
        (&["br"][..], "br"),
        (&["gzip, gzip"], "gzip, gzip"),
        (&["gzip", "zstd"], "gzip, zstd"),
    ] {
        assert_eq!(Unfolding::of(&headers(values)).err().as_deref(), Some(says));
    }
}
