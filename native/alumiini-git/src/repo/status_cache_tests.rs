use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use git2::Oid;
use tokio_util::sync::CancellationToken;

use super::{StatusCache, TICK};
use crate::error::Kind;
use crate::reference::Reference;
use crate::repo::state::State;
use crate::task::fault::Fault;
use crate::task::job::Job;

fn job() -> Job {
    Job::new(CancellationToken::new(), Fault::default())
}

/// What was just made is taken for old.
fn status_cache() -> StatusCache {
    StatusCache {
        tick: Duration::ZERO,
        ..StatusCache::new()
    }
}

fn state() -> State {
    State {
        scope: Default::default(),
        partial: false,
        head: Oid::from_str(&"ab".repeat(20)).ok(),
        ..State::default()
    }
}

/// Whether what is at `work` had to be found again, which answers `is_clean`.
fn finds(status_cache: &StatusCache, work: &Path, is_clean: bool) -> bool {
    if let Some(known) = status_cache.known(work, &Reference::branch("main"), false)
        && status_cache
            .is_still_at(work, work, &known, &job(), || unreachable!("seen"))
            .unwrap()
        && status_cache.is_as_clean(work, &known, job().token())
    {
        assert_eq!(known.state.head, state().head);
        return false;
    }
    let found = status_cache
        .find(
            work,
            work,
            &Reference::branch("main"),
            false,
            &job(),
            || Ok((state(), is_clean)),
        )
        .unwrap();
    assert_eq!((found.0.head, found.1), (state().head, is_clean));
    true
}

fn work() -> tempfile::TempDir {
    let work = tempfile::tempdir().unwrap();
    fs::create_dir_all(work.path().join("deploy/empty")).unwrap();
    fs::create_dir_all(work.path().join(".git")).unwrap();
    fs::write(work.path().join(".git/index"), "index").unwrap();
    fs::write(work.path().join("deploy/app.yaml"), "kind: A").unwrap();
    fs::write(work.path().join("deploy/other.yaml"), "kind: A").unwrap();
    symlink("app.yaml", work.path().join("deploy/link.yaml")).unwrap();
    // More than one tick of the file system's clock.
    std::thread::sleep(Duration::from_millis(50));
    work
}

#[test]
fn finds_once_and_then_not_while_nothing_is_touched() {
    let (status_cache, work) = (status_cache(), work());
    assert!(finds(&status_cache, work.path(), true));
    assert!(!finds(&status_cache, work.path(), true));
    assert!(!finds(&status_cache, work.path(), true));
}

#[test]
fn finds_again_after_any_change() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 11] = [
        ("other bytes, as many", |work| {
            fs::write(work.join("deploy/app.yaml"), "kind: B").unwrap();
        }),
        ("the mode", |work| {
            let mode = fs::Permissions::from_mode(0o755);
            fs::set_permissions(work.join("deploy/app.yaml"), mode).unwrap();
        }),
        ("a file more", |work| {
            fs::write(work.join("deploy/new.yaml"), "").unwrap();
        }),
        ("an empty directory more", |work| {
            fs::create_dir(work.join("deploy/new")).unwrap();
        }),
        ("a file less", |work| {
            fs::remove_file(work.join("deploy/app.yaml")).unwrap();
        }),
        ("an empty directory less", |work| {
            fs::remove_dir(work.join("deploy/empty")).unwrap();
        }),
        ("two names exchanged", |work| {
            let dir = work.join("deploy");
            for (from, to) in [
                ("app.yaml", "x"),
                ("other.yaml", "app.yaml"),
                ("x", "other.yaml"),
            ] {
                fs::rename(dir.join(from), dir.join(to)).unwrap();
            }
        }),
        ("a directory renamed", |work| {
            fs::rename(work.join("deploy"), work.join("deplox")).unwrap();
        }),
        ("a link that leads elsewhere", |work| {
            fs::remove_file(work.join("deploy/link.yaml")).unwrap();
            symlink("oth.yaml", work.join("deploy/link.yaml")).unwrap();
        }),
        ("the index", |work| {
            fs::write(work.join(".git/index"), "ondex").unwrap()
        }),
        ("old times on new bytes", |work| {
            let file = work.join("deploy/app.yaml");
            let before = fs::metadata(&file).unwrap().modified().unwrap();
            fs::write(&file, "kind: C").unwrap();
            fs::File::options()
                .write(true)
                .open(&file)
                .unwrap()
                .set_modified(before)
                .unwrap();
        }),
    ];
    for (what, change) in changes {
        let (status_cache, work) = (status_cache(), work());
        finds(&status_cache, work.path(), true);
        assert!(!finds(&status_cache, work.path(), true), "before {what}");
        change(work.path());
        assert!(finds(&status_cache, work.path(), false), "{what}");
        // A no is never taken for a yes.
        assert!(finds(&status_cache, work.path(), true), "after {what}");
    }
}

/// An update takes what it does not change over from the index: not from one that somebody staged
/// something in while the remote was asked.
#[test]
fn an_update_does_not_build_on_an_index_that_has_changed() {
    let (status_cache, work) = (status_cache(), work());
    finds(&status_cache, work.path(), true);
    let known = status_cache
        .known(work.path(), &Reference::branch("main"), false)
        .unwrap();
    assert!(status_cache.is_as_clean(work.path(), &known, job().token()));
    // As Git does: the same size, and the working tree stays as it is.
    fs::write(work.path().join(".git/index.lock"), "ondex").unwrap();
    fs::rename(
        work.path().join(".git/index.lock"),
        work.path().join(".git/index"),
    )
    .unwrap();
    assert!(!status_cache.is_as_clean(work.path(), &known, job().token()));
}

#[test]
fn knows_nothing_for_another_branch_and_what_is_forgotten() {
    let (status_cache, work) = (status_cache(), work());
    finds(&status_cache, work.path(), true);
    assert!(
        status_cache
            .known(work.path(), &Reference::branch("release"), false)
            .is_none()
    );
    status_cache.forget(work.path());
    assert!(
        status_cache
            .known(work.path(), &Reference::branch("main"), false)
            .is_none()
    );
}

#[test]
fn does_not_trust_what_has_just_changed() {
    let (status_cache, work) = (StatusCache::new(), work());
    assert!(TICK >= Duration::from_secs(2));
    // Within the tick of the file system's clock: of milliseconds here, but who is slow does not
    // get to see it.
    let began = Instant::now();
    fs::write(work.path().join("deploy/app.yaml"), "kind: B").unwrap();
    finds(&status_cache, work.path(), true);
    let known = status_cache.known(work.path(), &Reference::branch("main"), false);
    assert!(known.is_none() || began.elapsed() > Duration::from_millis(5));
    std::thread::sleep(Duration::from_millis(50));
    finds(&status_cache, work.path(), true);
    let is_fine = cfg!(target_os = "linux");
    assert_eq!(finds(&status_cache, work.path(), true), !is_fine);
}

#[test]
fn ends_where_nobody_waits_any_more() {
    let (status_cache, work, job) = (status_cache(), work(), job());
    job.token().cancel();
    let result = status_cache.find(
        work.path(),
        work.path(),
        &Reference::branch("main"),
        false,
        &job,
        || unreachable!("cancelled"),
    );
    assert_eq!(result.unwrap_err().kind, Kind::Cancelled);
}
