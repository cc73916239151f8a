//! Files by HTTP.

use std::fs::{File, FileTimes};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, SystemTime};

use alcove_agent_api::ErrorCode;
use git2::Config;
use jiff::fmt::rfc2822::DateTimeParser;

use crate::Fault;
use crate::helper::Cancel;
use crate::http::Client;
use crate::url::Url;

/// What builders of images give to a file that is fetched.
const MODE: u32 = 0o600;

const PIECE_BYTES: usize = 128 << 10;

/// Writes what is at an address to a file that is not there yet.
pub fn download(address: &str, path: &str, cancel: &Cancel) -> Result<(), Fault> {
    let url = Url::of_file(address)?;
    let client = Client::new(&Config::new()?, &url)?;
    let mut answer = client.get(&url.text, url.credentials.as_ref())?;
    if answer.status != 200 {
        let message = format_args!("{} was answered with HTTP {}", url.text, answer.status);
        return Err(Fault::new(ErrorCode::NotFound, message));
    }
    let failed = |error: std::io::Error| Fault::of_file(path, &error);
    let mut file = File::options();
    let file = file.write(true).create_new(true).mode(MODE).open(path);
    let mut file = file.map_err(failed)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        if cancel.is_set() {
            return Err(Fault::internal("nobody waits for the file any more"));
        }
        let count = answer.body.read(&mut piece).map_err(|error| {
            let message = format_args!("{} broke off: {error}", url.text);
            Fault::new(ErrorCode::GitTransportFailed, message)
        })?;
        if count == 0 {
            break;
        }
        file.write_all(&piece[..count]).map_err(failed)?;
    }
    // A server that tells nothing, or nonsense, leaves the file the time at which it came.
    let told = DateTimeParser::new().parse_timestamp(&answer.last_modified);
    let told = told.map(|time| u64::try_from(time.as_second()));
    if let Ok(Ok(seconds)) = told {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let time = FileTimes::new().set_modified(time);
        file.set_times(time).map_err(failed)?;
    }
    Ok(())
}
