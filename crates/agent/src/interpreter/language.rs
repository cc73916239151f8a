//! What runs the code of a context.

use std::ffi::CString;

use crate::process::spawn::{c_path, find_program};

/// A language that contexts exist for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    JavaScript,
    TypeScript,
}

/// How a worker is started: the program, its arguments, and the script that it reads from a descriptor.
#[derive(Debug)]
pub struct Recipe {
    pub path: CString,
    pub argv: Vec<CString>,
    pub script: &'static str,
}

const PYTHON_SCRIPT: &str = include_str!("workers/python.py");
const NODE_SCRIPT: &str = include_str!("workers/node.js");

/// The script is not given by name: a path would become the program's own, with a folder in which it looks for
/// modules.
const PYTHON_START: &str =
    r#"exec(compile(open(5,"rb").read(),"<worker>","exec"),{"__name__":"alcove_worker"})"#;

const NODE_START: &str = r#"require("vm").runInThisContext(require("fs").readFileSync(5,"utf8"),{filename:"alcove-worker"})(require,(s,o)=>import(s,o),TYPED);require("fs").closeSync(5)"#;

impl Language {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "python" => Some(Self::Python),
            "javascript" => Some(Self::JavaScript),
            "typescript" => Some(Self::TypeScript),
            _ => None,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::JavaScript => "javascript",
            Self::TypeScript => "typescript",
        }
    }

    /// None if the sandbox has no program for it.
    pub(super) fn recipe(self, search_path: &str) -> Option<Recipe> {
        let find = |names: &[&str]| {
            let found = names
                .iter()
                .find_map(|name| find_program(name, search_path))?;
            c_path(&found).ok()
        };
        match self {
            Self::Python => {
                let path = find(&["python3", "python"])?;
                let argv = vec![path.clone(), c"-c".to_owned(), text(PYTHON_START)?];
                Some(Recipe {
                    path,
                    argv,
                    script: PYTHON_SCRIPT,
                })
            }
            Self::JavaScript | Self::TypeScript => {
                let path = find(&["node"])?;
                let is_typed = (self == Self::TypeScript).to_string();
                let start = text(&NODE_START.replace("TYPED", &is_typed))?;
                // The worker needs the parser that Node.js has for its own console.
                let internals = c"--expose-internals".to_owned();
                Some(Recipe {
                    argv: vec![path.clone(), internals, c"-e".to_owned(), start],
                    path,
                    script: NODE_SCRIPT,
                })
            }
        }
    }

    /// The program to name where none was found.
    pub(super) fn program(self) -> &'static str {
        match self {
            Self::Python => "python3",
            Self::JavaScript | Self::TypeScript => "node",
        }
    }
}

fn text(text: &str) -> Option<CString> {
    CString::new(text).ok()
}
