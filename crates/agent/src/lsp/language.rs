//! Which program knows which language.

use std::ffi::CString;
use std::path::Path;

/// A language that has a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Python,
    TypeScript,
    JavaScript,
}

impl Language {
    /// By its name in the API.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "python" => Some(Self::Python),
            "typescript" => Some(Self::TypeScript),
            "javascript" => Some(Self::JavaScript),
            _ => None,
        }
    }

    /// The server, looked for on the search path.
    pub fn program(self) -> &'static str {
        match self {
            Self::Python => "pylsp",
            Self::TypeScript | Self::JavaScript => "typescript-language-server",
        }
    }

    /// Arguments, the program's name among them.
    pub fn argv(self) -> Vec<CString> {
        match self {
            Self::Python => vec![c"pylsp".to_owned()],
            Self::TypeScript | Self::JavaScript => vec![
                c"typescript-language-server".to_owned(),
                c"--stdio".to_owned(),
            ],
        }
    }

    /// The protocol's name for the language of a document: one server knows several, and tells them apart by it.
    pub fn of_document(self, path: &Path) -> &'static str {
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default() {
            _ if self == Self::Python => "python",
            "ts" | "mts" | "cts" => "typescript",
            "tsx" => "typescriptreact",
            "jsx" => "javascriptreact",
            "js" | "mjs" | "cjs" => "javascript",
            _ if self == Self::JavaScript => "javascript",
            _ => "typescript",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_wins_over_the_language_of_the_server() {
        let of = |language: Language, name: &str| language.of_document(Path::new(name));
        assert_eq!(of(Language::TypeScript, "/p/a.ts"), "typescript");
        assert_eq!(of(Language::TypeScript, "/p/a.tsx"), "typescriptreact");
        assert_eq!(of(Language::TypeScript, "/p/a.mjs"), "javascript");
        assert_eq!(of(Language::JavaScript, "/p/a"), "javascript");
        assert_eq!(of(Language::Python, "/p/a.ts"), "python");
    }
}
