//! The house keeps its order: no module needs one that needs it, and no crate knows what it must not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syncyte_tests::workspace_root;

/// A crate: where it lies, and crates that it must not depend on.
const CRATES: [(&str, &[&str]); 7] = [
    ("sharding", &["tch", "torch-sys", "mpi", "cudarc", "syncyte-trainer", "syncyte-fabric", "syncyte-evaluation"]),
    ("kernels", &["tch", "torch-sys", "mpi", "hdf5", "zarrs", "syncyte-sharding", "syncyte-trainer"]),
    ("trainer", &["clap", "syncyte-report", "syncyte-launcher"]),
    ("trainer/evaluation", &["tch", "torch-sys", "mpi", "syncyte-fabric", "syncyte-trainer", "syncyte-report"]),
    ("trainer/fabric", &["tch", "torch-sys", "syncyte-sharding", "syncyte-trainer", "syncyte-evaluation"]),
    ("trainer/report", &["tch", "torch-sys", "mpi", "syncyte-sharding", "syncyte-fabric", "syncyte-trainer"]),
    ("launcher", &["tch", "torch-sys"]),
];

/// A module by the names that lead to it; the crate itself has none.
type Module = Vec<String>;

/// The modules of a crate with their sources, tests left out: they may look at anything.
fn modules(source: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut pending = vec![source.to_owned()];
    while let Some(folder) = pending.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                pending.push(path);
            } else if let Some(module) = module(source, &path) {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
                found.insert(module, without_comments(code));
            }
        }
    }
    found
}

fn module(source: &Path, path: &Path) -> Option<Module> {
    let inside = path.strip_prefix(source).unwrap().with_extension("");
    let mut names: Module = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if path.extension().is_none_or(|extension| extension != "rs") {
        return None;
    }
    let of_tests =
        |name: &String| name.ends_with("tests") || ["fixture", "fixtures", "oracle"].contains(&name.as_str());
    if names.iter().any(of_tests) {
        return None;
    }
    if names.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
        names.pop();
    }
    Some(names)
}

fn without_comments(code: &str) -> String {
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path that a source names: those of its `use` lines, braces taken apart, and those within its code.
fn paths(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in code.split(';') {
        let begin = line.rfind("use ").filter(|&at| line[..at].ends_with(['\n', ' ', ')']) || at == 0);
        if let Some(at) = begin {
            branches("", line[at + 4..].trim(), &mut found);
        }
    }
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    for word in code.split(|letter: char| !is_path(letter)) {
        if ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)) {
            found.insert(word.to_owned());
        }
    }
    found
}

/// The branches of a `use` tree.
fn branches(stem: &str, tree: &str, found: &mut BTreeSet<String>) {
    let (mut depth, mut start) = (0, 0);
    let mut parts = Vec::new();
    for (at, letter) in tree.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[start..]);
    for part in parts.into_iter().map(str::trim).filter(|part| !part.is_empty()) {
        match part.split_once('{') {
            Some((head, rest)) => {
                branches(&format!("{stem}{head}"), rest.rsplit_once('}').map_or(rest, |(inner, _)| inner), found);
            }
            None => {
                found.insert(format!("{stem}{}", part.split(" as ").next().unwrap_or_default()));
            }
        }
    }
}

/// The module that a path in `from` leads to, where it leads to one of the crate.
fn target(from: &Module, path: &str, modules: &BTreeMap<Module, String>) -> Option<Module> {
    let mut names = path.split("::").peekable();
    let mut at = match names.peek().copied() {
        Some("crate") => {
            names.next();
            Vec::new()
        }
        Some("self") => {
            names.next();
            from.clone()
        }
        Some("super") => {
            let mut at = from.clone();
            while names.next_if(|name| *name == "super").is_some() {
                at.pop();
            }
            at
        }
        // A module of one's own may be named without `self`.
        _ => from.clone(),
    };
    let begin = at.clone();
    for name in names {
        let next: Module = at.iter().cloned().chain([name.trim().to_owned()]).collect();
        if !modules.contains_key(&next) {
            break;
        }
        at = next;
    }
    (path.starts_with("crate") || path.starts_with("super") || at != begin).then_some(at)
}

/// Who needs whom among the children of a module: edges between siblings, with an example each. What a module and its own
/// children need of each other does not count: a trait and its table stand where its members do.
fn siblings(modules: &BTreeMap<Module, String>) -> BTreeMap<Module, BTreeMap<(String, String), String>> {
    let mut needs: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
    for (from, code) in modules {
        for to in paths(code).iter().filter_map(|path| target(from, path, modules)) {
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            if shared < from.len() && shared < to.len() {
                let edge = (from[shared].clone(), to[shared].clone());
                let example = format!("{} needs {}", from.join("::"), to.join("::"));
                needs.entry(from[..shared].to_vec()).or_default().insert(edge, example);
            }
        }
    }
    needs
}

/// Members of a circle, where there is one: what is left after taking away, again and again, whoever needs nobody.
fn circle(edges: &BTreeMap<(String, String), String>) -> Vec<String> {
    let mut left: Vec<&(String, String)> = edges.keys().collect();
    loop {
        let needing: BTreeSet<&String> = left.iter().map(|(from, _)| from).collect();
        let kept: Vec<_> = left.iter().copied().filter(|(_, to)| needing.contains(to)).collect();
        if kept.len() == left.len() {
            return kept.into_iter().map(|edge| edges[edge].clone()).collect();
        }
        left = kept;
    }
}

#[test]
fn no_module_needs_one_that_needs_it() {
    let mut circles = Vec::new();
    for (name, _) in CRATES {
        let found = modules(&workspace_root().join(name).join("src"));
        let needs = siblings(&found);
        assert!(needs.values().map(BTreeMap::len).sum::<usize>() > 3, "{name}: the walk finds nothing");
        for (parent, edges) in &needs {
            let members = circle(edges);
            if !members.is_empty() {
                circles.push(format!("{name}, in {:?}: {}", parent.join("::"), members.join("; ")));
            }
        }
    }
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found_where_there_is_one() {
    let sources = [
        ("", "mod a;\nmod b;\nmod c;"),
        ("a", "use crate::b::{Thing, other::Part};"),
        ("b", "fn f() -> super::c::Number { 0 }"),
        ("c", "use super::{a::Name as Other};"),
    ];
    let names = |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Module>();
    let mut found: BTreeMap<Module, String> =
        sources.iter().map(|(path, code)| (names(path), (*code).to_owned())).collect();
    let members = circle(&siblings(&found)[&Vec::new()]);
    assert_eq!(members, ["a needs b", "b needs c", "c needs a"]);
    found.insert(names("c"), String::new());
    assert!(circle(&siblings(&found)[&Vec::new()]).is_empty());
}

#[test]
fn no_crate_knows_what_it_must_not() {
    for (name, forbidden) in CRATES {
        let path: PathBuf = workspace_root().join(name).join("Cargo.toml");
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let known = manifest["dependencies"].as_table().unwrap();
        let wrong: Vec<&&str> = forbidden.iter().filter(|dependency| known.contains_key(**dependency)).collect();
        assert!(wrong.is_empty(), "{} depends on {wrong:?}", path.display());
    }
}
