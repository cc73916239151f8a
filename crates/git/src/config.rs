//! Git's configuration files.

use std::path::{Path, PathBuf};

use alcove_agent_api::{
    ErrorCode, GitConfigResponse, GitConfigScope, GitConfigureUserRequest, GitSetConfigRequest,
};
use git2::{Config, ErrorCode as GitCode};

use crate::credentials::home;
use crate::{Fault, names, repository};

pub fn get(
    key: &str,
    scope: GitConfigScope,
    path: Option<&String>,
) -> Result<GitConfigResponse, Fault> {
    let key = valid_key(key)?;
    let file = file_of(scope, path)?;
    if !file.exists() {
        return Ok(GitConfigResponse { value: None });
    }
    let config = open(&file)?;
    match config.get_bytes(key) {
        Ok(value) => Ok(GitConfigResponse {
            value: Some(String::from_utf8_lossy(value).into_owned()),
        }),
        Err(error) if error.code() == GitCode::NotFound => Ok(GitConfigResponse { value: None }),
        Err(error) if error.code() == GitCode::InvalidSpec => Err(bad_key(key)),
        // A key without a value, which git takes for true.
        Err(_) => value_of_bare_key(&open(&file)?, key),
    }
}

fn value_of_bare_key(config: &Config, key: &str) -> Result<GitConfigResponse, Fault> {
    let entry = config.get_entry(key)?;
    let value = entry
        .has_value()
        .then(|| String::from_utf8_lossy(entry.value_bytes()).into_owned());
    Ok(GitConfigResponse {
        value: Some(value.unwrap_or_else(|| "true".to_owned())),
    })
}

pub fn set(order: &GitSetConfigRequest) -> Result<(), Fault> {
    let Some(value) = &order.value else {
        let message = "value is required";
        return Err(Fault::new(ErrorCode::InvalidRequestBody, message));
    };
    let file = file_of(order.scope.unwrap_or_default(), order.path.as_ref())?;
    write(&file, &[(order.key.as_str(), value.as_str())])
}

pub fn configure_user(order: &GitConfigureUserRequest) -> Result<(), Fault> {
    let name = names::required("name", &order.name)?;
    let email = names::required("email", &order.email)?;
    let file = file_of(order.scope.unwrap_or_default(), order.path.as_ref())?;
    write(&file, &[("user.name", name), ("user.email", email)])
}

fn write(file: &Path, values: &[(&str, &str)]) -> Result<(), Fault> {
    for (key, value) in values {
        valid_key(key)?;
        if value.contains('\0') {
            return Err(Fault::invalid("value holds a NUL byte"));
        }
    }
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Fault::of_file(&folder.to_string_lossy(), &error))?;
    }
    let mut config = open(file)?;
    for (key, value) in values {
        config.set_str(key, value).map_err(|error| {
            if error.code() == GitCode::InvalidSpec {
                bad_key(key)
            } else if error.message().contains("multivar") {
                let message = format_args!("{key} has more than one value in this file");
                Fault::new(ErrorCode::Conflict, message)
            } else if error.class() == git2::ErrorClass::Os {
                // Whether it may be written shows in the error of the file itself.
                let reason = std::fs::File::options().append(true).open(file).err();
                reason.map_or_else(
                    || error.into(),
                    |reason| Fault::of_file(&file.to_string_lossy(), &reason),
                )
            } else {
                error.into()
            }
        })?;
    }
    Ok(())
}

/// Has git look for credentials in its store, besides where it looks already.
pub fn add_store_helper() -> Result<(), Fault> {
    let file = file_of(GitConfigScope::Global, None)?;
    let mut config = open(&file)?;
    let mut is_there = false;
    if let Ok(helpers) = config.multivar("credential.helper", None) {
        helpers.for_each(|helper| is_there |= helper.value() == Ok("store"))?;
    }
    if !is_there {
        // A pattern that no value matches: adds one.
        config.set_multivar("credential.helper", "^$.", "store")?;
    }
    Ok(())
}

fn open(file: &Path) -> Result<Config, Fault> {
    Config::open(file).map_err(|error| {
        let readable = std::fs::File::open(file);
        match readable {
            Err(reason) if reason.kind() != std::io::ErrorKind::NotFound => {
                Fault::of_file(&file.to_string_lossy(), &reason)
            }
            _ => error.into(),
        }
    })
}

/// The file of a scope, whether or not it exists. Where the user has both of the files that git reads, the one in the
/// home folder counts, as it does for git.
fn file_of(scope: GitConfigScope, path: Option<&String>) -> Result<PathBuf, Fault> {
    match scope {
        GitConfigScope::System => Ok("/etc/gitconfig".into()),
        GitConfigScope::Local => {
            let path = names::given(path)
                .ok_or_else(|| Fault::invalid("the scope local needs the path of a repository"))?;
            Ok(repository::open(path)?.commondir().join("config"))
        }
        GitConfigScope::Global => {
            let home = home()?;
            let usual = home.join(".gitconfig");
            let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty());
            let folder = folder.map_or_else(|| home.join(".config"), PathBuf::from);
            let other = folder.join("git/config");
            Ok(if !usual.exists() && other.exists() {
                other
            } else {
                usual
            })
        }
    }
}

/// `section.name` or `section.anything at all.name`.
fn valid_key(key: &str) -> Result<&str, Fault> {
    names::required("key", key)?;
    let is_word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let section = key.split_once('.').map(|(section, _)| section);
    let name = key.rsplit_once('.').map(|(_, name)| name);
    let is_valid = section.is_some_and(is_word)
        && name.is_some_and(|name| {
            is_word(name) && name.starts_with(|c: char| c.is_ascii_alphabetic())
        })
        && !key.contains('\n');
    if is_valid { Ok(key) } else { Err(bad_key(key)) }
}

fn bad_key(key: &str) -> Fault {
    Fault::invalid(format_args!("{key:?} is no configuration key"))
}

#[cfg(test)]
mod tests {
    use super::valid_key;

    #[test]
    fn keys_have_a_section_and_a_name() {
        for key in ["user.name", "http.https://host/a.b/.sslVerify", "core.x1"] {
            assert!(valid_key(key).is_ok(), "{key}");
        }
        for key in [
            "",
            "name",
            ".name",
            "user.",
            "us er.name",
            "user.1",
            "a.b\n.c",
            "user.na me",
        ] {
            assert!(valid_key(key).is_err(), "{key:?}");
        }
    }
}
