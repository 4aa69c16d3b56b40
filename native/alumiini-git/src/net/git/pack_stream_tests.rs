use super::*;

/// A pack of `version` without objects, but with some bytes.
fn pack(version: u8, bytes: usize) -> Vec<u8> {
    let mut pack = [
        b"PACK\0\0\0",
        &[version][..],
        b"\0\0\0\x01",
        &vec![7; bytes],
    ]
    .concat();
    let sum = Sha1::digest(&pack);
    pack.extend_from_slice(&sum);
    pack
}

/// What comes out of `bytes` in pieces of `size`.
fn passed(bytes: &[u8], size: usize, must_be_whole: bool) -> Option<Vec<u8>> {
    let mut stream = PackStream::new(must_be_whole);
    let mut out = vec![];
    for piece in bytes.chunks(size) {
        out.extend_from_slice(&stream.take(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&stream.end()?);
    Some(out)
}

#[test]
fn version_3_becomes_version_2_with_its_checksum() {
    for bytes in [0, 1, 19, 20, 21, 5000] {
        for size in [1, 7, 8, 9, 21, 10_000] {
            for must_be_whole in [false, true] {
                for version in [2, 3] {
                    let got = passed(&pack(version, bytes), size, must_be_whole);
                    assert_eq!(
                        got,
                        Some(pack(2, bytes)),
                        "{version} {bytes} {size} {must_be_whole}"
                    );
                }
            }
        }
    }
    assert_eq!(
        passed(&pack(4, 9), 5, false),
        Some(pack(4, 9)),
        "for others to refuse"
    );
}

#[test]
fn a_pack_that_is_cut_is_not_whole() {
    for version in [2, 3] {
        let whole = pack(version, 100);
        for length in 0..whole.len() {
            assert_eq!(passed(&whole[..length], 11, true), None, "{length}");
        }
        let mut wrong = whole.clone();
        wrong[50] ^= 1;
        assert_eq!(passed(&wrong, 11, true), None);
        let got = passed(&wrong, 11, false).unwrap();
        let (content, sum) = got.split_at(got.len() - 20);
        assert_ne!(Sha1::digest(content)[..], *sum, "stays wrong");
    }
}

#[test]
fn nothing_is_copied_that_need_not_be() {
    let mut stream = PackStream::new(false);
    stream.take(Bytes::from(pack(2, 100)));
    let data = Bytes::from_static(b"more");
    assert_eq!(stream.take(data.clone()).as_ptr(), data.as_ptr());
}
