//! Requests into sandboxes, as rows of the audit log.
//!
//! They are written behind the answers, in batches. Of what they carry, a row has what answers the question what was done in
//! there: the text of a command, and the paths of files. What is in files, and what comes out of commands, is never kept.

use std::sync::Arc;

use alcove_domain::{AuditEntry, OrganizationId, Port, Sandbox, SandboxId, UserId, audit_text};
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::Actor;
use crate::shared::Shared;

/// Paths of one request that are kept.
const FILES_MAX: usize = 50;
/// Values of variables that are shorter are no secrets, and would make commands unreadable.
const SECRET_MIN_BYTES: usize = 6;
/// What stands in place of a secret.
const HIDDEN: &str = "***";
/// How our own keys begin.
const KEY_PREFIX: &str = "dtn_";

/// Actions of rows, by what they are.
pub(crate) const COMMANDS: &[&str] = &[
    "toolbox_execute_command",
    "toolbox_session_execute_command",
    "ssh_command",
];
pub(crate) const FILES: &[&str] = &[
    "toolbox_delete_file",
    "toolbox_download_file",
    "toolbox_create_folder",
    "toolbox_move_file",
    "toolbox_set_file_permissions",
    "toolbox_replace_in_files",
    "toolbox_upload_file",
    "toolbox_bulk_upload_files",
    "toolbox_git_add_files",
    "toolbox_git_create_branch",
    "toolbox_git_delete_branch",
    "toolbox_git_clone_repository",
    "toolbox_git_commit_changes",
    "toolbox_git_pull_changes",
    "toolbox_git_push_changes",
    "toolbox_git_checkout_branch",
];
pub(crate) const REQUESTS: &[&str] = &[
    "toolbox_create_session",
    "toolbox_delete_session",
    "toolbox_request",
    "preview_request",
    "ssh_terminal",
    "ssh_files",
];
pub(crate) const CONNECTIONS: &[&str] = &["network_name", "network_connection"];

/// Who sent a request into a sandbox, and in whose log it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrafficVisitor {
    pub organization: OrganizationId,
    /// None for whoever came with a token or without any credential.
    pub user: Option<UserId>,
    pub actor: Arc<Actor>,
}

/// What of a request's body was looked at while it went by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TrafficBody {
    #[default]
    Unseen,
    /// All of a body that should be JSON.
    Whole(Vec<u8>),
    /// It was too long to be looked at.
    TooLong,
    /// The names under which files were sent.
    Files(Vec<String>),
}

/// A request that was answered.
#[derive(Debug)]
pub struct Traffic<'a> {
    pub sandbox: &'a SandboxId,
    pub visitor: &'a TrafficVisitor,
    /// None for the agent.
    pub port: Option<Port>,
    pub method: &'a str,
    /// As the sandbox got it, without the query.
    pub path: &'a str,
    pub query: &'a str,
    pub status: u16,
    /// Why the sandbox did not answer.
    pub error: Option<String>,
    pub address: Option<String>,
    pub user_agent: Option<String>,
    pub source: Option<String>,
    pub body: TrafficBody,
}

/// Where the text of a command is, and the names of files, in the bodies that the agent takes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told {
    command: Option<String>,
    args: Option<Vec<String>>,
    code: Option<String>,
    cwd: Option<String>,
    path: Option<String>,
    paths: Option<Vec<String>>,
    files: Option<Vec<String>>,
    #[serde(rename = "sessionId")]
    session: Option<String>,
    url: Option<String>,
}

/// Puts a request down. Never waits.
pub(crate) fn record(shared: &Shared, traffic: Traffic<'_>) {
    if !shared.settings.audit.traffic {
        return;
    }
    let (action, is_command) = match traffic.port {
        None => action_of(traffic.method, traffic.path),
        Some(_) => ("preview_request", false),
    };
    // Its id is made when it is written.
    let mut entry = AuditEntry::new(String::new(), shared.clock.now(), action);
    let visitor = traffic.visitor;
    if let Some(user) = &visitor.user {
        entry.actor_id = user.to_string();
    }
    entry.actor_email.clone_from(&visitor.actor.email);
    entry.actor_key.clone_from(&visitor.actor.key);
    entry.organization = Some(visitor.organization.clone());
    entry.target_type = Some("sandbox".to_owned());
    entry.target_id = Some(traffic.sandbox.to_string());
    entry.status = Some(traffic.status);
    entry.error = traffic.error.as_deref().map(audit_text);
    entry.address = traffic.address;
    entry.user_agent = traffic.user_agent.as_deref().map(audit_text);
    entry.source = traffic.source.as_deref().map(audit_text);
    let mut note = |name: &str, value: String| {
        entry.metadata.insert(name.to_owned(), value);
    };
    note("method", traffic.method.to_owned());
    note("path", audit_text(traffic.path));
    if let Some(port) = traffic.port {
        note("port", port.get().to_string());
    }
    let told = match traffic.body {
        TrafficBody::Whole(body) => serde_json::from_slice(&body).unwrap_or_default(),
        TrafficBody::Files(files) => Told {
            files: Some(files),
            ..Told::default()
        },
        TrafficBody::TooLong => {
            note("body", "too long to be looked at".to_owned());
            Told::default()
        }
        TrafficBody::Unseen => Told::default(),
    };
    if traffic.port.is_none() {
        let files = files_of(traffic.query, &told);
        if !files.is_empty() {
            note("files", audit_text(&files.join("\n")));
        }
    }
    if is_command && shared.settings.audit.commands {
        if let Some(command) = command_of(&told) {
            note(
                "command",
                audit_text(&hidden(shared, traffic.sandbox, command)),
            );
        }
        if let Some(cwd) = &told.cwd {
            note("cwd", audit_text(cwd));
        }
    }
    if let Some(session) = &told.session {
        note("session", audit_text(session));
    }
    // Without what may stand in it before the host.
    if let Some(url) = &told.url
        && let Some((scheme, rest)) = url.split_once("://")
    {
        let end = rest.find('/').unwrap_or(rest.len());
        let start = rest[..end].rfind('@').map_or(0, |at| at + 1);
        note("url", audit_text(&format!("{scheme}://{}", &rest[start..])));
    }
    shared.audit.push(entry);
}

/// What a session of SSH is used for.
pub(crate) enum SshUse<'a> {
    Command(&'a [u8]),
    Terminal,
    Files,
}

/// Puts down what a session of SSH begins. `opener` is by what the session was opened, without its secret.
pub(crate) fn record_ssh(shared: &Shared, sandbox: &Sandbox, opener: String, begun: &SshUse<'_>) {
    if !shared.settings.audit.traffic {
        return;
    }
    let action = match begun {
        SshUse::Command(_) => "ssh_command",
        SshUse::Terminal => "ssh_terminal",
        SshUse::Files => "ssh_files",
    };
    let mut entry = AuditEntry::new(String::new(), shared.clock.now(), action);
    entry.organization = Some(sandbox.organization_id.clone());
    entry.target_type = Some("sandbox".to_owned());
    entry.target_id = Some(sandbox.id.to_string());
    entry.metadata.insert("by".to_owned(), opener);
    if let SshUse::Command(command) = begun
        && shared.settings.audit.commands
    {
        let command = String::from_utf8_lossy(command).into_owned();
        let command = audit_text(&hidden(shared, &sandbox.id, command));
        entry.metadata.insert("command".to_owned(), command);
    }
    shared.audit.push(entry);
}

/// Whether the body of a request to the agent is looked at.
pub fn is_body_told(method: &str, path: &str) -> bool {
    method != "GET"
        && (path == "/exec"
            || path == "/process/session"
            || action_of(method, path).0 != "toolbox_request")
}

/// The name of what a request asks of the agent, and whether it is to run something.
fn action_of(method: &str, path: &str) -> (&'static str, bool) {
    let path = path
        .strip_suffix('/')
        .filter(|path| !path.is_empty())
        .unwrap_or(path);
    let action = match (method, path) {
        ("DELETE", "/files") => "toolbox_delete_file",
        ("GET", "/files/download") | ("POST", "/files/bulk-download") => "toolbox_download_file",
        ("POST", "/files/folder") => "toolbox_create_folder",
        ("POST", "/files/move") => "toolbox_move_file",
        ("POST", "/files/permissions") => "toolbox_set_file_permissions",
        ("POST", "/files/replace") => "toolbox_replace_in_files",
        ("POST", "/files/upload" | "/files/upload-v2" | "/files/unpack") => "toolbox_upload_file",
        ("POST", "/files/bulk-upload") => "toolbox_bulk_upload_files",
        ("POST", "/git/add") => "toolbox_git_add_files",
        ("POST", "/git/branches") => "toolbox_git_create_branch",
        ("DELETE", "/git/branches") => "toolbox_git_delete_branch",
        ("POST", "/git/clone") => "toolbox_git_clone_repository",
        ("POST", "/git/commit") => "toolbox_git_commit_changes",
        ("POST", "/git/pull") => "toolbox_git_pull_changes",
        ("POST", "/git/push") => "toolbox_git_push_changes",
        ("POST", "/git/checkout") => "toolbox_git_checkout_branch",
        ("POST", "/process/session") => "toolbox_create_session",
        ("POST", "/process/execute" | "/process/code-run" | "/exec") => {
            return ("toolbox_execute_command", true);
        }
        ("POST" | "DELETE", _) => return of_session(method, path),
        _ => "toolbox_request",
    };
    (action, false)
}

fn of_session(method: &str, path: &str) -> (&'static str, bool) {
    let Some(rest) = path.strip_prefix("/process/session/") else {
        return ("toolbox_request", false);
    };
    match (method, rest.split_once('/')) {
        ("POST", Some((_, "exec"))) => ("toolbox_session_execute_command", true),
        ("DELETE", None) => ("toolbox_delete_session", false),
        _ => ("toolbox_request", false),
    }
}

fn command_of(told: &Told) -> Option<String> {
    let mut command = told.command.clone().or_else(|| told.code.clone())?;
    for argument in told.args.iter().flatten() {
        command.push(' ');
        command.push_str(argument);
    }
    Some(command)
}

/// Paths in the query and in the body, as the client wrote them.
fn files_of(query: &str, told: &Told) -> Vec<String> {
    let of_query = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        if !matches!(name, "path" | "source" | "destination") {
            return None;
        }
        let value = value.replace('+', " ");
        let value = percent_decode_str(&value).decode_utf8_lossy();
        Some(value.into_owned())
    });
    let of_body = told.path.iter().chain(told.paths.iter().flatten());
    let of_body = of_body.chain(told.files.iter().flatten()).cloned();
    let all = of_query.chain(of_body).take(FILES_MAX);
    all.map(|path| path.replace('\n', "\u{2424}")).collect()
}

/// The text without the values of the sandbox's variables, and without keys of ours.
fn hidden(shared: &Shared, sandbox: &SandboxId, mut text: String) -> String {
    if let Some(entry) = shared.directory.get(sandbox) {
        for value in entry.sandbox().env.values() {
            if value.len() >= SECRET_MIN_BYTES && text.contains(value.as_str()) {
                text = text.replace(value.as_str(), HIDDEN);
            }
        }
    }
    without_keys(&text)
}

fn without_keys(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(KEY_PREFIX) {
        let (before, key) = rest.split_at(at);
        shown.push_str(before);
        let is_of_key =
            |character: char| character.is_ascii_alphanumeric() || "_-".contains(character);
        let end = key
            .find(|character| !is_of_key(character))
            .unwrap_or(key.len());
        shown.push_str(HIDDEN);
        rest = &key[end..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_names_of_the_contract() {
        for (method, path, action, is_command) in [
            ("POST", "/process/execute", "toolbox_execute_command", true),
            (
                "POST",
                "/process/session/x/exec",
                "toolbox_session_execute_command",
                true,
            ),
            ("POST", "/process/session", "toolbox_create_session", false),
            (
                "DELETE",
                "/process/session/x",
                "toolbox_delete_session",
                false,
            ),
            ("DELETE", "/files/", "toolbox_delete_file", false),
            ("GET", "/files/download", "toolbox_download_file", false),
            ("GET", "/process/session/x/exec", "toolbox_request", false),
            ("GET", "/", "toolbox_request", false),
        ] {
            assert_eq!(
                action_of(method, path),
                (action, is_command),
                "{method} {path}"
            );
        }
    }

    #[test]
    fn keys_of_ours_are_hidden_wherever_they_stand() {
        assert_eq!(without_keys("a dtn_x-1'b' dtn_2"), "a ***'b' ***");
        assert_eq!(without_keys("nothing"), "nothing");
    }

    #[test]
    fn files_are_found_in_query_and_body() {
        let told = Told {
            paths: Some(vec!["/a".to_owned(), "b\nc".to_owned()]),
            ..Told::default()
        };
        let files = files_of("source=%2Fx+y&other=1&destination=z", &told);
        assert_eq!(files, ["/x y", "z", "/a", "b\u{2424}c"]);
    }
}
