//! What Resource Manager answered, as far as anybody needs it.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use reqwest::header::{DATE, ETAG, HeaderMap, LOCATION, RETRY_AFTER};
use serde_json::Value;

/// Where the state of a long-running operation is.
const ASYNC_OPERATION: &str = "azure-asyncoperation";
/// Azure's number for the request.
const REQUEST_ID: &str = "x-ms-request-id";

/// Longest URL that is taken, in bytes; the RPC asks clients for 4 KB.
const MAX_URL: usize = 16 << 10;

/// An answer. `Debug` shows no body, and of URLs no query: either may hold secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Answer {
    /// The status of HTTP.
    pub status: u16,
    /// The body; `Null` if there is none.
    pub body: Value,
    /// How long to wait before the next question.
    pub retry_after: Option<Duration>,
    /// `Azure-AsyncOperation`, as it came.
    pub async_operation: Option<String>,
    /// `Location`, as it came.
    pub location: Option<String>,
    /// The resource's tag.
    pub etag: Option<String>,
    /// What Azure's support finds the request by.
    pub request_id: Option<String>,
}

impl Answer {
    /// What the headers say. `time_of_day` is this machine's.
    pub(crate) fn from_headers(status: u16, headers: &HeaderMap, time_of_day: SystemTime) -> Self {
        let text = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        let url = |name| text(name).filter(|url| url.len() <= MAX_URL);
        // The server's own clock, if it tells: this machine's may be wrong.
        let date = text(DATE.as_str()).and_then(|date| httpdate::parse_http_date(&date).ok());
        Self {
            status,
            body: Value::Null,
            retry_after: text(RETRY_AFTER.as_str()).and_then(|value| retry_after(&value, date.unwrap_or(time_of_day))),
            async_operation: url(ASYNC_OPERATION),
            location: url(LOCATION.as_str()),
            etag: text(ETAG.as_str()),
            request_id: text(REQUEST_ID).map(|id| id.chars().take(100).collect()),
        }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("retry_after", &self.retry_after)
            .field("async_operation", &self.async_operation.as_deref().map(without_query))
            .field("location", &self.location.as_deref().map(without_query))
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// A URL as logs may have it.
pub(crate) fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Reads `Retry-After`: seconds, or an instant in one of HTTP's three forms (*RFC 9110, 10.2.3*), seen from `now`.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = httpdate::parse_http_date(value).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn how_long_to_wait_is_read_in_every_form() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:07 GMT").unwrap();
        // (header, seconds)
        for (value, secs) in [
            ("0", Some(0)),
            (" 17 ", Some(17)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
            ("Sun Nov  6 08:49:37 1994", Some(30)),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
            ("", None),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
        ] {
            assert_eq!(retry_after(value, now), secs.map(Duration::from_secs), "{value:?}");
        }
    }

    #[test]
    fn a_wrong_clock_here_does_not_change_the_wait() {
        let headers: HeaderMap = [
            (RETRY_AFTER, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")),
            (DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:17 GMT")),
        ]
        .into_iter()
        .collect();
        let answer = Answer::from_headers(429, &headers, SystemTime::UNIX_EPOCH);
        assert_eq!(answer.retry_after, Some(Duration::from_secs(20)));
    }

    #[test]
    fn a_poll_url_of_four_kilobytes_is_taken_and_its_query_is_not_shown() {
        let url = format!("https://management.azure.com/operations/1?s={}", "a".repeat(4 << 10));
        let headers: HeaderMap = [(LOCATION, HeaderValue::from_str(&url).unwrap())].into_iter().collect();
        let answer = Answer::from_headers(202, &headers, SystemTime::UNIX_EPOCH);
        assert_eq!(answer.location.as_deref(), Some(url.as_str()));
        assert!(!format!("{answer:?}").contains("aaaa"));
        let long = HeaderValue::from_str(&"a".repeat(MAX_URL + 1)).unwrap();
        let headers: HeaderMap = [(LOCATION, long)].into_iter().collect();
        assert_eq!(
            Answer::from_headers(202, &headers, SystemTime::UNIX_EPOCH).location,
            None
        );
    }
}
