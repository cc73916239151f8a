//! Query parameters.

use percent_encoding::percent_decode_str;

use crate::http::ApiError;

/// The parameters of a query string, in order; of a repeated one the first counts.
#[derive(Debug, Default)]
pub struct Params(Vec<(String, String)>);

impl Params {
    /// # Errors
    /// A value is not UTF-8. Paths are text on this API, as they are in the JSON of its answers.
    pub fn parse(query: Option<&str>) -> Result<Self, ApiError> {
        let pairs = query
            .unwrap_or_default()
            .split('&')
            .filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| {
                let value = decode(value).ok_or_else(|| {
                    ApiError::bad_request(format_args!("parameter {name} is not UTF-8"))
                })?;
                Ok((decode(name).unwrap_or_default(), value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
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
    type Rejection = ApiError;

    async fn from_request_parts(
        parts: &mut http::request::Parts,
        _: &S,
    ) -> Result<Self, Self::Rejection> {
        Self::parse(parts.uri.query())
    }
}

fn decode(text: &str) -> Option<String> {
    let spaced = text.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test may panic")]
    use super::*;

    #[test]
    fn values_are_decoded_and_the_first_counts() {
        let params = Params::parse(Some("path=%2Ftmp%2F%C3%A9+a&path=b&empty&x=1=2")).unwrap();
        assert_eq!(params.get("path"), Some("/tmp/é a"));
        assert_eq!(params.get("empty"), Some(""));
        assert_eq!(params.get("x"), Some("1=2"));
        assert!(params.required("empty").is_err());
        assert!(params.required("absent").is_err());
    }

    #[test]
    fn a_value_that_is_no_text_is_refused_by_its_name() {
        let error = Params::parse(Some("a=b&path=%FF")).unwrap_err();
        assert_eq!(error.message, "bad request: parameter path is not UTF-8");
    }
    #[test]
    fn random_paths_and_patterns_are_taken_or_refused() {
        use crate::file::read::{RangeAsked, range_asked};
        use crate::file::walk::clean;
        use alcove_glob::Glob;

        crate::fuzz::run("paths", |input| {
            let text = String::from_utf8_lossy(input);
            let cleaned = clean(&text);
            assert_eq!(clean(&cleaned), cleaned);
            assert!(!cleaned.contains("//") && !cleaned.contains("/./"));
            let inner_dots = cleaned.trim_start_matches("../");
            assert!(!inner_dots.contains("/../") && !inner_dots.ends_with("/.."));
            if let RangeAsked::Part { start, length } = range_asked(Some(&text), 1000) {
                assert!(length > 0 && start + length <= 1000);
            }
            if let Some(target) = crate::http::ports::Target::parse(&text) {
                assert!(
                    target.port > 0 && (target.path.is_empty() || target.path.starts_with('/'))
                );
            }
            if let Ok(params) = Params::parse(Some(&text))
                && let Some(glob) = params.get("pattern").and_then(Glob::parse)
            {
                glob.matches(params.get("path").unwrap_or_default());
            }
        });
    }
}
