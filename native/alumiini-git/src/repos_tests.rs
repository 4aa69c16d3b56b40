use super::*;

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fault::Fault;

fn key(branch: &str) -> SyncKey {
    let remote = RemoteRequest {
        tls: Default::default(),
        proxy: None,
        no_proxy: None,
        url: b"/remote".to_vec(),
        auth: None,
        allow_insecure: false,
    };
    SyncKey {
        remote,
        branch: Branch::new(branch),
        depth: 1,
        force: false,
        bare: false,
    }
}

fn job() -> Arc<Job> {
    Arc::new(Job::new(CancellationToken::new(), Fault::default()))
}

fn done(sha: &str) -> Result<Synced> {
    Ok(Synced {
        sha: sha.into(),
        stats: Stats::default(),
    })
}

fn repo() -> Arc<Repo> {
    Repos::default().at(Path::new("/no/such/place"), None).unwrap()
}

#[tokio::test]
async fn identical_syncs_share_one_that_has_not_begun_and_no_other() {
    let repo = repo();
    let started = AtomicUsize::new(0);
    let first = Mutex::new(None);
    let start = |shared: Arc<Shared>| {
        started.fetch_add(1, Ordering::SeqCst);
        lock(&first).get_or_insert(shared);
    };
    let (a, b) = (job(), job());
    let both = async { tokio::join!(repo.sync(key("main"), &a, start), repo.sync(key("main"), &b, start)) };
    let end = async {
        tokio::task::yield_now().await;
        let shared = lock(&first).take().unwrap();
        repo.begin(&key("main"), &shared);
        // It has begun: this one is on its own. So is one of another branch.
        let late = Mutex::new(Vec::new());
        let (c, d) = (job(), job());
        let alone = async {
            tokio::join!(
                repo.sync(key("main"), &c, |shared| lock(&late).push(shared)),
                repo.sync(key("other"), &d, |shared| lock(&late).push(shared)),
            )
        };
        let finish = async {
            tokio::task::yield_now().await;
            let late = std::mem::take(&mut *lock(&late));
            assert_eq!(late.len(), 2);
            shared.finish(done("first"));
            late.iter().for_each(|shared| shared.finish(done("late")));
        };
        let ((c, d), ()) = tokio::join!(alone, finish);
        assert_eq!((c, d), (done("late"), done("late")));
    };
    let ((a, b), ()) = tokio::join!(both, end);
    assert_eq!((a, b), (done("first"), done("first")));
    assert_eq!(started.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_shared_sync_is_cancelled_when_its_last_member_has_gone_and_not_before() {
    let repo = repo();
    let shared = Mutex::new(None);
    let (a, b) = (job(), job());
    let mut first = Box::pin(repo.sync(key("main"), &a, |new| *lock(&shared) = Some(new)));
    let mut second = Box::pin(repo.sync(key("main"), &b, |_| unreachable!()));
    assert!(futures_util::poll!(&mut first).is_pending());
    assert!(futures_util::poll!(&mut second).is_pending());
    let shared = lock(&shared).take().unwrap();
    drop(first);
    assert!(!shared.job.is_cancelled());
    drop(second);
    assert!(shared.job.is_cancelled());
    // And nobody can join what was cancelled.
    let fresh = AtomicUsize::new(0);
    let c = job();
    let mut third = Box::pin(repo.sync(key("main"), &c, |_| _ = fresh.fetch_add(1, Ordering::SeqCst)));
    assert!(futures_util::poll!(&mut third).is_pending());
    assert_eq!(fresh.load(Ordering::SeqCst), 1);
}

#[test]
fn one_place_is_one_repository_however_its_path_is_written() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(dir.path(), dir.path().join("link")).unwrap();
    let repos = Repos::default();
    let a = repos.at(&dir.path().join("app"), None).unwrap();
    let b = repos.at(&dir.path().join("link/./app"), None).unwrap();
    assert!(Arc::ptr_eq(&a, &b));
    std::fs::create_dir(dir.path().join("app")).unwrap();
    assert!(Arc::ptr_eq(&a, &repos.at(&dir.path().join("link/app"), None).unwrap()));
}

#[test]
fn repositories_that_nobody_uses_are_forgotten() {
    let repos = Repos::default();
    for n in 0..10_000 {
        repos.at(Path::new(&format!("/no/such/place/{n}")), None).unwrap();
    }
    assert!(lock(&repos.0).len() < 1000);
}
