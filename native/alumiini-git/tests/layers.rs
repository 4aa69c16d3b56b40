//! The layers of ARCHITECTURE.md, held against the sources: which part imports which, and that no
//! two files import each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A file's module, such as `net::git::fetch`, and its text without comments, strings of tests and
/// inline modules of tests.
fn sources() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.clone()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module(path.strip_prefix(&root).unwrap());
                if !is_of_tests(&module) {
                    found.insert(module, code(&fs::read_to_string(&path).unwrap()));
                }
            }
        }
    }
    found
}

fn module(file: &Path) -> String {
    let path: PathBuf = file.with_extension("");
    let mut parts: Vec<&str> = path.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts.join("::")
}

fn is_of_tests(module: &str) -> bool {
    let mut parts = module.split("::");
    parts.any(|part| {
        part == "tests"
            || part.ends_with("_tests")
            || part == "fuzz"
            || part == "test_git"
            || part == "main"
    })
}

fn code(text: &str) -> String {
    let text: String = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default())
        .flat_map(|line| [line, "\n"])
        .collect();
    // A module of tests is the last thing in its file.
    let tests = text
        .find("\nmod tests {")
        .or_else(|| text.find("\npub(crate) mod memory {"));
    text[..tests.unwrap_or(text.len())].to_owned()
}

/// The modules of this crate that a file names, however it names them.
fn imports(module: &str, text: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest
        .find("crate::")
        .into_iter()
        .chain(rest.find("super::"))
        .min()
    {
        let is_word = rest[..at]
            .chars()
            .next_back()
            .is_some_and(|before| before.is_alphanumeric() || before == '_');
        let path = &rest[at..];
        if !is_word {
            for path in paths(path) {
                if let Some(target) = resolve(module, &path, modules)
                    && target != module
                {
                    found.insert(target);
                }
            }
        }
        rest = &path["crate::".len()..];
    }
    found
}

/// `a::{b::c, d}` as `a::b::c` and `a::d`.
fn paths(text: &str) -> Vec<String> {
    let end = text
        .find(|char: char| !(char.is_alphanumeric() || char == '_' || char == ':'))
        .unwrap_or(text.len());
    let head = &text[..end];
    let Some(inside) = text[end..]
        .strip_prefix('{')
        .filter(|_| head.ends_with("::"))
    else {
        return vec![head.to_owned()];
    };
    let (mut depth, mut start, mut all) = (0, 0, vec![]);
    for (at, char) in inside.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let item = inside[start..at].trim();
                if !item.is_empty() {
                    all.extend(paths(item).iter().map(|item| format!("{head}{item}")));
                }
                start = at + 1;
                if char == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    all
}

fn resolve(module: &str, path: &str, modules: &BTreeSet<String>) -> Option<String> {
    let mut parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
    let mut base: Vec<&str> = vec![];
    if parts.first() == Some(&"super") {
        base = module.split("::").collect();
        while parts.first() == Some(&"super") {
            base.pop();
            parts.remove(0);
        }
    } else {
        parts.remove(0);
    }
    base.extend(parts.into_iter().filter(|part| *part != "self"));
    while !base.is_empty() {
        let module = base.join("::");
        if modules.contains(&module) {
            return Some(module);
        }
        base.pop();
    }
    None
}

/// The table under `## Layers`: what each part may import.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ARCHITECTURE.md"))
            .unwrap();
    let section = page.split("\n## Layers\n").nth(1).unwrap();
    let names = |cell: &str| -> Vec<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let mut table: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in section
        .lines()
        .take_while(|line| !line.starts_with('#'))
        .filter(|line| line.starts_with("| `"))
    {
        let cells: Vec<&str> = row.split('|').collect();
        let may = match cells[2].trim() {
            "all of the above" => table.keys().cloned().collect(),
            cell => names(cell).into_iter().collect(),
        };
        table.insert(names(cells[1])[0].clone(), may);
    }
    table
}

fn part(module: &str) -> &str {
    module.split("::").next().unwrap()
}

#[test]
fn each_part_imports_what_its_layer_may() {
    let (sources, table) = (sources(), table());
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    assert!(
        modules.len() > 100 && table.len() > 10,
        "{} {}",
        modules.len(),
        table.len()
    );
    let parts: BTreeSet<&str> = modules.iter().map(|module| part(module)).collect();
    let documented: BTreeSet<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(
        parts, documented,
        "the parts there are, and those of the table"
    );
    let mut wrong = vec![];
    for (module, text) in &sources {
        for import in imports(module, text, &modules) {
            let (from, to) = (part(module), part(&import));
            if from != to && !table[from].contains(to) {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_two_files_import_each_other() {
    let sources = sources();
    let modules: BTreeSet<String> = sources.keys().cloned().collect();
    let mut left: BTreeMap<&str, BTreeSet<String>> = sources
        .iter()
        .map(|(module, text)| (module.as_str(), imports(module, text, &modules)))
        .collect();
    // What imports nothing that is left is in no circle.
    loop {
        let free: Vec<&str> = left
            .iter()
            .filter(|(_, to)| to.is_empty())
            .map(|(module, _)| *module)
            .collect();
        if free.is_empty() {
            break;
        }
        for module in free {
            left.remove(module);
            left.values_mut().for_each(|to| {
                to.remove(module);
            });
        }
    }
    // What leads to a circle is not in it.
    loop {
        let named: BTreeSet<String> = left.values().flatten().cloned().collect();
        let before = left.len();
        left.retain(|module, _| named.contains(*module));
        if left.len() == before {
            break;
        }
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn an_import_is_seen_however_it_is_written() {
    let modules: BTreeSet<String> = ["a", "b::c", "b", "b::d"].map(str::to_owned).into();
    let seen = |text: &str| {
        imports("b::c", text, &modules)
            .into_iter()
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(seen("use crate::a::{X, Y as Z};"), "a");
    assert_eq!(seen("use crate::{a, b::{self, d::{V, W}}};"), "a b b::d");
    assert_eq!(seen("fn f() { super::d::g(); crate::a::h() }"), "a b::d");
    assert_eq!(seen("use super::*;"), "b");
    assert_eq!(seen("use mycrate::a;"), "");
}
