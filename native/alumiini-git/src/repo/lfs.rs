//! Pointers of Git LFS: small files that stand for large ones elsewhere.

/// The specification's bound: a pointer is shorter (git-lfs, `docs/spec.md`).
const LONGEST: usize = 1_024;
/// The version, the id and a size of one digit, with nothing else.
const SHORTEST: usize = 120;

/// What a pointer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pointer {
    /// SHA-256, in hex.
    pub(crate) oid: String,
    pub(crate) size: u64,
}

/// Whether a file of so many bytes may be one.
pub(crate) fn may_be(size: u64) -> bool {
    (SHORTEST as u64..LONGEST as u64).contains(&size)
}

/// What `content` says where it is a pointer: lines of `key value`, the version first.
pub(crate) fn pointer(content: &[u8]) -> Option<Pointer> {
    if content.len() >= LONGEST {
        return None;
    }
    let text = std::str::from_utf8(content).ok()?;
    let mut lines = text.lines();
    let version = lines.next()?.strip_prefix("version ")?;
    let known = [
        "https://git-lfs.github.com/spec/v1",
        "https://hawser.github.com/spec/v1",
    ];
    if !known.contains(&version) {
        return None;
    }
    let (mut oid, mut size) = (None, None);
    for line in lines {
        if let Some(value) = line.strip_prefix("oid sha256:") {
            let is_id = value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit());
            oid = is_id.then(|| value.to_ascii_lowercase());
        } else if let Some(value) = line.strip_prefix("size ") {
            size = value.parse().ok();
        }
    }
    Some(Pointer {
        oid: oid?,
        size: size?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_is_told_from_what_looks_like_one() {
        let id = "4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393";
        let text =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{id}\nsize 12345\n");
        let found = pointer(text.as_bytes()).unwrap();
        assert_eq!((&found.oid[..], found.size), (id, 12_345));
        assert!(may_be(text.len() as u64));
        for other in [
            text.replace("spec/v1", "spec/v9"),
            text.replace("size 12345", "size many"),
            text.replace("sha256:4", "sha256:x"),
            text.replace("version ", ""),
            format!("{text}{}", "x".repeat(LONGEST)),
            String::new(),
        ] {
            assert_eq!(pointer(other.as_bytes()), None, "{other}");
        }
        let more = text.replace("oid", "ext-0-a sha256:1\noid");
        assert_eq!(pointer(more.as_bytes()), Some(found));
    }
}
