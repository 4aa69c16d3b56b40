use tokio_util::sync::CancellationToken;

use super::*;
use crate::repo::rev_list::{Depth, History, missing};
use crate::repo::test_git::git;
use crate::task::fault::Fault;

fn job() -> Job {
    Job::new(CancellationToken::new(), Fault::default())
}

/// A repository of `count` commits, each with one more file of 64 KiB, and what `gather` gets of
/// it.
fn packed<T>(count: usize, work: impl FnOnce(&Repository, &[(Oid, Oid)]) -> T) -> T {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    for n in 0..count {
        // Of one another they are deltas, by themselves they do not get smaller.
        let mut noise = (1u32..).scan(1u32, |state, _| {
            *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            Some((*state >> 24) as u8)
        });
        let mut content: Vec<u8> = noise.by_ref().take(64 << 10).collect();
        content[n] ^= 1;
        fs::write(dir.path().join("file"), &content).unwrap();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-q", "-m", "c"]);
    }
    let tip = Oid::from_str(&git(dir.path(), &["rev-parse", "HEAD"])).unwrap();
    let repo = borrow(
        &dir.path().join("borrowed"),
        &dir.path().join(".git/objects"),
    )
    .unwrap();
    let history = || History {
        odb: repo.odb().unwrap(),
        shallow: HashSet::new(),
    };
    let found = missing(&history(), &history(), &[], &[tip], Depth::AsItIs, &job()).unwrap();
    work(&repo, &found.commits)
}

fn sent(count: usize, max_bytes: u64) -> (Result<()>, usize) {
    packed(count, |repo, commits| {
        let (job, (sink, mut chunks)) = (job(), mpsc::channel(1 << 10));
        let mut pack = gather(repo, commits, |_, _| false, &job).unwrap();
        assert_eq!(pack.object_count(), 3 * count);
        let done = send(&mut pack, max_bytes, &sink, &job);
        drop(sink);
        let mut bytes = 0;
        while let Ok(chunk) = chunks.try_recv() {
            bytes += chunk.len();
        }
        (done, bytes)
    })
}

#[test]
fn versions_are_deltas_where_there_are_many() {
    let (done, bytes) = sent(NO_DELTAS + 1, u64::MAX);
    done.unwrap();
    assert!((64 << 10..90 << 10).contains(&bytes), "{bytes}");
    let (done, bytes) = sent(3, u64::MAX);
    done.unwrap();
    assert!(bytes > 3 * (64 << 10), "{bytes}");
}

#[test]
fn a_pack_ends_at_its_limit() {
    let (done, bytes) = sent(3, 100 << 10);
    assert_eq!(done.unwrap_err().kind, Kind::TooLarge);
    assert!(bytes <= 100 << 10, "{bytes}");
}

#[test]
fn a_pack_ends_with_whom_it_is_for() {
    packed(1, |repo, commits| {
        let (job, (sink, chunks)) = (job(), mpsc::channel(1));
        let mut pack = gather(repo, commits, |_, _| false, &job).unwrap();
        drop(chunks);
        assert_eq!(
            send(&mut pack, u64::MAX, &sink, &job).unwrap_err().kind,
            Kind::Cancelled
        );
        job.token().cancel();
        let (sink, _chunks) = mpsc::channel(1 << 10);
        let mut pack = gather(repo, &commits[..0], |_, _| false, &job).unwrap();
        assert_eq!(
            send(&mut pack, u64::MAX, &sink, &job).unwrap_err().kind,
            Kind::Cancelled
        );
        assert_eq!(
            gather(repo, commits, |_, _| false, &job)
                .err()
                .unwrap()
                .kind,
            Kind::Cancelled
        );
    });
}
