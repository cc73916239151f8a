//! JSON of requests.

use alcove_agent_api::ErrorCode;
use axum::body::Body;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::http::ApiError;

/// Longest JSON body. Commands of several megabytes are in use.
const MAX_JSON_BYTES: usize = 64 << 20;

/// Reads the whole body as a JSON object, whatever its content type says.
pub async fn read_json<T: DeserializeOwned>(
    body: Body,
    otherwise: ErrorCode,
) -> Result<T, ApiError> {
    let collected = Limited::new(body, MAX_JSON_BYTES).collect().await;
    let bytes = collected.map_err(|error| {
        if error.downcast_ref::<LengthLimitError>().is_some() {
            ApiError::new(
                otherwise,
                format_args!("body is longer than {MAX_JSON_BYTES} bytes"),
            )
        } else {
            ApiError::new(otherwise, format_args!("cannot read the body: {error}"))
        }
    })?;
    let bytes = bytes.to_bytes();
    // A list of values would be taken for the members in order.
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        return Err(ApiError::new(otherwise, "expected an object, not a list"));
    }
    serde_json::from_slice(&bytes).map_err(|error| ApiError::new(otherwise, error))
}
