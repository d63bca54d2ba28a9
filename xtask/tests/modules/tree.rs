//! The modules of a crate and the arrows between their files, read from its source.
//!
//! An arrow is a path in the code of one file that leads to an item of another: in a `use`, in an expression or a type, or
//! in the tokens of a macro. A name that a module re-exports (`pub use`) leads to where it comes from. Tests don't
//! count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// A module in a separate file, by its path from the root of the crate.
type Name = Vec<String>;

/// The modules of a crate.
#[derive(Debug, Default)]
pub(super) struct Crate {
    modules: BTreeMap<Name, Module>,
}

#[derive(Debug, Default)]
struct Module {
    /// What the code of the file names: absolute paths.
    paths: BTreeSet<Name>,
    /// Names that `use` brings in, and what they stand for.
    imports: BTreeMap<String, Name>,
    /// Types that the file defines.
    types: BTreeSet<String>,
    /// Types with methods in the file.
    with_methods: BTreeSet<String>,
}

impl Crate {
    /// Reads the crate whose root is this file.
    pub(super) fn read(root: &Path) -> Self {
        let mut of_crate = Self::default();
        of_crate.read_file(root, Vec::new());
        of_crate.make_absolute();
        of_crate
    }

    /// All modules but the root.
    pub(super) fn modules(&self) -> impl Iterator<Item = &Name> {
        self.modules.keys().filter(|name| !name.is_empty())
    }

    /// Which module uses something of which.
    pub(super) fn arrows(&self) -> BTreeSet<(&Name, &Name)> {
        let mut arrows = BTreeSet::new();
        for (from, module) in &self.modules {
            for path in &module.paths {
                let to = self.resolve(path, 0);
                if to != from {
                    arrows.insert((from, to));
                }
            }
        }
        arrows
    }

    /// Types with methods outside the file that defines them: the type, and the module with the methods.
    pub(super) fn far_methods(&self) -> Vec<(&str, &Name)> {
        self.modules
            .iter()
            .flat_map(|(name, module)| {
                module.with_methods.difference(&module.types).map(move |of| (of.as_str(), name))
            })
            .collect()
    }

    /// The module that a path leads to.
    fn resolve(&self, path: &Name, depth: usize) -> &Name {
        let (mut at, module) = self.modules.get_key_value(&Vec::new()).expect("a crate has a root");
        let mut module = module;
        for (index, segment) in path.iter().enumerate() {
            let child = [at.as_slice(), std::slice::from_ref(segment)].concat();
            if let Some((name, child)) = self.modules.get_key_value(&child) {
                (at, module) = (name, child);
                continue;
            }
            if let Some(target) = module.imports.get(segment)
                && depth < 8
            {
                let target = [target, &path[index + 1..]].concat();
                return self.resolve(&target, depth + 1);
            }
            break;
        }
        at
    }

    fn read_file(&mut self, file: &Path, name: Name) {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut reader = Reader { here: name.clone(), module: Module::default() };
        reader.visit_file(&parsed);
        self.modules.insert(name.clone(), reader.module);
        for item in &parsed.items {
            if let Item::Mod(item) = item
                && item.content.is_none()
                && !is_test(&item.attrs)
            {
                let child = item.ident.to_string();
                let file = file_of(file, &child, name.is_empty());
                self.read_file(&file, [name.as_slice(), &[child]].concat());
            }
        }
    }

    /// A path that begins with a child of the module or a name that it imports is relative.
    fn make_absolute(&mut self) {
        let names: BTreeSet<Name> = self.modules.keys().cloned().collect();
        for (here, module) in &mut self.modules {
            let absolute = |path: &Name| match path[0].as_str() {
                "crate" => Some(path[1..].to_vec()),
                first => {
                    let child = [here.as_slice(), &[first.to_owned()]].concat();
                    names.contains(&child).then(|| [here.as_slice(), path].concat())
                }
            };
            module.paths = module.paths.iter().filter_map(absolute).collect();
            let imports = std::mem::take(&mut module.imports);
            module.imports =
                imports.into_iter().filter_map(|(name, path)| Some((name, absolute(&path)?))).collect();
        }
    }
}

fn file_of(parent: &Path, child: &str, parent_is_root: bool) -> PathBuf {
    let folder = parent.parent().expect("a file is in a folder");
    let is_mod = parent_is_root || parent.file_name().is_some_and(|name| name == "mod.rs");
    let folder =
        if is_mod { folder.to_owned() } else { folder.join(parent.file_stem().expect("a file has a name")) };
    let flat = folder.join(format!("{child}.rs"));
    if flat.exists() { flat } else { folder.join(child).join("mod.rs") }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string().contains("test"))
            || attribute.path().is_ident("test")
    })
}

/// Collects the paths in one file.
struct Reader {
    here: Name,
    module: Module,
}

impl Reader {
    /// Adds a path as it is written in the code: with `crate` in front, or relative to this module.
    fn note(&mut self, path: &[String]) {
        if let Some(path) = self.anchored(path) {
            self.module.paths.insert(path);
        }
    }

    fn anchored(&self, path: &[String]) -> Option<Name> {
        let up = path.iter().take_while(|segment| *segment == "super").count();
        let from_here = |up: usize, rest: &[String]| {
            let kept = &self.here[..self.here.len().saturating_sub(up)];
            Some([&["crate".to_owned()], kept, rest].concat())
        };
        match path.first()?.as_str() {
            "super" => from_here(up, &path[up..]),
            "self" if path.len() > 1 => {
                let more = path[1..].iter().take_while(|segment| *segment == "super").count();
                from_here(more, &path[1 + more..])
            }
            "self" | "Self" => None,
            _ => Some(path.to_vec()),
        }
    }

    fn note_use(&mut self, tree: &UseTree, before: &[String]) {
        match tree {
            UseTree::Path(path) => {
                self.note_use(&path.tree, &[before, &[path.ident.to_string()]].concat());
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_use(tree, before)),
            UseTree::Glob(_) => self.note(before),
            UseTree::Name(name) => self.note_name(&name.ident.to_string(), None, before),
            UseTree::Rename(name) => {
                self.note_name(&name.ident.to_string(), Some(name.rename.to_string()), before);
            }
        }
    }

    fn note_name(&mut self, ident: &str, rename: Option<String>, before: &[String]) {
        let path = if ident == "self" { before.to_vec() } else { [before, &[ident.to_owned()]].concat() };
        self.note(&path);
        let last = path.last().cloned().unwrap_or_default();
        if let Some(path) = self.anchored(&path) {
            self.module.imports.insert(rename.unwrap_or(last), path);
        }
    }

    fn note_tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let is = |index: usize, punct: char| matches!(tokens.get(index), Some(TokenTree::Punct(found)) if found.as_char() == punct);
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            index += 1;
            match token {
                TokenTree::Group(group) => self.note_tokens(group.stream()),
                TokenTree::Ident(first) => {
                    let mut path = vec![first.to_string()];
                    while is(index, ':')
                        && is(index + 1, ':')
                        && let Some(TokenTree::Ident(next)) = tokens.get(index + 2)
                    {
                        path.push(next.to_string());
                        index += 3;
                    }
                    if path.len() > 1 {
                        self.note(&path);
                    }
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(item) => &item.attrs,
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_test(attributes) {
            return;
        }
        match item {
            Item::Struct(item) => drop(self.module.types.insert(item.ident.to_string())),
            Item::Enum(item) => drop(self.module.types.insert(item.ident.to_string())),
            Item::Union(item) => drop(self.module.types.insert(item.ident.to_string())),
            Item::Trait(item) => drop(self.module.types.insert(item.ident.to_string())),
            Item::Impl(item) if item.trait_.is_none() => {
                if let syn::Type::Path(of) = &*item.self_ty
                    && let Some(last) = of.path.segments.last()
                {
                    self.module.with_methods.insert(last.ident.to_string());
                }
            }
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.note_use(&item.tree, &[]);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() && segments.len() > 1 {
            self.note(&segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, of: &'ast syn::Macro) {
        self.note_tokens(of.tokens.clone());
        visit::visit_macro(self, of);
    }

    // `pub(super)` and `pub(in path)` use nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
