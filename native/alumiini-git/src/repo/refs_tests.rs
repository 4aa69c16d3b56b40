use super::*;
use crate::repo::test_git::git;

#[test]
fn so_many_commits_are_told_to_a_server_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "-q", "-b", "main"]);
    let repo = Repository::open(dir.path()).unwrap();
    let author = git2::Signature::new("a", "a@example.com", &git2::Time::new(0, 0)).unwrap();
    let tree = repo
        .find_tree(repo.treebuilder(None).unwrap().write().unwrap())
        .unwrap();
    let mut last: Option<git2::Commit<'_>> = None;
    for n in 0..9_000 {
        let when = git2::Signature::new("a", "a@example.com", &git2::Time::new(n, 0)).unwrap();
        let parents: Vec<&git2::Commit<'_>> = last.iter().collect();
        let id = repo
            .commit(None, &author, &when, &n.to_string(), &tree, &parents)
            .unwrap();
        last = Some(repo.find_commit(id).unwrap());
    }
    let tip = last.unwrap().id();
    repo.reference("refs/heads/main", tip, true, "test")
        .unwrap();
    let haves = haves(&repo).unwrap();
    assert_eq!(haves[0], tip);
    assert_eq!(haves.len(), MAX_HAVES);
}
