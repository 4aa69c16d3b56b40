use super::*;

fn of(text: &str) -> Patterns {
    Patterns::of(text.as_bytes()).unwrap()
}

fn lines(lines: &[&str]) -> Option<Vec<Vec<u8>>> {
    let lines = lines.iter().map(|line| line.as_bytes().to_vec());
    Some(lines.collect())
}

#[test]
fn a_cone_holds_its_directories_and_the_files_above_them() {
    let cone = of("/*\n!/*/\n/a/\n!/a/*/\n/a/b/\n");
    for inside in ["top.yaml", "a/file", "a/b/file", "a/b/c/file"] {
        assert!(cone.take(inside.as_bytes()), "{inside}");
    }
    for outside in ["b/file", "a/x/file", "a/x/b/file"] {
        assert!(!cone.take(outside.as_bytes()), "{outside}");
    }
}

#[test]
fn other_patterns_are_those_of_gitignore() {
    let patterns = of("# yaml only\n*.yaml\n!secret/*.yaml\n/docs\n");
    for inside in ["a.yaml", "deep/er/b.yaml", "docs/readme", "docs"] {
        assert!(patterns.take(inside.as_bytes()), "{inside}");
    }
    for outside in ["a.txt", "secret/a.yaml", "other/docs/readme"] {
        assert!(!patterns.take(outside.as_bytes()), "{outside}");
    }
}

/// Whether a file is selected, as a walk finds out: directory by directory.
fn selected(selection: &Selection, path: &str) -> bool {
    let dirs = path.match_indices('/').map(|(at, _)| &path[..=at]);
    dirs.into_iter().all(|dir| selection.enters(dir.as_bytes())) && selection.takes(path.as_bytes())
}

#[test]
fn what_is_ignored_goes_with_all_below_it() {
    let ignored = lines(&["/*", "!/deploy", "*.md", "secret/"]);
    let selection = Selection::new(None, ignored).unwrap();
    for inside in ["deploy/app.yaml", "deploy/base/x.yaml"] {
        assert!(selected(&selection, inside), "{inside}");
    }
    for outside in [
        "top.yaml",
        "src/x",
        "deploy/README.md",
        "deploy/secret/a.yaml",
    ] {
        assert!(!selected(&selection, outside), "{outside}");
    }
    let both = Selection::new(lines(&["*.yaml"]), lines(&["/vendor"])).unwrap();
    assert!(selected(&both, "a/b.yaml"));
    assert!(!selected(&both, "vendor/b.yaml"));
    assert!(!selected(&both, "a/b.txt"));
    assert!(selected(&Selection::default(), "anything"));
}

#[test]
fn names_are_bytes_and_patterns_are_one_line() {
    let selection = Selection::new(lines(&["*.yaml"]), None).unwrap();
    assert!(selection.takes(b"\xff.yaml"));
    for wrong in ["a\nb", "a\0b", &"a".repeat(LONGEST_PATTERN + 1)] {
        assert!(Selection::new(lines(&[wrong]), None).is_err());
    }
}

/// A matcher that tries each way would not come back.
#[test]
fn a_pattern_of_many_stars_is_no_long_work() {
    let selection = Selection::new(lines(&[&"*a".repeat(200)]), None).unwrap();
    assert!(!selection.takes(&[&[b'a'; 4_000][..], b"b"].concat()));
    let stars = "**/a/*a*/".repeat(50) + "c";
    let selection = Selection::new(lines(&[&stars]), None).unwrap();
    assert!(!selection.takes(&[&b"a/".repeat(1_000)[..], b"b"].concat()));
}
