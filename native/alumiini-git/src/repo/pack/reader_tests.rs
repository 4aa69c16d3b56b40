use std::io::Write;
use std::process::{Command, Stdio};

use git2::Repository;

use super::*;
use crate::repo::test_git::git;

fn reader(git_dir: &Path) -> PackReader {
    PackReader::new(Arc::new(Packs::open(git_dir)))
}

/// A repository with a pack of files of many versions, and the ids of all its files.
fn repository(dir: &Path, repack: &[&str]) -> Vec<Oid> {
    git(dir, &["init", "-q"]);
    for n in 0..30 {
        let lines = (0..400).map(|line| format!("line {line}: {}\n", (line * 7) % (n + 3)));
        std::fs::write(dir.join("text"), lines.collect::<String>()).unwrap();
        std::fs::write(dir.join(format!("empty-{n}")), "").unwrap();
        std::fs::write(dir.join("big"), vec![n as u8; 40_000 + n]).unwrap();
        git(dir, &["add", "-A"]);
        git(dir, &["commit", "-q", "-m", &n.to_string()]);
    }
    git(dir, repack);
    let listed = git(dir, &["rev-list", "--objects", "--all"]);
    let ids = listed
        .lines()
        .map(|line| Oid::from_str(&line[..40]).unwrap());
    let repo = Repository::open(dir).unwrap();
    let odb = repo.odb().unwrap();
    ids.filter(|id| odb.read_header(*id).unwrap().1 == ObjectType::Blob)
        .collect()
}

#[test]
fn what_is_read_is_what_libgit2_reads() {
    for repack in [
        &["repack", "-a", "-d", "-f", "-q"][..],
        &[
            "-c",
            "repack.useDeltaBaseOffset=false",
            "repack",
            "-a",
            "-d",
            "-f",
            "-q",
        ],
        &["-c", "pack.compression=0", "repack", "-a", "-d", "-f", "-q"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let ids = repository(dir.path(), repack);
        let repo = Repository::open(dir.path()).unwrap();
        let odb = repo.odb().unwrap();
        let mut reader = reader(repo.path());
        let mut sizes = 0;
        for id in &ids {
            let expected = odb.read(*id).unwrap();
            let read = reader.content(*id, 1 << 20);
            assert_eq!(read.as_deref(), Some(expected.data()), "{id} {repack:?}");
            if let Some(size) = reader.size(*id) {
                assert_eq!(size, expected.data().len() as u64);
                sizes += 1;
            }
        }
        assert!(
            (1..ids.len()).contains(&sizes),
            "some are deltas: {sizes} of {}",
            ids.len()
        );
    }
}

#[test]
fn what_is_not_a_file_or_too_large_or_not_there_is_left_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let ids = repository(dir.path(), &["repack", "-a", "-d", "-q"]);
    let repo = Repository::open(dir.path()).unwrap();
    let mut reader = reader(repo.path());
    let head = repo.revparse_single("HEAD").unwrap().id();
    assert_eq!(reader.content(head, 1 << 20), None);
    assert_eq!(reader.size(head), None);
    assert_eq!(reader.content(Oid::ZERO_SHA1, 1 << 20), None);
    let large = ids
        .iter()
        .filter(|id| reader.content(**id, 30_000).is_none());
    assert_eq!(large.count(), 30);
}

/// Whatever is in the files, nothing is read that is not as it was, and nothing panics.
#[test]
fn damage_is_not_taken_for_content() {
    let dir = tempfile::tempdir().unwrap();
    let ids = repository(dir.path(), &["repack", "-a", "-d", "-q"]);
    let repo = Repository::open(dir.path()).unwrap();
    let packs = repo.path().join("objects/pack");
    let files: Vec<_> = fs::read_dir(packs)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    let odb = repo.odb().unwrap();
    let expected: Vec<_> = ids
        .iter()
        .map(|id| odb.read(*id).unwrap().data().to_vec())
        .collect();
    let mut lost = 0;
    for file in files.iter().filter(|file| {
        let extension = file.extension().unwrap();
        extension == "idx" || extension == "pack"
    }) {
        let whole = fs::read(file).unwrap();
        let mut permissions = fs::metadata(file).unwrap().permissions();
        #[allow(clippy::permissions_set_readonly_false, reason = "a file of this test")]
        permissions.set_readonly(false);
        fs::set_permissions(file, permissions).unwrap();
        // The ids of an index decide what is found; all else shows.
        let count =
            |bytes: &[u8]| u32::from_be_bytes(bytes[8 + 1020..8 + 1024].try_into().unwrap());
        let ids_end = match file.extension().unwrap() == "idx" {
            true => 8 + 1024 + 20 * count(&whole) as usize,
            false => 0,
        };
        for n in 0..200 {
            let mut bytes = whole.clone();
            let at = ids_end + n * 7_919 % (bytes.len() - ids_end);
            bytes[at] ^= 1 << (n % 8);
            fs::write(file, &bytes).unwrap();
            let mut reader = reader(repo.path());
            for (id, expected) in ids.iter().zip(&expected) {
                match reader.content(*id, 1 << 20) {
                    Some(read) if file.extension().unwrap() == "pack" => {
                        assert!(read == *expected, "{id}: byte {at} of {file:?}")
                    }
                    Some(_) => {}
                    None => lost += 1,
                }
            }
        }
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
        let mut reader = reader(repo.path());
        for id in &ids {
            let _ = reader.content(*id, 1 << 20);
        }
        fs::write(file, &whole).unwrap();
    }
    assert!(lost > 100, "{lost}");
}

#[test]
fn deltas_of_each_other_end() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q"]);
    // Two that are deltas of each other, which no index-pack takes: the index is made by hand.
    let ids = [[0x11; 20], [0x22; 20]];
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x02".to_vec();
    let mut offsets = Vec::new();
    for other in [1, 0] {
        offsets.push(pack.len() as u32);
        pack.push(7 << 4 | 4);
        pack.extend(ids[other]);
        let mut deflate =
            flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        deflate.write_all(&[4, 4, 0x90, 4]).unwrap();
        pack.extend(deflate.finish().unwrap());
    }
    pack.extend([0; 20]);
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..256u32 {
        let count = u32::from(first >= 0x11) + u32::from(first >= 0x22);
        index.extend(count.to_be_bytes());
    }
    index.extend(ids.concat());
    index.extend([0; 8]);
    index.extend(offsets.iter().flat_map(|offset| offset.to_be_bytes()));
    index.extend([0; 40]);
    let packs = dir.path().join(".git/objects/pack");
    fs::write(packs.join("pack-1.pack"), pack).unwrap();
    fs::write(packs.join("pack-1.idx"), index).unwrap();
    let mut reader = reader(&dir.path().join(".git"));
    assert_eq!(
        reader.content(Oid::from_bytes(&ids[0]).unwrap(), 1 << 20),
        None
    );
    // A pipe instead of a pack is not waited for.
    let pipe = packs.join("pack-2.pack");
    let made = Command::new("mkfifo")
        .arg(&pipe)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    fs::copy(packs.join("pack-1.idx"), packs.join("pack-2.idx")).unwrap();
    assert_eq!(Packs::open(&dir.path().join(".git")).0.len(), 1);
}
