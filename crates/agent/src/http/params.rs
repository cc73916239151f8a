//! Query parameters.

use percent_encoding::percent_decode_str;

use crate::http::ApiError;

/// The parameters of a query string, in order; of a repeated one the first counts.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    pub fn parse(query: Option<&str>) -> Self {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        )
    }

    pub fn get(&self, wanted: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(name, _)| name == wanted);
        pair.map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there and not empty.
    pub fn required(&self, name: &str) -> Result<&str, ApiError> {
        self.get(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| ApiError::bad_request(format_args!("parameter {name} is required")))
    }
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Params {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query()))
    }
}

fn decode(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_the_first_counts() {
        let params = Params::parse(Some("path=%2Ftmp%2F%C3%A9+a&path=b&empty&x=1=2"));
        assert_eq!(params.get("path"), Some("/tmp/é a"));
        assert_eq!(params.get("empty"), Some(""));
        assert_eq!(params.get("x"), Some("1=2"));
        assert!(params.required("empty").is_err());
        assert!(params.required("absent").is_err());
    }
}
