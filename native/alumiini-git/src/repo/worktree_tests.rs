use super::*;
use crate::repo::test_git::git;

#[test]
fn an_index_has_the_modes_that_git_makes_of_those_of_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["init", "--quiet"]);
    let repo = Repository::open(dir.path()).unwrap();
    let blob = repo.blob(b"x").unwrap();
    for mode in [
        "100644", "100664", "100755", "100700", "120000", "120777", "160000", "644", "0", "10644",
    ] {
        let mut data = format!("{mode} a\0").into_bytes();
        data.extend(blob.as_bytes());
        let file = dir.path().join("tree");
        std::fs::write(&file, &data).unwrap();
        let tree = git(
            dir.path(),
            &["hash-object", "-w", "--literally", "-t", "tree", file.to_str().unwrap()],
        );
        let mut index = Index::new().unwrap();
        read_tree(&repo, &mut index, git2::Oid::from_str(&tree).unwrap()).unwrap();
        let ours = format!("{:06o}", index.get(0).unwrap().mode);
        git(dir.path(), &["read-tree", &tree]);
        assert_eq!(ours, git(dir.path(), &["ls-files", "--stage"])[..6], "{mode}");
    }
}
