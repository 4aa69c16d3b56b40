use std::os::unix::fs::symlink;

use super::*;
use crate::net::url::RemoteUrl;

fn allow(schemes: Option<&[&str]>, local: Option<Vec<PathBuf>>) -> Allow {
    let schemes = schemes.map(|schemes| {
        schemes
            .iter()
            .map(|scheme| scheme.as_bytes().to_vec())
            .collect()
    });
    Allow::new(schemes, local, Addresses::default(), None).unwrap()
}

fn takes(allow: &Allow, url: &str) -> bool {
    let url = RemoteUrl::parse(url.as_bytes()).unwrap();
    match allow.check(url.scheme(), &url.redacted()) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error.kind, Kind::Unsupported);
            assert!(error.to_string().contains("option :"), "{error}");
            false
        }
    }
}

#[test]
fn schemes_are_those_that_are_named_and_all_where_none_is() {
    let urls = [
        "https://h/r",
        "http://h/r",
        "ssh://git@h/r",
        "git@h:r",
        "file:///r",
        "/r",
    ];
    let which = |allow: &Allow| urls.map(|url| takes(allow, url));
    assert_eq!(which(&Allow::default()), [true; 6]);
    let secure = allow(Some(&["https", "ssh"]), None);
    assert_eq!(which(&secure), [true, false, true, true, false, false]);
    assert_eq!(
        which(&allow(Some(&["file"]), None)),
        [false, false, false, false, true, true]
    );
    // A directory is a rule of its own.
    let one = allow(Some(&["https"]), Some(vec!["/srv".into()]));
    assert_eq!(which(&one), [true, false, false, false, true, true]);
    assert_eq!(
        which(&allow(None, Some(vec![]))),
        [true, true, true, true, false, false]
    );
    assert_eq!(
        Allow::new(
            Some(vec![b"git".to_vec()]),
            None,
            Addresses::default(),
            None
        )
        .unwrap_err()
        .kind,
        Kind::Invalid
    );
}

#[test]
fn a_repository_is_read_below_the_directories_that_are_named_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    for dir in [
        "tenants/one.git/objects/pack",
        "other/two.git/objects/pack",
        "tenants-too/three.git",
    ] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    symlink(root.join("other/two.git"), root.join("tenants/link.git")).unwrap();
    symlink(root.join("tenants"), root.join("by-link")).unwrap();
    let allow = allow(None, Some(vec![root.join("by-link")]));
    let reads = |path: &str| {
        allow
            .local(&root.join(path), "it")
            .map_err(|error| error.kind)
    };
    assert_eq!(reads("tenants/one.git"), Ok(root.join("tenants/one.git")));
    assert_eq!(reads("by-link/one.git"), Ok(root.join("tenants/one.git")));
    for path in [
        "other/two.git",
        "tenants/link.git",
        "tenants/../other/two.git",
        "tenants-too/three.git",
        "gone",
    ] {
        assert_eq!(reads(path), Err(Kind::Unsupported), "{path}");
    }

    // Nor what an allowed one leads to.
    let one = root.join("tenants/one.git");
    let parts = || allow.parts(&[&one], "it").map_err(|error| error.kind);
    assert_eq!(parts(), Ok(()));
    fs::create_dir_all(one.join("objects/info")).unwrap();
    let alternates = one.join("objects/info/alternates");
    for line in [
        root.join("other/two.git/objects"),
        PathBuf::from("../../../other/two.git/objects"),
    ] {
        fs::write(&alternates, format!("{}\n", line.display())).unwrap();
        assert_eq!(parts(), Err(Kind::Unsupported), "{}", line.display());
    }
    // From itself, which has to end.
    fs::write(&alternates, ".\n").unwrap();
    assert_eq!(parts(), Ok(()));
    fs::remove_file(&alternates).unwrap();
    fs::remove_dir(one.join("objects/pack")).unwrap();
    symlink(
        root.join("other/two.git/objects/pack"),
        one.join("objects/pack"),
    )
    .unwrap();
    assert_eq!(parts(), Err(Kind::Unsupported));
}

#[test]
fn where_nothing_is_said_a_repository_of_the_users_own_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let real = dir.path().canonicalize().unwrap();
    assert_eq!(Allow::default().local(dir.path(), "it").unwrap(), real);
    Allow::default().parts(&[dir.path()], "it").unwrap();
    let of_root = Allow::default()
        .local(Path::new("/"), "it")
        .map_err(|error| error.kind);
    let is_root = rustix::process::geteuid().is_root();
    assert_eq!(of_root.is_ok(), is_root);
}

#[test]
fn repositories_that_borrow_without_end_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let chain = |length: usize| {
        let at = |n: usize| root.join(format!("{length}-{n}"));
        for n in 0..length {
            fs::create_dir_all(at(n).join("objects/info")).unwrap();
            let next = format!("{}\n", at(n + 1).join("objects").display());
            fs::write(at(n).join("objects/info/alternates"), next).unwrap();
        }
        fs::create_dir_all(at(length).join("objects")).unwrap();
        allow(None, Some(vec![root.clone()])).parts(&[&at(0)], "r")
    };
    chain(MAX_ALTERNATES - 1).unwrap();
    assert_eq!(
        chain(MAX_ALTERNATES + 1).unwrap_err().kind,
        Kind::Unsupported
    );
}
