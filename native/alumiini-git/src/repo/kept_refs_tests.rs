use super::*;
use crate::repo::test_git::git;

/// A repository of `count` commits, and their ids, the oldest first.
fn repository(count: usize) -> (tempfile::TempDir, Repository, Vec<Oid>) {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    let commits = (0..count)
        .map(|n| {
            git(
                dir.path(),
                &["commit", "-q", "--allow-empty", "-m", &n.to_string()],
            );
            Oid::from_str(&git(dir.path(), &["rev-parse", "HEAD"])).unwrap()
        })
        .collect();
    let repo = Repository::open(dir.path()).unwrap();
    (dir, repo, commits)
}

fn ids(repo: &Repository) -> Vec<Oid> {
    kept(repo).unwrap().into_iter().map(|(_, id)| id).collect()
}

#[test]
fn the_commits_before_are_kept_the_newest_first_and_no_more_than_asked_for() {
    let (dir, repo, commits) = repository(5);
    for left in &commits[..4] {
        keep(&repo, *left, 3).unwrap();
    }
    assert_eq!(ids(&repo), [commits[3], commits[2]]);
    // One that is kept already moves up.
    keep(&repo, commits[2], 3).unwrap();
    assert_eq!(ids(&repo), [commits[2], commits[3]]);
    keep(&repo, commits[4], 2).unwrap();
    assert_eq!(ids(&repo), [commits[4]]);
    keep(&repo, commits[0], 1).unwrap();
    assert_eq!(ids(&repo), []);
    assert_eq!(git(dir.path(), &["for-each-ref", "refs/alumiini"]), "");
}

#[test]
fn what_was_synced_is_noted_and_a_tag_leads_to_its_commit() {
    let (dir, repo, commits) = repository(2);
    git(
        dir.path(),
        &["tag", "-a", "-m", "one", "v1", &commits[0].to_string()],
    );
    let tag = Oid::from_str(&git(dir.path(), &["rev-parse", "v1"])).unwrap();
    assert_eq!(synced(&repo).unwrap(), None);
    set_synced(&repo, Some(tag)).unwrap();
    keep(&repo, commits[1], 2).unwrap();
    assert_eq!(synced(&repo).unwrap(), Some(tag));
    let mut held = all(&repo).unwrap();
    held.sort();
    assert_eq!(
        held,
        [
            (b"refs/alumiini/kept/0".to_vec(), commits[1], commits[1]),
            (SYNCED.to_vec(), tag, commits[0]),
        ]
    );
    set_synced(&repo, None).unwrap();
    assert_eq!(synced(&repo).unwrap(), None);
}

#[test]
fn a_lease_lasts_as_long_as_it_is_refreshed() {
    let (dir, repo, commits) = repository(2);
    for id in ["a", "b"] {
        lease(&repo, id, commits[0]).unwrap();
    }
    let file = |id: &str| dir.path().join(".git/refs/alumiini/leases").join(id);
    let held = || all(&repo).unwrap().len();
    assert_eq!(held(), 2);
    let old = SystemTime::now() - LEASE - Duration::from_secs(60);
    for id in ["a", "b"] {
        let times = fs::FileTimes::new().set_modified(old);
        fs::File::open(file(id)).unwrap().set_times(times).unwrap();
    }
    lease(&repo, "b", commits[0]).unwrap();
    drop_stale_leases(&repo).unwrap();
    assert_eq!((file("a").exists(), file("b").exists()), (false, true));
    // Packed by somebody's `git gc`, it has no file that shows how old it is.
    git(dir.path(), &["pack-refs", "--all"]);
    assert!(!file("b").exists());
    lease(&repo, "b", commits[0]).unwrap();
    assert!(file("b").exists());
    lease(&repo, "b", commits[1]).unwrap();
    assert_eq!(all(&repo).unwrap()[0].2, commits[1]);
    release(&repo, "b").unwrap();
    release(&repo, "b").unwrap();
    assert_eq!(held(), 0);
}
