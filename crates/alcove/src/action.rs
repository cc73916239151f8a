//! `alcove action`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use alcove_actions::{Entry, Room, TOOLS, find_tool};
use anyhow::{Context, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Map, Value};

use crate::address::Address;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Name of the action, such as run_code.
    name: Option<String>,
    /// The input object; `-` reads it from standard input.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    json: String,
    /// A file of this host: what upload_file sends, or where download_file puts what it gets.
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Prints the action with the schemas of its input and output, and does nothing.
    #[arg(long, requires = "name")]
    describe: bool,
    #[command(flatten)]
    server: Address,
}

/// Prints the output; fails where it says no success.
pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Some(name) = &arguments.name else {
        return list();
    };
    let Some(action) = find_tool(name) else {
        bail!("there is no action {name:?}; `alcove action` tells which there are");
    };
    if arguments.describe {
        say(&serde_json::to_string_pretty(&action.describe())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut input = read(&arguments.json)?;
    match (&arguments.file, action.name) {
        (None, _) | (Some(_), "download_file") => {}
        (Some(path), "upload_file") => add_file(&mut input, path)?,
        (Some(_), other) => bail!("--file is for upload_file and download_file, not for {other}"),
    }
    let (client, _) = arguments.server.client()?;
    let outcome = action
        .call(input.into(), &Remote(client), &Room::default())
        .await;
    match &arguments.file {
        Some(path) if action.name == "download_file" && outcome.success => {
            say(&kept(&outcome.json, path)?)?;
        }
        _ => say(&outcome.json)?,
    }
    Ok(if outcome.success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Whoever reads may stop reading.
fn say(text: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write the output")
}

fn list() -> anyhow::Result<ExitCode> {
    let width = TOOLS.iter().map(|action| action.name.len()).max();
    let width = width.unwrap_or_default();
    let line =
        |action: &Entry| format!("{:width$}  {}", action.name, action.describe().description);
    say(&TOOLS.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn read(json: &str) -> anyhow::Result<Map<String, Value>> {
    let mut text = String::new();
    let json = if json == "-" {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read the input")?;
        &text
    } else {
        json
    };
    serde_json::from_str(json).context("the input is no JSON object")
}

/// Puts a file into the input of an upload, under its own name where the input gives it none.
fn add_file(input: &mut Map<String, Value>, path: &Path) -> anyhow::Result<()> {
    let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let content = BASE64_STANDARD.encode(content);
    input.insert("file_content_base64".to_owned(), content.into());
    if let (false, Some(name)) = (input.contains_key("file_name"), path.file_name()) {
        let name = name.to_string_lossy().into_owned();
        input.insert("file_name".to_owned(), name.into());
    }
    Ok(())
}

/// Writes what was downloaded into a file; what is left of the output has null in its place.
fn kept(output: &str, path: &Path) -> anyhow::Result<String> {
    let mut output: Map<String, Value> = serde_json::from_str(output)?;
    let content = output.insert("content_base64".to_owned(), Value::Null);
    let content = content.as_ref().and_then(Value::as_str);
    let content = BASE64_STANDARD.decode(content.unwrap_or_default())?;
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Value::from(output).to_string())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_file_goes_into_an_input_and_out_of_an_output() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        fs::write(&path, [0, 255]).unwrap();
        let mut input = read(r#"{"sandbox_id": "x"}"#).unwrap();
        add_file(&mut input, &path).unwrap();
        assert_eq!(input["file_content_base64"], "AP8=");
        assert_eq!(input["file_name"], "a.bin");
        let output = json!({"success": true, "content_base64": "/wA="}).to_string();
        let left: Value = serde_json::from_str(&kept(&output, &path).unwrap()).unwrap();
        assert_eq!(left, json!({"success": true, "content_base64": null}));
        assert_eq!(fs::read(&path).unwrap(), [255, 0]);
        assert!(read("[]").is_err());
    }
}
