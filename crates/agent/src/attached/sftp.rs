//! Files by SFTP, as the sandbox's user: version 3 with what OpenSSH adds.
//!
//! The protocol is the library's; here is what each request does. All of it blocks, so it is done on threads that may.

mod attributes;
mod files;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use alcove_agent_api::RUN_WINDOW_BYTES;
use bytes::Bytes;
use russh_sftp::protocol::{
    Attrs, Data, ExtendedReply, FileAttributes, Handle, Name, OpenFlags, Packet, Status,
    StatusCode, Version,
};
use russh_sftp::server::{Config, Handler, StatusReply, run_with_config};
use tokio::io::{AsyncRead, AsyncWrite, duplex};
use tokio::task::spawn_blocking;

use self::files::{Fault, Files, READ_MAX_BYTES};
use crate::agent::Agent;

/// Longest packet: what is written at once, and its head.
const PACKET_MAX_BYTES: u32 = 256 << 10;

/// Serves one client until it leaves or the agent ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(agent: Arc<Agent>, mut stream: S) {
    let (mut near, far) = duplex(RUN_WINDOW_BYTES);
    let handler = Sftp {
        files: Arc::new(Files::new(agent.home.work_dir.clone())),
    };
    let config = Config {
        max_client_packet_len: PACKET_MAX_BYTES,
    };
    // The library runs it as a task of its own, which ends with this stream.
    run_with_config(far, handler, config).await;
    tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut stream, &mut near) => {}
        () = agent.stopping() => {}
    }
}

struct Sftp {
    files: Arc<Files>,
}

impl fmt::Debug for Sftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sftp").finish_non_exhaustive()
    }
}

impl From<Fault> for StatusReply {
    fn from(fault: Fault) -> Self {
        let (code, message) = fault.into_parts();
        code.with_message(message)
    }
}

impl Sftp {
    /// Does what may block.
    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let files = Arc::clone(&self.files);
        spawn_blocking(move || act(&files))
            .await
            .unwrap_or_else(|_| Err(Fault::failed("the request could not be done")))
    }

    async fn done(
        &self,
        id: u32,
        act: impl FnOnce(&Files) -> Result<(), Fault> + Send + 'static,
    ) -> Result<Status, Fault> {
        self.with(act).await?;
        Ok(Status {
            id,
            status_code: StatusCode::Ok,
            error_message: "Ok".to_owned(),
            language_tag: "en".to_owned(),
        })
    }
}

impl Handler for Sftp {
    type Error = Fault;

    fn unimplemented(&self) -> Fault {
        Fault::Unsupported
    }

    async fn init(&mut self, _: u32, _: HashMap<String, String>) -> Result<Version, Fault> {
        let mut version = Version::new();
        for (name, revision) in [
            ("posix-rename@openssh.com", "1"),
            ("hardlink@openssh.com", "1"),
            ("fsync@openssh.com", "1"),
            ("lsetstat@openssh.com", "1"),
            ("limits@openssh.com", "1"),
        ] {
            version
                .extensions
                .insert(name.to_owned(), revision.to_owned());
        }
        Ok(version)
    }

    async fn open(
        &mut self,
        id: u32,
        filename: String,
        pflags: OpenFlags,
        attrs: FileAttributes,
    ) -> Result<Handle, Fault> {
        let handle = self.with(move |files| files.open(&filename, pflags, &attrs));
        Ok(Handle {
            id,
            handle: handle.await?,
        })
    }

    async fn close(&mut self, id: u32, handle: String) -> Result<Status, Fault> {
        self.done(id, move |files| files.close(&handle)).await
    }

    async fn read(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        len: u32,
    ) -> Result<Data, Fault> {
        let data = self.with(move |files| files.read(&handle, offset, len));
        Ok(Data {
            id,
            data: data.await?,
        })
    }

    async fn write(
        &mut self,
        id: u32,
        handle: String,
        offset: u64,
        data: Vec<u8>,
    ) -> Result<Status, Fault> {
        self.done(id, move |files| files.write(&handle, offset, &data))
            .await
    }

    async fn lstat(&mut self, id: u32, path: String) -> Result<Attrs, Fault> {
        let attrs = self.with(move |files| files.stat(&path, false)).await?;
        Ok(Attrs { id, attrs })
    }

    async fn stat(&mut self, id: u32, path: String) -> Result<Attrs, Fault> {
        let attrs = self.with(move |files| files.stat(&path, true)).await?;
        Ok(Attrs { id, attrs })
    }

    async fn fstat(&mut self, id: u32, handle: String) -> Result<Attrs, Fault> {
        let attrs = self.with(move |files| files.stat_open(&handle)).await?;
        Ok(Attrs { id, attrs })
    }

    async fn setstat(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Fault> {
        self.done(id, move |files| files.set(&path, &attrs, true))
            .await
    }

    async fn fsetstat(
        &mut self,
        id: u32,
        handle: String,
        attrs: FileAttributes,
    ) -> Result<Status, Fault> {
        self.done(id, move |files| files.set_open(&handle, &attrs))
            .await
    }

    async fn opendir(&mut self, id: u32, path: String) -> Result<Handle, Fault> {
        let handle = self.with(move |files| files.open_folder(&path)).await?;
        Ok(Handle { id, handle })
    }

    async fn readdir(&mut self, id: u32, handle: String) -> Result<Name, Fault> {
        let files = self.with(move |files| files.read_folder(&handle)).await?;
        Ok(Name { id, files })
    }

    async fn remove(&mut self, id: u32, filename: String) -> Result<Status, Fault> {
        self.done(id, move |files| files.remove(&filename)).await
    }

    async fn mkdir(
        &mut self,
        id: u32,
        path: String,
        attrs: FileAttributes,
    ) -> Result<Status, Fault> {
        self.done(id, move |files| files.make_folder(&path, &attrs))
            .await
    }

    async fn rmdir(&mut self, id: u32, path: String) -> Result<Status, Fault> {
        self.done(id, move |files| files.remove_folder(&path)).await
    }

    async fn realpath(&mut self, id: u32, path: String) -> Result<Name, Fault> {
        let file = self.with(move |files| files.real_path(&path)).await?;
        Ok(Name {
            id,
            files: vec![file],
        })
    }

    async fn rename(&mut self, id: u32, oldpath: String, newpath: String) -> Result<Status, Fault> {
        self.done(id, move |files| files.rename(&oldpath, &newpath, false))
            .await
    }

    async fn readlink(&mut self, id: u32, path: String) -> Result<Name, Fault> {
        let file = self.with(move |files| files.read_link(&path)).await?;
        Ok(Name {
            id,
            files: vec![file],
        })
    }

    async fn symlink(
        &mut self,
        id: u32,
        linkpath: String,
        targetpath: String,
    ) -> Result<Status, Fault> {
        // OpenSSH sends the two in the order of `ln -s`, not of the draft, and so does everybody who speaks to it.
        self.done(id, move |files| files.link_symbolic(&linkpath, &targetpath))
            .await
    }

    async fn extended(&mut self, id: u32, request: String, data: Vec<u8>) -> Result<Packet, Fault> {
        let mut fields = Fields(Bytes::from(data));
        let status = match request.as_str() {
            "posix-rename@openssh.com" => {
                let (old, new) = (fields.text()?, fields.text()?);
                self.done(id, move |files| files.rename(&old, &new, true))
                    .await
            }
            "hardlink@openssh.com" => {
                let (old, new) = (fields.text()?, fields.text()?);
                self.done(id, move |files| files.link_hard(&old, &new))
                    .await
            }
            "fsync@openssh.com" => {
                let handle = fields.text()?;
                self.done(id, move |files| files.sync(&handle)).await
            }
            "lsetstat@openssh.com" => {
                let (path, attrs) = (fields.text()?, fields.attributes()?);
                self.done(id, move |files| files.set(&path, &attrs, false))
                    .await
            }
            "limits@openssh.com" => {
                let limits = [
                    u64::from(PACKET_MAX_BYTES),
                    u64::from(READ_MAX_BYTES),
                    u64::from(READ_MAX_BYTES),
                    files::HANDLES_MAX as u64,
                ];
                let data = limits.into_iter().flat_map(u64::to_be_bytes).collect();
                return Ok(Packet::ExtendedReply(ExtendedReply { id, data }));
            }
            _ => Err(Fault::Unsupported),
        };
        status.map(Packet::Status)
    }
}

/// The fields of a request that OpenSSH adds.
struct Fields(Bytes);

impl Fields {
    fn number(&mut self) -> Result<u32, Fault> {
        let (number, _) = self.0.split_first_chunk::<4>().ok_or(Fault::BadMessage)?;
        let number = u32::from_be_bytes(*number);
        drop(self.0.split_to(4));
        Ok(number)
    }

    fn text(&mut self) -> Result<String, Fault> {
        let length = usize::try_from(self.number()?).map_err(|_| Fault::BadMessage)?;
        if length > self.0.len() {
            return Err(Fault::BadMessage);
        }
        String::from_utf8(self.0.split_to(length).to_vec()).map_err(|_| Fault::BadMessage)
    }

    fn attributes(&mut self) -> Result<FileAttributes, Fault> {
        let flags = self.number()?;
        let mut attributes = FileAttributes::empty();
        if flags & 1 != 0 {
            let (high, low) = (self.number()?, self.number()?);
            attributes.size = Some(u64::from(high) << 32 | u64::from(low));
        }
        if flags & 2 != 0 {
            attributes.uid = Some(self.number()?);
            attributes.gid = Some(self.number()?);
        }
        if flags & 4 != 0 {
            attributes.permissions = Some(self.number()?);
        }
        if flags & 8 != 0 {
            attributes.atime = Some(self.number()?);
            attributes.mtime = Some(self.number()?);
        }
        Ok(attributes)
    }
}
