//! Which crate may depend on which, and which foreign crates only some may use.
//!
//! ARCHITECTURE.md draws the same picture for people.

use crate::metadata::Graph;

/// A crate of ours, and those of ours that it may be built with. What only tests use is free, but for nothing
/// being built with `alcove-testkit`.
const LAYERS: &[(&str, &[&str])] = &[
    ("alcove-domain", &[]),
    ("alcove-api-types", &[]),
    ("alcove-agent-api", &[]),
    ("alcove-linger", &[]),
    ("alcove-glob", &[]),
    ("alcove-build", &["alcove-glob"]),
    ("alcove-runner-api", &["alcove-domain"]),
    ("alcove-store", &["alcove-domain"]),
    ("alcove-storage", &[]),
    ("alcove-telemetry", &["alcove-domain"]),
    (
        "alcove-control",
        &[
            "alcove-domain",
            "alcove-store",
            "alcove-storage",
            "alcove-runner-api",
            "alcove-telemetry",
            "alcove-build",
        ],
    ),
    (
        "alcove-edge",
        &["alcove-domain", "alcove-control", "alcove-api-types"],
    ),
    ("alcove-actions", &["alcove-api-types"]),
    ("alcove-mcp", &["alcove-actions"]),
    (
        "alcove-server",
        &[
            "alcove-actions",
            "alcove-domain",
            "alcove-control",
            "alcove-edge",
            "alcove-agent-api",
            "alcove-api-types",
            "alcove-linger",
            "alcove-mcp",
            "alcove-runner-link",
            "alcove-storage",
            "alcove-telemetry",
        ],
    ),
    (
        "alcove-runner-link",
        &["alcove-control", "alcove-domain", "alcove-runner-api"],
    ),
    (
        "alcove-ssh",
        &["alcove-domain", "alcove-control", "alcove-agent-api"],
    ),
    ("alcove-spawner", &[]),
    (
        "alcove-runner",
        &[
            "alcove-domain",
            "alcove-runner-api",
            "alcove-spawner",
            "alcove-build",
            "alcove-agent-api",
        ],
    ),
    ("alcove-git", &["alcove-agent-api"]),
    // The git library for the program of that name only.
    (
        "alcove-agent",
        &[
            "alcove-agent-api",
            "alcove-git",
            "alcove-glob",
            "alcove-linger",
        ],
    ),
    ("alcove-client", &["alcove-api-types", "alcove-agent-api"]),
    (
        "alcove",
        &[
            "alcove-actions",
            "alcove-agent-api",
            "alcove-api-types",
            "alcove-client",
            "alcove-control",
            "alcove-domain",
            "alcove-edge",
            "alcove-mcp",
            "alcove-runner",
            "alcove-runner-api",
            "alcove-runner-link",
            "alcove-server",
            "alcove-spawner",
            "alcove-ssh",
            "alcove-storage",
            "alcove-store",
            "alcove-telemetry",
        ],
    ),
    (
        "alcove-testkit",
        &[
            "alcove-control",
            "alcove-domain",
            "alcove-runner-api",
            "alcove-store",
            "alcove-telemetry",
        ],
    ),
    (
        "alcove-e2e",
        &[
            "alcove-api-types",
            "alcove-client",
            "alcove-domain",
            "alcove-runner",
            "alcove-runner-api",
        ],
    ),
    ("alcove-probe", &[]),
    ("xtask", &[]),
];

/// A foreign crate, the only crates of ours that may be built with it, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    (
        "sea-orm",
        &["alcove-store"],
        "only the store knows the database",
    ),
    (
        "sea-orm-migration",
        &["alcove-store"],
        "only the store knows the database",
    ),
    (
        "axum",
        &[
            "alcove-server",
            "alcove-edge",
            "alcove-agent",
            "alcove-storage",
        ],
        "a router is where requests come in",
    ),
    ("russh", &["alcove-ssh"], "SSH ends in one place"),
    (
        "rmcp",
        &["alcove-mcp"],
        "it moves fast, and takes long to compile",
    ),
    (
        "seccompiler",
        &["alcove-spawner"],
        "one place decides which system calls there are",
    ),
];

/// Crates that only speak of things: nothing in them waits or does input or output.
const WORDS: &[&str] = &[
    "alcove-domain",
    "alcove-api-types",
    "alcove-agent-api",
    "alcove-runner-api",
    "alcove-build",
];

/// Small programs that run inside or next to every sandbox, and the packages by which each brings C libraries besides
/// the system's. Those of the agent's crate are its git program's; the isolation tests look for them in the agent.
const C_LIBRARIES: &[(&str, &[&str])] = &[
    ("alcove-spawner", &[]),
    (
        "alcove-agent",
        &["aws-lc-rs", "aws-lc-sys", "libgit2-sys", "libz-sys"],
    ),
];

/// Every rule that the tree breaks, in words.
pub fn broken_rules(graph: &Graph) -> Vec<String> {
    let mut broken = Vec::new();
    for (name, package) in &graph.ours {
        let Some((_, allowed)) = LAYERS.iter().find(|(layer, _)| layer == name) else {
            broken.push(format!(
                "{name} has no layer; add it to xtask/src/layers.rs"
            ));
            continue;
        };
        let ours = package
            .normal
            .iter()
            .filter(|dependency| graph.ours.contains_key(*dependency));
        for dependency in ours.filter(|dependency| !allowed.contains(&dependency.as_str())) {
            broken.push(format!("{name} must not depend on {dependency}"));
        }
        for (foreign, users, why) in RESERVED {
            if package.normal.contains(*foreign) && !users.contains(&name.as_str()) {
                broken.push(format!("{name} must not use {foreign}: {why}"));
            }
        }
        if WORDS.contains(&name.as_str()) && package.normal.contains("tokio") {
            broken.push(format!(
                "{name} must not use tokio: it does no input or output"
            ));
        }
        let bounds = C_LIBRARIES.iter().find(|(bounded, _)| bounded == name);
        let libraries = graph.c_libraries.get(name).into_iter().flatten();
        for library in libraries {
            if bounds.is_some_and(|(_, allowed)| !allowed.contains(&library.as_str())) {
                broken.push(format!("{name} must not bring the C library of {library}"));
            }
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metadata::Package;

    fn package(normal: &[&str]) -> Package {
        Package {
            normal: normal.iter().map(|name| (*name).to_owned()).collect(),
            dev: BTreeSet::new(),
        }
    }

    fn graph(packages: &[(&str, &[&str])]) -> Graph {
        let ours = packages
            .iter()
            .map(|(name, normal)| ((*name).to_owned(), package(normal)));
        Graph {
            ours: ours.collect(),
            ..Graph::default()
        }
    }

    #[test]
    fn an_edge_that_is_not_listed_is_told() {
        let broken = broken_rules(&graph(&[
            ("alcove-domain", &["serde", "alcove-store"]),
            ("alcove-store", &["alcove-domain", "sea-orm"]),
        ]));
        assert_eq!(broken, ["alcove-domain must not depend on alcove-store"]);
    }

    #[test]
    fn a_foreign_crate_in_the_wrong_place_is_told() {
        let broken = broken_rules(&graph(&[
            ("alcove-control", &["sea-orm"]),
            ("alcove-runner-api", &["tokio"]),
        ]));
        assert_eq!(broken.len(), 2, "{broken:?}");
        assert!(broken[0].contains("only the store"), "{broken:?}");
        assert!(broken[1].contains("tokio"), "{broken:?}");
    }

    #[test]
    fn a_c_library_in_the_spawner_is_told() {
        let mut graph = graph(&[("alcove-spawner", &[])]);
        let libraries = BTreeSet::from(["zstd-sys".to_owned()]);
        graph
            .c_libraries
            .insert("alcove-spawner".to_owned(), libraries);
        assert_eq!(broken_rules(&graph).len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_told() {
        assert_eq!(broken_rules(&graph(&[("alcove-new", &[])])).len(), 1);
    }

    #[test]
    fn the_tree_breaks_no_rule() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let graph = crate::metadata::read(&root).expect("cargo knows the tree");
        assert!(graph.ours.len() > 10, "the positive control");
        assert_eq!(broken_rules(&graph), Vec::<String>::new());
    }
}
