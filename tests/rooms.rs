//! Which file uses which: the arrows between the modules of a crate run one way, so no two modules need each other.
//!
//! An arrow is a path in the source that leads to an item of another module of the same crate. A `pub use` is no arrow: it
//! says where an item lives, and whoever takes the item from there points to its home. Tests may look anywhere.
#![expect(
    clippy::disallowed_methods,
    reason = "paths of names are joined here, not buffers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// The crates of the library and the command line, by the folder of their source.
const CRATES: [&str; 9] = [
    "message/src",
    "os/src",
    "transports/session/src",
    "transports/zmtp/src",
    "transports/src",
    "shm/core/src",
    "shm/src",
    "src",
    "cli/src",
];

#[test]
fn no_two_modules_of_a_crate_need_each_other() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut total = 0;
    let mut circles = Vec::new();
    for folder in CRATES {
        let arrows = Crate::read(&root.join(folder)).arrows();
        let count: usize = arrows.values().map(BTreeSet::len).sum();
        let found = circle(&arrows);
        println!("{folder}: {} modules, {count} arrows", arrows.len());
        total += count;
        if !found.is_empty() {
            circles.push(format!("{folder}:\n    {}", found.join("\n    ")));
        }
    }
    assert!(
        total > 100,
        "only {total} arrows: the source was not understood"
    );
    assert!(circles.is_empty(), "circles:\n{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let arrows = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")];
    let mut graph = Graph::new();
    for (from, to) in arrows {
        graph
            .entry(from.to_owned())
            .or_default()
            .insert(to.to_owned());
    }
    assert_eq!(circle(&graph), ["b -> c", "c -> b"]);
    graph.remove("c");
    assert!(circle(&graph).is_empty());
}

/// Modules, and the modules they use.
type Graph = BTreeMap<String, BTreeSet<String>>;
type ModulePath = Vec<String>;

/// The arrows of modules that can be reached from themselves.
fn circle(arrows: &Graph) -> Vec<String> {
    let on_a_circle: BTreeSet<&String> = arrows
        .keys()
        .filter(|module| reachable(arrows, module).contains(module))
        .collect();
    let inside = on_a_circle.iter().flat_map(|from| {
        let uses = arrows[*from].iter().filter(|to| on_a_circle.contains(to));
        uses.map(move |to| format!("{from} -> {to}"))
    });
    inside.collect()
}

/// The modules that `from` uses, and those that they use, and so on.
fn reachable<'a>(arrows: &'a Graph, from: &'a String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(module) = next.pop() {
        let uses = arrows.get(module).into_iter().flatten();
        next.extend(uses.filter(|other| seen.insert(*other)));
    }
    seen
}

/// A file of a crate.
struct Module {
    /// Paths in the file, each with the module (inline modules included) it stands in.
    paths: Vec<(ModulePath, Vec<String>)>,
}

/// The modules of a crate, without its tests.
#[derive(Default)]
struct Crate {
    /// By the path of the file's module.
    files: BTreeMap<ModulePath, Module>,
    /// Every module, inline ones included, with the file's module it is written in.
    homes: BTreeMap<ModulePath, ModulePath>,
    /// What a module re-exports: (module, name) to the path that is meant.
    exports: BTreeMap<(ModulePath, String), Vec<String>>,
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut all = Self::default();
        let start = ["lib.rs", "main.rs"].map(|name| folder.join(name));
        let file = start.iter().find(|file| file.exists()).unwrap();
        all.add_file(file, folder, Vec::new());
        all
    }

    fn add_file(&mut self, file: &Path, children: &Path, module: ModulePath) {
        let text = std::fs::read_to_string(file).unwrap();
        let parsed = syn::parse_file(&text).unwrap();
        let mut paths = Vec::new();
        self.add_items(&parsed.items, children, &module, &module, &mut paths);
        self.files.insert(module, Module { paths });
    }

    fn add_items(
        &mut self,
        items: &[syn::Item],
        children: &Path,
        file: &ModulePath,
        module: &ModulePath,
        paths: &mut Vec<(ModulePath, Vec<String>)>,
    ) {
        self.homes.insert(module.clone(), file.clone());
        for item in items {
            match item {
                syn::Item::Mod(inner) if is_test(&inner.attrs) => {}
                syn::Item::Mod(inner) => {
                    let name = inner.ident.to_string();
                    let path = [module.as_slice(), std::slice::from_ref(&name)].concat();
                    match &inner.content {
                        Some((_, items)) => {
                            self.add_items(items, &children.join(&name), file, &path, paths);
                        }
                        None => {
                            let below = children.join(&name);
                            let file = source_of(children, &name);
                            self.add_file(&file, &below, path);
                        }
                    }
                }
                syn::Item::Use(import) => {
                    let is_export = !matches!(import.vis, syn::Visibility::Inherited);
                    for (name, path) in leaves(&import.tree, &[]) {
                        if is_export {
                            self.exports.insert((module.clone(), name), path);
                        } else {
                            paths.push((module.clone(), path));
                        }
                    }
                }
                other => {
                    let mut found = Paths::default();
                    found.visit_item(other);
                    paths.extend(found.0.into_iter().map(|path| (module.clone(), path)));
                }
            }
        }
    }

    /// Every file's module with the modules whose items it uses.
    fn arrows(&self) -> Graph {
        let name = |module: &ModulePath| match module.as_slice() {
            [] => "(root)".to_owned(),
            path => path.join("::"),
        };
        let mut graph = Graph::new();
        for (module, file) in &self.files {
            let targets = file
                .paths
                .iter()
                .filter_map(|(place, path)| self.home(place, path, 0))
                .filter(|target| target != module)
                .map(|target| name(&target));
            graph.entry(name(module)).or_default().extend(targets);
        }
        graph
    }

    /// The file's module that has the item `path`, as it is written in `place`; `None` for items of other crates.
    fn home(&self, place: &ModulePath, path: &[String], depth: usize) -> Option<ModulePath> {
        let (mut module, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (place.clone(), &path[1..]),
            "super" => (place[..place.len().checked_sub(1)?].to_vec(), &path[1..]),
            first => {
                let child = [place.as_slice(), &[first.to_owned()]].concat();
                if !self.homes.contains_key(&child) {
                    return None;
                }
                (place.clone(), path)
            }
        };
        while let Some(name) = rest.first() {
            rest = &rest[1..];
            if name == "super" {
                module.pop()?;
                continue;
            }
            let child = [module.as_slice(), std::slice::from_ref(name)].concat();
            if self.homes.contains_key(&child) {
                module = child;
            } else if let Some(target) = self.exports.get(&(module.clone(), name.clone())) {
                assert!(depth < 16, "{path:?} of {place:?} is re-exported in a ring");
                let target = [target.as_slice(), rest].concat();
                return self.home(&module, &target, depth + 1);
            } else {
                break;
            }
        }
        self.homes.get(&module).cloned()
    }
}

/// Every path in an item.
#[derive(Default)]
struct Paths(Vec<Vec<String>>);

impl<'ast> Visit<'ast> for Paths {
    /// `pub(crate)` and `pub(super)` are paths too, and use nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        self.0.push(names.collect());
        syn::visit::visit_path(self, path);
    }

    fn visit_item_use(&mut self, import: &'ast syn::ItemUse) {
        self.0
            .extend(leaves(&import.tree, &[]).into_iter().map(|(_, path)| path));
    }
}

/// The names that a `use` brings, each with its path.
fn leaves(tree: &syn::UseTree, before: &[String]) -> Vec<(String, Vec<String>)> {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        syn::UseTree::Path(path) => leaves(&path.tree, &with(&path.ident)),
        syn::UseTree::Name(name) if name.ident == "self" => {
            vec![(
                before.last().cloned().unwrap_or_default(),
                before.to_owned(),
            )]
        }
        syn::UseTree::Name(name) => vec![(name.ident.to_string(), with(&name.ident))],
        syn::UseTree::Rename(rename) => vec![(rename.rename.to_string(), with(&rename.ident))],
        syn::UseTree::Glob(_) => vec![("*".to_owned(), before.to_owned())],
        syn::UseTree::Group(group) => group
            .items
            .iter()
            .flat_map(|item| leaves(item, before))
            .collect(),
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list();
        attribute.path().is_ident("cfg")
            && list.is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

fn source_of(folder: &Path, module: &str) -> PathBuf {
    let file = folder.join(format!("{module}.rs"));
    if file.exists() {
        file
    } else {
        folder.join(module).join("mod.rs")
    }
}
