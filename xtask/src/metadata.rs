//! What cargo knows of our packages and of what they depend on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The platform that is looked at: a crate for another one is never built.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// Packages by name, ours apart from the others.
#[derive(Debug, Default)]
pub struct Graph {
    pub ours: BTreeMap<String, Package>,
    /// Names of foreign packages that bring a C library, by the package of ours that ends up with it.
    pub c_libraries: BTreeMap<String, BTreeSet<String>>,
}

/// One of our packages.
#[derive(Debug, Default)]
pub struct Package {
    /// What the built package depends on, by name.
    pub normal: BTreeSet<String>,
    /// What only its tests depend on.
    pub dev: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<RawPackage>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct RawPackage {
    id: String,
    name: String,
    links: Option<String>,
    dependencies: Vec<RawDependency>,
}

#[derive(Deserialize)]
struct RawDependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<NodeDependency>,
}

#[derive(Deserialize)]
struct NodeDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// Asks cargo.
pub fn read(root: &Path) -> anyhow::Result<Graph> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", PLATFORM])
        .output()
        .context("cannot run cargo metadata")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("cannot read what cargo metadata says")?;
    let mut graph = graph(&metadata);
    // The graph also has what only a feature that nobody asks for would bring.
    for (package, libraries) in &mut graph.c_libraries {
        if !libraries.is_empty() {
            let built = built_for(root, package)?;
            libraries.retain(|library| built.contains(library));
        }
    }
    Ok(graph)
}

/// Names of all packages that a build of this one compiles into it.
fn built_for(root: &Path, package: &str) -> anyhow::Result<BTreeSet<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root)
        .args(["tree", "--locked", "--package", package])
        .args(["--target", PLATFORM, "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .output()
        .context("cannot run cargo tree")?;
    ensure!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let lines = String::from_utf8_lossy(&output.stdout);
    Ok(lines
        .lines()
        .filter_map(|line| Some(line.split_whitespace().next()?.to_owned()))
        .collect())
}

fn graph(metadata: &Metadata) -> Graph {
    let by_id: BTreeMap<&str, &RawPackage> = metadata
        .packages
        .iter()
        .map(|package| (package.id.as_str(), package))
        .collect();
    let built: BTreeMap<&str, Vec<&str>> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), built_dependencies(node)))
        .collect();

    let mut graph = Graph::default();
    for id in &metadata.workspace_members {
        let Some(raw) = by_id.get(id.as_str()) else {
            continue;
        };
        let mut package = Package::default();
        for dependency in &raw.dependencies {
            let kind = match dependency.kind.as_deref() {
                Some("dev") => &mut package.dev,
                _ => &mut package.normal,
            };
            kind.insert(dependency.name.clone());
        }
        graph.ours.insert(raw.name.clone(), package);
        let libraries = reachable(id, &built)
            .into_iter()
            .filter_map(|id| by_id.get(id))
            .filter(|package| package.links.is_some())
            .map(|package| package.name.clone())
            .collect();
        graph.c_libraries.insert(raw.name.clone(), libraries);
    }
    graph
}

fn built_dependencies(node: &Node) -> Vec<&str> {
    let is_built = |dependency: &&NodeDependency| {
        let mut kinds = dependency.dep_kinds.iter();
        kinds.any(|kind| kind.kind.is_none())
    };
    let dependencies = node.deps.iter().filter(is_built);
    dependencies.map(|dep| dep.pkg.as_str()).collect()
}

fn reachable<'a>(from: &'a str, built: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([from]);
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        for next in built.get(id).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}
