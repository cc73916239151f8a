//! What the server says when it is ready.

use std::fmt::Write;

use crate::key::AdminKey;

/// The way to a first password.
pub struct SetUp {
    pub url: String,
    pub username: String,
}

/// The text for the terminal. The key is in it only when it is new; later it can be read from its file.
pub fn text(url: &str, key: &AdminKey, key_file: &str, set_up: Option<&SetUp>) -> String {
    let mut out = String::new();
    let shown = if key.is_new {
        key.value.clone()
    } else {
        format!("$(cat {key_file})")
    };
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(String::new());
    line(format!("  Alcove is ready at {url}/api"));
    line(String::new());
    line(format!("  export DAYTONA_API_URL={url}/api"));
    line(format!("  export DAYTONA_API_KEY={shown}"));
    if key.is_new {
        line(format!(
            "  (the key is shown this once; it is kept in {key_file})"
        ));
    }
    if let Some(set_up) = set_up {
        line(String::new());
        line(format!(
            "  To sign in as {} with a password, set it here (once, within a day):",
            set_up.username
        ));
        line(format!("    {}", set_up.url));
    }
    for (title, lines) in [
        (
            "Python (pip install daytona)",
            [
                "from daytona import Daytona",
                "sandbox = Daytona().create()",
                "print(sandbox.process.code_run('print(\"hello\")').result)",
                "sandbox.delete()",
            ],
        ),
        (
            "TypeScript (npm install @daytonaio/sdk)",
            [
                "import { Daytona } from '@daytonaio/sdk'",
                "const sandbox = await new Daytona().create()",
                "console.log((await sandbox.process.codeRun('print(\"hello\")')).result)",
                "await sandbox.delete()",
            ],
        ),
    ] {
        line(String::new());
        line(format!("  {title}:"));
        for text in lines {
            line(format!("    {text}"));
        }
    }
    line(String::new());
    line(
        "  Ctrl-C stops the server. Sandboxes that run keep running; the next start finds them."
            .to_owned(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_is_not_printed_again() {
        let key = AdminKey {
            value: "dtn_secret".to_owned(),
            is_new: false,
        };
        let text = text("http://127.0.0.1:3000", &key, "/data/admin.key", None);
        assert!(
            !text.contains("dtn_secret") && text.contains("$(cat /data/admin.key)"),
            "{text}"
        );
        assert!(!text.contains("password"), "{text}");
    }
}
