//! What Microsoft's library sends by: signs each request last of all, and sends it by this crate's own client.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use azure_core::{
    error::ErrorKind,
    http::{
        AsyncRawResponse, Body, HttpClient, Request,
        headers::{HeaderName as CoreName, HeaderValue as CoreValue, Headers},
    },
};
use reqwest::{
    Method, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue},
};

use super::{Access, error::WireError};
use crate::{
    cloud::Audience,
    http::{Http, HttpError, Reply},
};

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// The client of one blob.
#[derive(Debug)]
pub(super) struct Wire {
    http: Http,
    access: Access,
}

impl Wire {
    pub(super) fn new(http: Http, access: Access) -> Self {
        Self { http, access }
    }

    async fn exchange(&self, request: &Request) -> Result<Reply, WireError> {
        let Body::Bytes(body) = request.body() else {
            return Err(WireError::Unsendable("a stream is not sent".to_owned()));
        };
        let unsendable = |_| WireError::Unsendable("a header is none".to_owned());
        let method = request.method();
        let method = Method::from_bytes(method.as_str().as_bytes())
            .map_err(|_| WireError::Unsendable("a method is none".to_owned()))?;
        let mut headers = HeaderMap::new();
        for (name, value) in request.headers().iter() {
            let name: HeaderName = name
                .as_str()
                .parse()
                .map_err(|_| WireError::Unsendable("a header is none".to_owned()))?;
            headers.insert(name, HeaderValue::from_str(value.as_str()).map_err(unsendable)?);
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        let date = httpdate::fmt_http_date(SystemTime::now());
        headers.insert("x-ms-date", HeaderValue::from_str(&date).map_err(unsendable)?);
        let send = |url: Url, headers: HeaderMap| {
            let mut request = reqwest::Request::new(method.clone(), url);
            *request.headers_mut() = headers;
            *request.body_mut() = Some(body.clone().into());
            self.http.send(request, LIMIT)
        };
        let url = request.url().clone();
        let reply = match &self.access {
            Access::Key(key) => {
                let value = key.authorization(method.as_str(), &url, &headers);
                let mut value = HeaderValue::from_str(&value).map_err(unsendable)?;
                value.set_sensitive(true);
                headers.insert(AUTHORIZATION, value);
                send(url, headers).await
            }
            Access::Signature(signature) => send(signed(url, signature), headers).await,
            Access::Identity(tokens) => {
                let token = tokens.token(Audience::Storage).await?;
                headers.insert(AUTHORIZATION, token.header());
                match send(url.clone(), headers.clone()).await {
                    Ok(reply) if reply.status == 401 => {
                        let token = tokens.instead_of(&token, Audience::Storage).await?;
                        headers.insert(AUTHORIZATION, token.header());
                        send(url, headers).await
                    }
                    other => other,
                }
            }
        };
        reply.map_err(|error| match error {
            HttpError::Unsent(why) | HttpError::Lost(why) => WireError::Unanswered(why),
            error @ HttpError::TooLong => WireError::Unsendable(error.to_string()),
        })
    }
}

/// The URL with a signature behind its own query.
fn signed(mut url: Url, signature: &str) -> Url {
    let query = match url.query() {
        Some(query) if !query.is_empty() => format!("{query}&{signature}"),
        _ => signature.to_owned(),
    };
    url.set_query(Some(&query));
    url
}

#[async_trait]
impl HttpClient for Wire {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        let reply = self.exchange(request).await.map_err(|error| {
            let text = error.to_string();
            azure_core::Error::with_error(ErrorKind::Io, error, text)
        })?;
        let headers = reply.headers.iter().filter_map(|(name, value)| {
            let value = value.to_str().ok()?.to_owned();
            Some((CoreName::from(name.as_str().to_owned()), CoreValue::from(value)))
        });
        let headers: std::collections::HashMap<_, _> = headers.collect();
        Ok(AsyncRawResponse::from_bytes(
            reply.status.into(),
            Headers::from(headers),
            reply.body.to_vec(),
        ))
    }
}
