use std::fs;
use std::path::Path;

use git2::Repository;

use super::*;
use crate::repo::test_git::git;
use crate::repo::tree_files;

/// Numbers that look as if by chance.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn text(&mut self) -> String {
        let lines = self.below(40);
        let line = |random: &mut Random| {
            let words = (0..random.below(12)).map(|_| format!("w{}", random.below(30)));
            words.collect::<Vec<_>>().join(" ")
        };
        (0..lines)
            .map(|_| line(self) + if self.below(9) == 0 { "\r\n" } else { "\n" })
            .collect()
    }

    fn path(&mut self) -> String {
        let dirs = ["", "a/", "b/", "a/b/", "c/d/"];
        let dir = dirs[self.below(dirs.len() as u64) as usize];
        format!("{dir}f{}.yaml", self.below(12))
    }
}

/// Moves, edits, adds and removes some files of the working tree.
fn change(dir: &Path, random: &mut Random) {
    let listed = git(dir, &["ls-files"]);
    for file in listed.lines() {
        let from = dir.join(file);
        let Ok(text) = fs::read_to_string(&from) else {
            continue;
        };
        let edited = |random: &mut Random| {
            let mut lines: Vec<String> = text.lines().map(|line| format!("{line}\n")).collect();
            for _ in 0..random.below(8) {
                let at = random.below(lines.len() as u64 + 1) as usize;
                lines.insert(at, format!("new {}\n", random.below(1_000)));
                let at = random.below(lines.len() as u64) as usize;
                lines.remove(at);
            }
            lines.concat()
        };
        match random.below(6) {
            0 => fs::remove_file(&from).unwrap(),
            1 | 2 => {
                let to = dir.join(random.path());
                let text = if random.below(2) == 0 {
                    text.clone()
                } else {
                    edited(random)
                };
                fs::remove_file(&from).unwrap();
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(&to, text).unwrap();
            }
            3 => fs::write(&from, edited(random)).unwrap(),
            _ => {}
        }
    }
    for _ in 0..random.below(5) {
        let to = dir.join(random.path());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(&to, random.text()).unwrap();
    }
}

fn ours(dir: &Path, old: &str, new: &str) -> String {
    let repo = Repository::open(dir).unwrap();
    let odb = repo.odb().unwrap();
    let tree = |rev: &str| {
        repo.revparse_single(rev)
            .unwrap()
            .peel_to_tree()
            .unwrap()
            .id()
    };
    let job = Job::unattended();
    let changes = tree_files::changes(
        &odb,
        tree(old),
        tree(new),
        &job,
        usize::MAX,
        |_| true,
        |_| true,
    )
    .unwrap();
    let changed = find(&odb, changes, false, &job).unwrap();
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).unwrap();
    let line = |changed: &Changed| match (&changed.old_path, changed.old, changed.new) {
        (Some(old), ..) => format!(
            "R{:03}\t{}\t{}\n",
            changed.score.unwrap(),
            text(old),
            text(&changed.path)
        ),
        (_, None, _) => format!("A\t{}\n", text(&changed.path)),
        (_, _, None) => format!("D\t{}\n", text(&changed.path)),
        _ => format!("M\t{}\n", text(&changed.path)),
    };
    changed.iter().map(line).collect()
}

#[test]
fn renames_are_those_that_git_finds() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    git(dir, &["init", "-q"]);
    let mut random = Random(7);
    let mut renamed = 0;
    for n in 0..60 {
        change(dir, &mut random);
        git(dir, &["add", "-A"]);
        git(
            dir,
            &["commit", "-q", "--allow-empty", "-m", &n.to_string()],
        );
        for before in [1, 5] {
            if n < before {
                continue;
            }
            let old = format!("HEAD~{before}");
            let theirs = git(dir, &["diff", "--name-status", "-M", &old, "HEAD"]);
            let ours = ours(dir, &old, "HEAD");
            assert_eq!(ours.trim_end(), theirs.trim_end(), "{n} since {before}");
            renamed += ours.lines().filter(|line| line.starts_with('R')).count();
        }
    }
    assert!(renamed > 150, "{renamed}");
}

#[test]
fn a_great_many_of_one_content_are_paired_in_no_time() {
    let dir = tempfile::tempdir().unwrap();
    let repo = Repository::init(dir.path()).unwrap();
    let id = repo.blob(b"same").unwrap();
    let is = Is {
        mode: 0o100_644,
        id,
    };
    let change = |path: String, old: bool| Change {
        path: path.into_bytes(),
        old: old.then_some(is),
        new: (!old).then_some(is),
    };
    let count = 200_000;
    let old = (0..count).map(|n| change(format!("a/{n:06}"), true));
    let new = (0..count).map(|n| change(format!("b/{:06}", count - n), false));
    let changes = old.chain(new).collect();
    let odb = repo.odb().unwrap();
    let changed = find(&odb, changes, false, &Job::unattended()).unwrap();
    assert_eq!(changed.len(), count);
    let namesakes = changed
        .iter()
        .filter(|changed| name(changed.old_path.as_ref().unwrap()) == name(&changed.path));
    assert_eq!(namesakes.count(), count - 1);
}
