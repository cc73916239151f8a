//! The remote repositories that a repository knows by name.

use alcove_agent_api::{ErrorCode, GitAddRemoteRequest, GitRemote, ListRemotesResponse};
use git2::{ErrorCode as GitCode, Remote, Repository};

use crate::helper::Cancel;
use crate::network::{Depth, Network, Tags};
use crate::url::Url;
use crate::{Fault, names, repository};

/// All of them, sorted by name.
pub fn list(path: &str) -> Result<ListRemotesResponse, Fault> {
    let repository = repository::open(path)?;
    let mut remotes = Vec::new();
    for name in repository.remotes()?.iter_bytes() {
        let name = String::from_utf8_lossy(name).into_owned();
        let remote = repository.find_remote(&name)?;
        let url = String::from_utf8_lossy(remote.url_bytes()).into_owned();
        remotes.push(GitRemote { name, url });
    }
    remotes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(ListRemotesResponse { remotes })
}

/// The remote of that name.
pub fn find<'r>(repository: &'r Repository, name: &str) -> Result<Remote<'r>, Fault> {
    let name = names::remote(name)?;
    repository
        .find_remote(name)
        .map_err(|error| match error.code() {
            GitCode::NotFound => {
                let message = format_args!("there is no remote {name:?}");
                Fault::new(ErrorCode::NotFound, message)
            }
            _ => error.into(),
        })
}

/// Notes a remote down, and fetches from it if asked. One that cannot be fetched from is not kept.
pub fn add(order: &GitAddRemoteRequest, cancel: &Cancel) -> Result<(), Fault> {
    let name = names::remote(&order.name)?;
    let url = Url::parse(&order.url)?;
    let repository = repository::open(&order.path)?;
    let former = match repository.find_remote(name) {
        Ok(remote) => Some(String::from_utf8_lossy(remote.url_bytes()).into_owned()),
        Err(error) if error.code() == GitCode::NotFound => None,
        Err(error) => return Err(error.into()),
    };
    match &former {
        None => {
            repository.remote(name, &order.url)?;
        }
        Some(_) if order.overwrite == Some(true) => repository.remote_set_url(name, &order.url)?,
        Some(_) => {
            let message = format_args!("a remote named {name:?} exists");
            return Err(Fault::new(ErrorCode::Conflict, message));
        }
    }
    if order.fetch != Some(true) {
        return Ok(());
    }
    fetch(&repository, name, url, cancel).inspect_err(|_| {
        let _ = match &former {
            Some(former) => repository.remote_set_url(name, former),
            None => repository.remote_delete(name),
        };
    })
}

fn fetch(repository: &Repository, name: &str, url: Url, cancel: &Cancel) -> Result<(), Fault> {
    let network = Network::new(repository, None, cancel)?;
    let mut wire = network.connect(find(repository, name)?, url)?;
    let specs: Vec<String> = repository
        .find_remote(name)?
        .fetch_refspecs()?
        .iter_bytes()
        .map(|spec| String::from_utf8_lossy(spec).into_owned())
        .collect();
    wire.fetch(&specs, Depth::All, Tags::Reached)
}
