//! The oracle is `git index-pack`: of the same bytes it makes the same index, or refuses them, too.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use std::time::Instant;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use proptest::prelude::*;
use sha1::{Digest, Sha1};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::repo::test_git::git;
use crate::task::fault::Fault;

/// Packs are made by hand of these.
#[derive(Debug, Clone)]
enum Part {
    Whole(ObjectType, Vec<u8>),
    /// A delta of the part at this place.
    Behind(usize, Vec<u8>),
    Of(Oid, Vec<u8>),
    /// Bytes as they are.
    Raw(Vec<u8>),
}
use Part::{Behind, Of, Raw, Whole};

fn blob(content: impl AsRef<[u8]>) -> Part {
    Whole(ObjectType::Blob, content.as_ref().to_vec())
}

fn blob_id(content: impl AsRef<[u8]>) -> Oid {
    Oid::hash_object(ObjectType::Blob, content.as_ref()).unwrap()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(bytes).unwrap();
    deflate.finish().unwrap()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A delta of something of `base` bytes: copies of so many of them from the start, each followed by
/// an insertion.
fn delta(base: usize, copies: &[usize], insertion: &[u8]) -> Vec<u8> {
    let result = copies.iter().sum::<usize>() + copies.len() * insertion.len();
    let mut bytes = [varint(base), varint(result)].concat();
    for copy in copies {
        let length = (*copy as u32).to_le_bytes();
        bytes.extend([0xf0, length[0], length[1], length[2]]);
        if !insertion.is_empty() {
            bytes.push(insertion.len() as u8);
            bytes.extend(insertion);
        }
    }
    bytes
}

fn head(kind: u8, size: usize) -> Vec<u8> {
    let mut bytes = header::write(ObjectType::Commit, size as u64);
    bytes[0] = bytes[0] & 0x8f | kind << 4;
    bytes
}

fn distance(distance: usize) -> Vec<u8> {
    let mut bytes = vec![(distance & 0x7f) as u8];
    let mut rest = distance >> 7;
    while rest > 0 {
        rest -= 1;
        bytes.insert(0, (rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    bytes
}

fn sealed(count: u32, body: &[u8]) -> Vec<u8> {
    let mut pack = [b"PACK\0\0\0\x02", &count.to_be_bytes()[..], body].concat();
    let sum = Sha1::digest(&pack);
    pack.extend(sum);
    pack
}

fn packed(parts: &[Part]) -> Vec<u8> {
    let (mut body, mut offsets) = (Vec::new(), Vec::new());
    for part in parts {
        offsets.push(body.len());
        match part {
            Whole(kind, content) => {
                body.extend(header::write(*kind, content.len() as u64));
                body.extend(deflated(content));
            }
            Behind(place, delta) => {
                let back = body.len() - offsets.get(*place).copied().unwrap_or(0);
                body.extend([head(6, delta.len()), distance(back), deflated(delta)].concat());
            }
            Of(id, delta) => {
                body.extend(
                    [
                        head(7, delta.len()),
                        id.as_bytes().to_vec(),
                        deflated(delta),
                    ]
                    .concat(),
                );
            }
            Raw(bytes) => body.extend(bytes),
        }
    }
    sealed(parts.len() as u32, &body)
}

/// A repository that packs are received in.
struct Place {
    dir: TempDir,
    git_dir: PathBuf,
    runtime: tokio::runtime::Runtime,
    turns: Turns,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "--quiet"]);
        Place {
            git_dir: dir.path().join(".git"),
            dir,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
            turns: Turns::new(4),
        }
    }

    fn receive(&self, pack: &[u8], whole: bool, piece: usize, job: &Job) -> Result<Pack> {
        let pieces: Vec<Bytes> = pack.chunks(piece).map(Bytes::copy_from_slice).collect();
        let (sender, chunks) = mpsc::channel(pieces.len().max(1));
        for piece in pieces {
            sender.try_send(piece).unwrap();
        }
        drop(sender);
        let _ = fs::remove_dir_all(incoming(&self.git_dir));
        let _inside = self.runtime.enter();
        index(
            &self.git_dir,
            chunks,
            &AtomicBool::new(whole),
            &self.turns,
            job,
        )
    }

    fn index(&self, pack: &[u8]) -> Result<Pack> {
        self.receive(pack, true, 1000, &Job::unattended())
    }

    fn kind_of_error(&self, pack: &[u8]) -> Kind {
        self.index(pack).expect_err("the pack was taken").kind
    }

    /// What `git index-pack` makes of it, the pack completed first: its index, or none.
    fn by_git(&self, pack: &[u8], stdin: bool) -> Option<Vec<u8>> {
        let at = self.dir.path().join("by-git.pack");
        for extension in ["pack", "idx", "rev"] {
            let _ = fs::remove_file(at.with_extension(extension));
        }
        let mut command = Command::new("git");
        command
            .arg("-C")
            .arg(self.dir.path())
            .args(["index-pack", "--no-rev-index"]);
        if stdin {
            command.args(["--stdin", "--fix-thin"]);
        } else {
            fs::write(&at, pack).unwrap();
        }
        let mut child = command
            .arg(&at)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It may end before it has read all.
        let _ = child
            .stdin
            .take()
            .unwrap()
            .write_all(if stdin { pack } else { b"" });
        child
            .wait()
            .unwrap()
            .success()
            .then(|| fs::read(at.with_extension("idx")).unwrap())
    }

    /// What an index lists, in a fixed order.
    fn listed(&self, index: &[u8]) -> Vec<String> {
        let mut child = Command::new("git")
            .arg("show-index")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .current_dir(self.dir.path())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(index).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let mut lines: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    /// Takes the pack and holds its index against Git's.
    fn same_as_git(&self, pack: &[u8]) -> Pack {
        let ours = self.index(pack).unwrap();
        let name = incoming(&self.git_dir).join(ours.name.as_ref().unwrap());
        let there = fs::read(name.with_extension("pack")).unwrap();
        assert_eq!(there, pack, "the pack was changed");
        let index = fs::read(name.with_extension("idx")).unwrap();
        let by_git = self.by_git(pack, false).expect("Git refuses the pack");
        // Only Git knows in which order it has the places of one object.
        assert!(
            index == by_git || self.listed(&index) == self.listed(&by_git),
            "the index is not Git's"
        );
        ours
    }

    /// Moves what was received among the objects, and asks Git about it.
    fn install(&self, pack: &Pack) {
        for extension in ["pack", "idx"] {
            let name = Path::new(pack.name.as_ref().unwrap()).with_extension(extension);
            let from = incoming(&self.git_dir).join(&name);
            fs::rename(from, self.git_dir.join("objects/pack").join(&name)).unwrap();
        }
        git(self.dir.path(), &["fsck", "--strict"]);
    }
}

/// Packs what `revs` name of the repository at `dir`.
fn pack_objects(dir: &Path, options: &[&str], revs: &str) -> Vec<u8> {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["pack-objects", "--quiet", "--revs", "--stdout"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(revs.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}

/// A repository with a history of versions of some files.
fn history(commits: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet", "--initial-branch=main"]);
    let mut stream = String::new();
    for commit in 1..=commits {
        let message = format!("commit {commit}");
        let _ = write!(
            stream,
            "commit refs/heads/main\ncommitter A <a@example.com> {commit} +0000\ndata \
             {}\n{message}\n",
            message.len()
        );
        for file in 0..3 {
            let lines: String = (0..60)
                .map(|line| {
                    format!(
                        "{file} {line} {}\n",
                        if line % 20 == commit % 20 { commit } else { 0 }
                    )
                })
                .collect();
            let _ = write!(
                stream,
                "M 644 inline d{}/f{file}\ndata {}\n{lines}\n",
                file % 2,
                lines.len()
            );
        }
    }
    let tag = "what it is";
    let _ = write!(
        stream,
        "tag v1\nfrom refs/heads/main\ntagger A <a@example.com> 1 +0000\ndata {}\n{tag}\n",
        tag.len()
    );
    let mut child = Command::new("git")
        .arg("-C")
        .arg(dir.path())
        .args(["fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stream.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    // What came without deltas is not looked at again by those who pack it, unless they are told
    // to.
    git(
        dir.path(),
        &[
            "repack",
            "-a",
            "-d",
            "-f",
            "-q",
            "--window=30",
            "--depth=40",
        ],
    );
    dir
}

#[test]
fn the_index_is_what_git_makes_of_the_same_pack() {
    let (source, place) = (history(300), Place::new());
    for options in [
        &["--delta-base-offset", "--window=50", "--depth=40"][..],
        &["--window=50", "--depth=40"],
        &["--window=0"],
    ] {
        let pack = pack_objects(source.path(), options, "main\nv1\n");
        let ours = place.same_as_git(&pack);
        assert_eq!(ours.stats.bytes, pack.len() as u64);
        let listed = git(
            source.path(),
            &["rev-list", "--objects", "--all", "--no-object-names"],
        );
        assert_eq!(ours.stats.objects as usize, listed.lines().count());
        assert!(!ours.links.is_odd);
        for (id, kind) in &ours.links.named {
            assert_eq!(ours.kind(*id), Some(*kind));
        }
        let commits: usize = git(source.path(), &["rev-list", "--count", "main"])
            .parse()
            .unwrap();
        assert_eq!(ours.links.parents.len(), commits - 1);
    }
}

#[test]
fn a_pack_may_come_in_pieces_of_any_length() {
    let (source, place) = (history(4), Place::new());
    let pack = pack_objects(source.path(), &["--delta-base-offset"], "main\nv1\n");
    let whole = place.same_as_git(&pack).name;
    for piece in [1, 2, 3, 7, 64, 4096, pack.len()] {
        let ours = place
            .receive(&pack, true, piece, &Job::unattended())
            .unwrap();
        assert_eq!(ours.name, whole, "in pieces of {piece}");
    }
}

#[test]
fn a_thin_pack_is_completed() {
    let (source, place) = (history(40), Place::new());
    let before = pack_objects(source.path(), &[], "main~20\n");
    place.install(&place.index(&before).unwrap());
    for options in [&["--thin", "--delta-base-offset"][..], &["--thin"]] {
        let thin = pack_objects(source.path(), options, "main\n^main~20\n");
        assert!(place.by_git(&thin, false).is_none(), "the pack is not thin");
        let ours = place.index(&thin).unwrap();
        let name = incoming(&place.git_dir).join(ours.name.as_ref().unwrap());
        let (pack, index) = (
            fs::read(name.with_extension("pack")).unwrap(),
            fs::read(name.with_extension("idx")).unwrap(),
        );
        assert!(place.by_git(&pack, false) == Some(index));
        assert_eq!(
            ours.kind(Oid::from_str(&git(source.path(), &["rev-parse", "main"])).unwrap()),
            Some(ObjectType::Commit)
        );
    }
    place.install(
        &place
            .index(&pack_objects(
                source.path(),
                &["--thin"],
                "main\n^main~20\n",
            ))
            .unwrap(),
    );
}

#[test]
fn chains_of_a_thin_pack_may_come_in_any_order() {
    let place = Place::new();
    fs::write(place.dir.path().join("base"), "base").unwrap();
    git(place.dir.path(), &["hash-object", "-w", "base"]);
    let grown = |times: usize| format!("base{}", "+".repeat(times)).into_bytes();
    // Each is a delta of the next, the last of what the repository has.
    let parts: Vec<Part> = (1..=50)
        .rev()
        .map(|times| {
            let base = grown(times - 1);
            Of(blob_id(&base), delta(base.len(), &[base.len()], b"+"))
        })
        .collect();
    let ours = place.index(&packed(&parts)).unwrap();
    for times in 0..=50 {
        assert_eq!(
            ours.kind(blob_id(grown(times))),
            Some(ObjectType::Blob),
            "{times}"
        );
    }
    place.install(&ours);
    assert_eq!(
        git(
            place.dir.path(),
            &["cat-file", "blob", &blob_id(grown(50)).to_string()]
        ),
        String::from_utf8(grown(50)).unwrap()
    );
}

#[test]
fn what_is_in_the_repository_does_not_close_a_circle() {
    let place = Place::new();
    fs::write(place.dir.path().join("base"), "base").unwrap();
    git(place.dir.path(), &["hash-object", "-w", "base"]);
    let pack = packed(&[
        Of(blob_id("base"), delta(4, &[4], b"x")),
        Of(blob_id("basex"), [&[5, 4][..], &[0x90, 4]].concat()),
    ]);
    assert_eq!(place.kind_of_error(&pack), Kind::Corrupt);
}

#[test]
fn an_object_that_comes_twice_is_taken_as_git_takes_it() {
    let place = Place::new();
    let long = vec![b'x'; 1000];
    let twice = delta(1000, &[1000], b"y");
    for parts in [
        vec![blob("a"), blob("a")],
        // Two deltas that make one object.
        vec![
            blob(&long),
            Behind(0, twice.clone()),
            Behind(0, twice.clone()),
        ],
        // Whole, and as a delta.
        vec![
            blob(&long),
            blob([&long[..], b"y"].concat()),
            Behind(0, twice.clone()),
        ],
        // And that is what another is a delta of.
        vec![
            blob(&long),
            Behind(0, twice.clone()),
            Behind(0, twice.clone()),
            Behind(1, delta(1001, &[1001], b"z")),
        ],
    ] {
        let ours = place.same_as_git(&packed(&parts));
        place.install(&ours);
        let repo = git2::Repository::open(&place.git_dir).unwrap();
        for (id, _) in &ours.objects {
            repo.odb().unwrap().read(*id).unwrap();
        }
        fs::remove_dir_all(place.git_dir.join("objects/pack")).unwrap();
        fs::create_dir(place.git_dir.join("objects/pack")).unwrap();
    }
}

/// Hostile packs, and what they are refused with.
fn hostile() -> Vec<(&'static str, Kind, Vec<u8>)> {
    let some = blob_id("some");
    let of_itself = delta(4, &[4], b"");
    let (one, other) = (delta(5, &[4], b""), delta(4, &[4], b"x"));
    let backwards = |count: usize| -> Vec<Part> {
        let grown = |times: usize| [&b"0123456789"[..], &times.to_be_bytes()].concat();
        let step = |times: usize| {
            let mut bytes = [varint(18), varint(18), vec![0x90, 10, 8]].concat();
            bytes.extend(times.to_be_bytes());
            bytes
        };
        (1..=count)
            .rev()
            .map(|times| Of(blob_id(grown(times - 1)), step(times)))
            .collect()
    };
    let mib = vec![0; 1 << 20];
    let copies = [
        varint(1 << 20),
        varint(1500 << 20),
        [0xf0, 0, 0, 0x10].repeat(1500),
    ]
    .concat();
    let lie = |size: usize, content: &[u8]| {
        Raw([
            header::write(ObjectType::Blob, size as u64),
            deflated(content),
        ]
        .concat())
    };
    vec![
        (
            "a delta of itself",
            Kind::Corrupt,
            packed(&[Of(some, of_itself.clone())]),
        ),
        (
            "a delta of no distance",
            Kind::Corrupt,
            packed(&[Raw([
                head(6, of_itself.len()),
                vec![0],
                deflated(&of_itself),
            ]
            .concat())]),
        ),
        (
            "a delta of what is before the pack",
            Kind::Corrupt,
            packed(&[Raw([
                head(6, of_itself.len()),
                distance(1 << 20),
                deflated(&of_itself),
            ]
            .concat())]),
        ),
        (
            "a delta of the middle of an object",
            Kind::Corrupt,
            packed(&[
                blob("some"),
                Raw([head(6, of_itself.len()), vec![1], deflated(&of_itself)].concat()),
            ]),
        ),
        (
            "two deltas of each other",
            Kind::Corrupt,
            packed(&[Of(blob_id("somex"), one), Of(some, other)]),
        ),
        (
            "a base that is missing",
            Kind::Corrupt,
            packed(&[blob("else"), Of(some, of_itself.clone())]),
        ),
        (
            "deltas backwards, of nothing",
            Kind::Corrupt,
            packed(&backwards(16_000)),
        ),
        (
            "1,500 copies of one MiB",
            Kind::TooLarge,
            packed(&[blob(&mib), Behind(0, copies.clone())]),
        ),
        (
            "and of what comes later",
            Kind::TooLarge,
            packed(&[Of(blob_id(&mib), copies), blob(&mib)]),
        ),
        (
            "less than it says",
            Kind::Corrupt,
            packed(&[lie(5, b"some")]),
        ),
        (
            "more than it says",
            Kind::Corrupt,
            packed(&[lie(3, b"some")]),
        ),
        (
            "far more than it says",
            Kind::Corrupt,
            packed(&[lie(3, &mib)]),
        ),
        (
            "petabytes, it says",
            Kind::TooLarge,
            packed(&[lie(1 << 50, b"some")]),
        ),
        (
            "a delta of another size",
            Kind::Corrupt,
            packed(&[blob("some"), Behind(0, delta(5, &[4], b""))]),
        ),
        (
            "a delta that copies what is not there",
            Kind::Corrupt,
            packed(&[blob("some"), Behind(0, [&[4, 5][..], &[0x90, 5]].concat())]),
        ),
        (
            "a delta of nothing at all",
            Kind::Corrupt,
            packed(&[blob("some"), Behind(0, vec![])]),
        ),
        (
            "an object of no kind",
            Kind::Corrupt,
            packed(&[Raw([head(5, 4), deflated(b"some")].concat())]),
        ),
        (
            "no deflated bytes",
            Kind::Corrupt,
            packed(&[Raw(
                [header::write(ObjectType::Blob, 4), vec![7; 100]].concat()
            )]),
        ),
        (
            "more objects than it has",
            Kind::Corrupt,
            sealed(2, &packed(&[blob("some")])[12..][..13]),
        ),
        ("fewer objects than it has", Kind::Corrupt, {
            let both = packed(&[blob("some"), blob("else")]);
            sealed(1, &both[12..both.len() - 20])
        }),
        ("billions of objects", Kind::TooLarge, sealed(u32::MAX, b"")),
        ("another version", Kind::Corrupt, {
            let mut pack = packed(&[blob("some")]);
            pack[7] = 4;
            pack
        }),
        (
            "no pack",
            Kind::Corrupt,
            b"<html>not what you think</html>".to_vec(),
        ),
    ]
}

#[test]
fn hostile_packs_are_refused_at_once() {
    let place = Place::new();
    for (what, kind, pack) in hostile() {
        let began = Instant::now();
        assert_eq!(place.kind_of_error(&pack), kind, "{what}");
        assert!(
            began.elapsed().as_secs() < 5,
            "{what}: {:?}",
            began.elapsed()
        );
        // Git has no limits.
        let by_git = kind == Kind::Corrupt && place.by_git(&pack, false).is_some();
        assert!(!by_git, "Git takes it: {what}");
    }
}

#[test]
fn what_only_looks_hostile_is_taken() {
    let place = Place::new();
    // 16,000 deltas, each of the next one, and the last of a whole one that comes last of all.
    let grown = |times: usize| [&b"0123456789"[..], &times.to_be_bytes()].concat();
    let mut parts: Vec<Part> = (1..=16_000)
        .rev()
        .map(|times: usize| {
            let mut step = [varint(18), varint(18), vec![0x90, 10, 8]].concat();
            step.extend(times.to_be_bytes());
            Of(blob_id(grown(times - 1)), step)
        })
        .collect();
    parts.push(blob(grown(0)));
    place.same_as_git(&packed(&parts));
    place.same_as_git(&packed(&[Raw([vec![0xb3, 0], deflated(b"abc")].concat())]));
    // Of nothing.
    place.same_as_git(&packed(&[
        blob(""),
        Behind(0, [&[0, 2][..], b"\x02ab"].concat()),
        blob("a"),
    ]));
}

#[test]
fn objects_that_deltas_wait_for_take_bounded_memory() {
    let place = Place::new();
    // A comb: each version has two that are deltas of it, one of which goes on. All of them at once
    // would take 60 times one.
    let size = MAX_FILE / 8;
    let mut parts = vec![blob(vec![0; size])];
    let step = |byte: u8| {
        let mut bytes = [varint(size), varint(size)].concat();
        let mut left = size - 1;
        while left > 0 {
            let copy = left.min(0xff_ffff);
            bytes.push(0xf0);
            bytes.extend(&(copy as u32).to_le_bytes()[..3]);
            left -= copy;
        }
        bytes.extend([1, byte]);
        bytes
    };
    let mut spine = 0;
    for byte in 1..=30 {
        parts.push(Behind(spine, step(byte)));
        let next = parts.len() - 1;
        parts.push(Behind(spine, step(byte + 100)));
        parts.push(Behind(next, step(byte + 200 - 100)));
        spine = next;
    }
    let pack = packed(&parts);
    assert!(pack.len() < size / 50);
    place.index(&pack).unwrap();
}

#[test]
fn a_pack_that_is_cut_off_anywhere_is_refused() {
    let (source, place) = (history(3), Place::new());
    let pack = pack_objects(source.path(), &["--delta-base-offset"], "main\nv1\n");
    for length in 0..pack.len() {
        let cut = |whole| {
            place
                .receive(&pack[..length], whole, 512, &Job::unattended())
                .map(drop)
                .unwrap_err()
        };
        assert_eq!(
            cut(false).kind,
            Kind::Network,
            "{length} bytes of {}",
            pack.len()
        );
        // The server says that this was all.
        assert_eq!(
            cut(true).kind,
            Kind::Corrupt,
            "{length} bytes of {}",
            pack.len()
        );
    }
    assert_eq!(
        place
            .receive(&pack, false, 512, &Job::unattended())
            .unwrap_err()
            .kind,
        Kind::Network
    );
}

#[test]
fn a_cancel_reaches_each_phase() {
    let (source, place) = (history(100), Place::new());
    let pack = pack_objects(source.path(), &["--delta-base-offset"], "main\nv1\n");
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let job = Job::new(cancelled, Fault::default());
    assert_eq!(
        place.receive(&pack, true, 512, &job).unwrap_err().kind,
        Kind::Cancelled
    );

    // No turn is free: the second pass waits for one.
    let busy = Place {
        turns: Turns::new(1),
        ..Place::new()
    };
    let taken = busy.turns.threads.try_take();
    let token = CancellationToken::new();
    let job = Job::new(token.clone(), Fault::default());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| busy.receive(&pack, true, pack.len(), &job).map(drop));
        while !incoming(&busy.git_dir).join("draft.pack").exists() {
            std::thread::yield_now();
        }
        token.cancel();
        assert_eq!(waiting.join().unwrap().unwrap_err().kind, Kind::Cancelled);
    });
    drop(taken);
    busy.index(&pack).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever is changed in a pack whose checksum is right: it is refused, or it is what Git
    /// makes of it.
    #[test]
    fn what_is_taken_is_as_git_takes_it(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        thread_local! {
            static HELD: (Place, Vec<u8>) = {
                let id = blob_id("some bytes");
                let parts = [
                    blob("some bytes"),
                    Behind(0, delta(10, &[4, 5], b"x")),
                    Of(id, delta(10, &[10], b"y")),
                    Whole(ObjectType::Tree, [&b"100644 a\0"[..], id.as_bytes()].concat()),
                ];
                (Place::new(), packed(&parts))
            };
        }
        HELD.with(|(place, pack)| {
            let mut body = pack[..pack.len() - 20].to_vec();
            for (at, byte) in &changes {
                let at = at.index(body.len());
                body[at] ^= byte;
            }
            let sum = Sha1::digest(&body);
            body.extend(sum);
            if place.index(&body).is_ok() {
                place.same_as_git(&body);
            }
        });
    }

    #[test]
    fn noise_is_refused(noise in prop::collection::vec(any::<u8>(), 0..300), count in 0u32..5) {
        thread_local!(static PLACE: Place = Place::new());
        PLACE.with(|place| {
            prop_assert!(place.index(&noise).is_err());
            if count > 0 {
                let pack = sealed(count, &noise);
                prop_assert!(place.index(&pack).is_err() || place.by_git(&pack, false).is_some());
            }
            Ok(())
        })?;
    }
}

#[test]
fn an_empty_pack_is_none() {
    let place = Place::new();
    let ours = place.index(&sealed(0, b"")).unwrap();
    assert_eq!((ours.name, ours.stats.objects), (None, 0));
}

#[test]
fn a_pack_says_how_many_objects_it_has_and_may_have_so_many() {
    let place = Place::new();
    let pack = |count: u32| sealed(count, b"");
    assert_eq!(place.kind_of_error(&pack(MAX_OBJECTS + 1)), Kind::TooLarge);
    assert_eq!(place.kind_of_error(&pack(u32::MAX)), Kind::TooLarge);
    assert_ne!(place.kind_of_error(&pack(MAX_OBJECTS)), Kind::TooLarge);
}
