//! Files, whose content travels as base64.

use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};

use crate::action::{Action, Context, Effect};
use crate::api::{ApiBody, Ask};
use crate::content::{DOWNLOAD_MAX_BYTES, Encoded, Encoder, UPLOAD_MAX_BYTES};
use crate::failure::Failure;
use crate::input::Fields;
use crate::room::Held;
use crate::schema::{Kind, Part, Shape};

const TRANSFER_LIMIT: Duration = Duration::from_mins(5);

/// The last part of a path.
fn base_name(path: &str) -> &str {
    path.trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or(path)
}

fn too_large(what: &str, bytes: u64, cap: u64) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("{what} has {bytes} bytes; the most is {cap}"),
    )
}

/// `upload_file`.
pub(crate) struct Upload {
    sandbox: String,
    destination: String,
    content: String,
    file_name: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the catalogue's name for the field"
)]
pub(crate) struct Uploaded {
    uploaded_path: Option<String>,
    name: Option<String>,
    size: Option<u64>,
}

impl Upload {
    /// Where the file goes, and what it is called in the answer.
    fn target(&self) -> Result<(String, String), Failure> {
        let file_name = self.file_name.as_deref().filter(|name| !name.is_empty());
        let path = if self.destination.ends_with('/') {
            let name = file_name.ok_or_else(|| {
                Failure::invalid("file_name is required where destination_path is a folder")
            })?;
            format!("{}{name}", self.destination)
        } else {
            self.destination.clone()
        };
        let name = file_name.unwrap_or_else(|| base_name(&path)).to_owned();
        Ok((path, name))
    }
}

impl Action for Upload {
    const NAME: &'static str = "upload_file";
    const ABOUT: &'static str = "Writes a file into a sandbox.";
    const EFFECT: Effect = Effect::Changes;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("uploaded_path", Shape::Maybe(Kind::Text)),
        ("name", Shape::Maybe(Kind::Text)),
        ("size", Shape::Maybe(Kind::Integer)),
    ];
    type Output = Uploaded;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            destination: fields.name(
                "destination_path",
                "Path of the file, or of a folder with a slash at its end",
            ),
            content: fields.required_text("file_content_base64", "Content of the file in base64"),
            file_name: fields.text("file_name", "Name of the file in a folder"),
        }
    }

    fn limit(&self) -> Duration {
        TRANSFER_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(Uploaded, Option<Held>), Failure> {
        let (path, name) = self.target()?;
        let encoded = Encoded::parse(self.content)?;
        let size = encoded.decoded_bytes();
        if size > UPLOAD_MAX_BYTES {
            return Err(too_large("the file", size, UPLOAD_MAX_BYTES));
        }
        let (content_type, body) = form(encoded);
        Ask::toolbox(Method::POST, &self.sandbox, "/files/upload")
            .query("path", &path)
            .streamed(content_type, body)
            .done(context.api)
            .await?;
        let uploaded = Uploaded {
            uploaded_path: Some(path),
            name: Some(name),
            size: Some(size),
        };
        Ok((uploaded, None))
    }
}

/// A form whose one field is the file, decoded as it is sent.
fn form(encoded: Encoded) -> (String, ApiBody) {
    let boundary = boundary();
    let head = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"file\"\r\n\
         content-type: application/octet-stream\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    let pieces = stream::iter([Bytes::from(head)])
        .chain(encoded.into_pieces())
        .chain(stream::iter([Bytes::from(tail)]))
        .map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = StreamBody::new(pieces)
        .map_err(|never| match never {})
        .boxed_unsync();
    (format!("multipart/form-data; boundary={boundary}"), body)
}

/// Nobody who makes a file can know what it will be delimited by. The seeds are those of the standard library's tables.
fn boundary() -> String {
    let number = || RandomState::new().build_hasher().finish();
    format!("alcove-{:016x}{:016x}", number(), number())
}

/// `download_file`.
pub(crate) struct Download {
    sandbox: String,
    path: String,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Downloaded {
    name: Option<String>,
    mime_type: Option<String>,
    size: Option<u64>,
    content_base64: Option<String>,
}

impl Action for Download {
    const NAME: &'static str = "download_file";
    const ABOUT: &'static str = "Reads a file of a sandbox, of 100 MiB at most.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[
        ("name", Shape::Maybe(Kind::Text)),
        ("mime_type", Shape::Maybe(Kind::Text)),
        ("size", Shape::Maybe(Kind::Integer)),
        ("content_base64", Shape::Maybe(Kind::Text)),
    ];
    type Output = Downloaded;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            path: fields.name("file_path", "Path of the file"),
        }
    }

    fn limit(&self) -> Duration {
        TRANSFER_LIMIT
    }

    async fn run(self, context: Context<'_>) -> Result<(Downloaded, Option<Held>), Failure> {
        let response = Ask::toolbox(Method::GET, &self.sandbox, "/files/download")
            .query("path", &self.path)
            .open(context.api)
            .await?;
        let announced = response.headers().get(CONTENT_LENGTH);
        let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if let Some(bytes) = announced.filter(|bytes| *bytes > DOWNLOAD_MAX_BYTES) {
            return Err(too_large(&self.path, bytes, DOWNLOAD_MAX_BYTES));
        }
        // Files of the kernel do not know their size.
        let expected = announced.unwrap_or(DOWNLOAD_MAX_BYTES);
        let held = context.room.hold(expected / 3 * 4).await;
        let mut encoder = Encoder::with_capacity_for(announced.unwrap_or_default());
        let mut size = 0;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let Ok(piece) = frame.map_err(|_| Failure::broken())?.into_data() else {
                continue;
            };
            size += piece.len() as u64;
            // It may have grown since it told its size.
            if size > DOWNLOAD_MAX_BYTES {
                return Err(too_large(&self.path, size, DOWNLOAD_MAX_BYTES));
            }
            encoder.push(&piece);
        }
        let mime_type = mime_guess::from_path(&self.path).first_or_octet_stream();
        let downloaded = Downloaded {
            name: Some(base_name(&self.path).to_owned()),
            mime_type: Some(mime_type.to_string()),
            size: Some(size),
            content_base64: Some(encoder.finish()),
        };
        Ok((downloaded, Some(held)))
    }
}

const FILE_INFO: Part = Part {
    name: "FileInfo",
    fields: &[
        ("name", Shape::Maybe(Kind::Text)),
        ("is_dir", Shape::Maybe(Kind::Boolean)),
        ("size", Shape::Maybe(Kind::Integer)),
        ("mode", Shape::Maybe(Kind::Text)),
        ("permissions", Shape::Maybe(Kind::Text)),
        ("owner", Shape::Maybe(Kind::Text)),
        ("group", Shape::Maybe(Kind::Text)),
        ("modified_at", Shape::Maybe(Kind::Text)),
    ],
};

/// What is told of a file.
#[derive(Debug, Serialize)]
pub(crate) struct FileInfo {
    name: Option<String>,
    is_dir: Option<bool>,
    size: Option<u64>,
    mode: Option<String>,
    permissions: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    modified_at: Option<String>,
}

/// The same as toolboxes write it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownFile {
    name: Option<String>,
    is_dir: Option<bool>,
    size: Option<u64>,
    mode: Option<String>,
    permissions: Option<String>,
    owner: Option<String>,
    group: Option<String>,
    modified_at: Option<String>,
    /// The same in older ones, in another form.
    mod_time: Option<String>,
}

impl From<ShownFile> for FileInfo {
    fn from(shown: ShownFile) -> Self {
        Self {
            name: shown.name,
            is_dir: shown.is_dir,
            size: shown.size,
            mode: shown.mode,
            permissions: shown.permissions,
            owner: shown.owner,
            group: shown.group,
            modified_at: shown.modified_at.or(shown.mod_time),
        }
    }
}

/// `list_files`.
pub(crate) struct List {
    sandbox: String,
    path: Option<String>,
}

#[derive(Debug, Default, Serialize)]
pub(crate) struct Files {
    files: Vec<FileInfo>,
}

impl Action for List {
    const NAME: &'static str = "list_files";
    const ABOUT: &'static str = "Lists what is in a folder of a sandbox.";
    const EFFECT: Effect = Effect::Reads;
    const IS_IDEMPOTENT: bool = true;
    const OUTPUT: &'static [(&'static str, Shape)] = &[("files", Shape::Parts(FILE_INFO))];
    type Output = Files;

    fn read(fields: &mut Fields) -> Self {
        Self {
            sandbox: fields.sandbox(),
            path: fields.text(
                "path",
                "Path of the folder; the working directory when left out",
            ),
        }
    }

    async fn run(self, context: Context<'_>) -> Result<(Files, Option<Held>), Failure> {
        let files: Vec<ShownFile> = Ask::toolbox(Method::GET, &self.sandbox, "/files")
            .query_if("path", self.path.as_deref())
            .value(context.api)
            .await?;
        let files = files.into_iter().map(FileInfo::from).collect();
        Ok((Files { files }, None))
    }
}
