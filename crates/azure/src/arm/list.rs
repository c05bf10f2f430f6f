//! Lists, page by page.

use std::collections::HashSet;

use reqwest::{Url, header::HeaderMap};
use serde_json::Value;

use super::{Arm, ArmError};
use crate::{Method, Request};

/// Most pages of a list.
const MAX_PAGES: usize = 1_000;

impl Arm {
    /// Everything in a list, over all its pages.
    ///
    /// # Errors
    ///
    /// As [`Arm::send`]; and if a page is none, or leads to another host, or the list has no end: no part of a list is given
    /// for the whole.
    pub async fn list(&self, request: &Request) -> Result<Vec<Value>, ArmError> {
        let mut answer = self.send(request).await?;
        let (mut items, mut seen) = (Vec::new(), HashSet::new());
        loop {
            let Some(Value::Array(page)) = answer.body.get_mut("value").map(Value::take) else {
                return Err(self.unreadable("a page of the list has no items"));
            };
            items.extend(page);
            let next = match answer.body.get("nextLink").and_then(Value::as_str) {
                None | Some("") => return Ok(items),
                Some(next) => next,
            };
            let url = Url::parse(next).ok().filter(|url| self.cloud.owns(url));
            let url = url.ok_or_else(|| self.unreadable("the list goes on at another host"))?;
            if seen.len() >= MAX_PAGES || !seen.insert(next.to_owned()) {
                return Err(self.unreadable("the list has no end"));
            }
            answer = self.exchange(Method::Get, url, HeaderMap::new(), None, true).await?;
        }
    }
}
