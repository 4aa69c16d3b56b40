use std::fs;

use git2::Repository;

use super::*;
use crate::repo::test_git::git;

/// A history of branches, merges and files that come and go, with dates that are not in order.
fn repository(dir: &std::path::Path) {
    git(dir, &["init", "-q", "-b", "main"]);
    let mut seed = 11u64;
    let mut below = |limit: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    for n in 0..80 {
        if n > 3 {
            let branch = format!("b{}", below(4));
            let exists = !git(dir, &["branch", "--list", &branch]).is_empty();
            match exists {
                true => git(dir, &["checkout", "-q", "-f", &branch]),
                false => git(dir, &["checkout", "-q", "-f", "-b", &branch]),
            };
        }
        let file = dir.join(["a.yaml", "d/b.yaml", "d/c.yaml"][below(3) as usize]);
        fs::create_dir_all(dir.join("d")).unwrap();
        match below(8) {
            0 => drop(fs::remove_file(&file)),
            _ => fs::write(&file, format!("{}\n", below(3))).unwrap(),
        }
        git(dir, &["add", "-A"]);
        let date = format!("{} +0000", 1_700_000_000 + below(60) * 100);
        let message = n.to_string();
        let config = [
            "-c",
            "gc.auto=0",
            "commit",
            "-q",
            "--allow-empty",
            "-m",
            &message,
        ];
        let dated = ["--date", &date];
        // The committer's date is what the order follows.
        std::process::Command::new("git")
            .arg("-C")
            .arg(dir)
            .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
            .args(config)
            .args(dated)
            .env("GIT_COMMITTER_DATE", &date)
            .status()
            .unwrap();
        if n > 10 && below(3) == 0 {
            let other = format!("b{}", below(4));
            if !git(dir, &["branch", "--list", &other]).is_empty() {
                let strategy = ["-X", "ours", "--no-edit", "-q"];
                let merge = [&["merge"], &strategy[..], &[&other]].concat();
                let merged = std::process::Command::new("git")
                    .arg("-C")
                    .arg(dir)
                    .args(["-c", "user.name=A", "-c", "user.email=a@example.com"])
                    .args(merge)
                    .output()
                    .unwrap();
                if !merged.status.success() {
                    git(dir, &["reset", "-q", "--hard"]);
                }
            }
        }
    }
}

#[test]
fn the_order_and_the_choice_are_those_of_git_log() {
    let dir = tempfile::tempdir().unwrap();
    repository(dir.path());
    let repo = Repository::open(dir.path()).unwrap();
    let odb = repo.odb().unwrap();
    let (none, job) = (HashSet::new(), Job::unattended());
    let mut counts = Vec::new();
    for branch in ["main", "b0", "b1", "b2", "b3"] {
        let from = repo.revparse_single(branch).unwrap().id();
        for path in ["", "a.yaml", "d", "d/b.yaml", "absent"] {
            let path = Some(path).filter(|path| !path.is_empty());
            let mut history = History::new(&odb, &none, path.map(str::as_bytes), &job);
            let mut ours = Vec::new();
            let walk = history.walk(from, |id, _| {
                ours.push(id.to_string());
                Ok(ControlFlow::Continue(()))
            });
            walk.unwrap();
            let mut ask = vec!["log", "--format=%H", branch];
            if let Some(path) = path {
                ask.extend(["--", path]);
            }
            let theirs = git(dir.path(), &ask);
            assert_eq!(
                ours,
                theirs.lines().collect::<Vec<_>>(),
                "{branch} {path:?}"
            );
            counts.push(ours.len());
        }
    }
    assert!(counts.iter().sum::<usize>() > 200, "{counts:?}");
}
