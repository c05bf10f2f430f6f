//! A request, as data: it can be sent, and it can be shown to people without its secrets.

use std::fmt;

use reqwest::Url;
use serde_json::Value;

use crate::{
    Cloud,
    path::{Path, encode_pairs},
};

/// What stands in a secret's place.
const HIDDEN: &str = "<hidden>";

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads.
    Get,
    /// Asks whether it is there.
    Head,
    /// Makes it, or makes it so.
    Put,
    /// Changes parts of it.
    Patch,
    /// Has something done.
    Post,
    /// Removes it.
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    /// Whether it leaves everything as it is.
    pub fn is_reading(self) -> bool {
        matches!(self, Self::Get | Self::Head)
    }
}

/// A request to Resource Manager. `Debug` and [`Request::plan`] hide its secrets.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// To what.
    pub path: Path,
    /// `2024-11-01`: Resource Manager wants it in every request.
    pub api_version: String,
    /// Names and values beside `api-version`.
    pub query: Vec<(String, String)>,
    /// Done only if the resource has this tag.
    pub if_match: Option<String>,
    /// `*`: done only if there is no such resource yet.
    pub if_none_match: Option<String>,
    /// What is sent along; `None` is nothing.
    pub body: Option<Value>,
    secrets: Vec<String>,
    is_repeatable: bool,
}

impl Request {
    /// Without anything beside the path and the version.
    pub fn new(method: Method, path: impl Into<Path>, api_version: &str) -> Self {
        Self {
            method,
            path: path.into(),
            api_version: api_version.to_owned(),
            query: Vec::new(),
            if_match: None,
            if_none_match: None,
            body: None,
            secrets: Vec::new(),
            is_repeatable: method != Method::Post,
        }
    }

    /// With this query beside what it has.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Makes, and never changes: fails with status 412 if there is such a resource.
    #[must_use]
    pub fn if_absent(mut self) -> Self {
        self.if_none_match = Some("*".to_owned());
        self
    }

    /// With this body.
    #[must_use]
    pub fn with_body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// With a secret at this JSON pointer (*RFC 6901*) of the body, which is never shown. A pointer that leads nowhere hides
    /// the whole body.
    #[must_use]
    pub fn with_secret(mut self, pointer: &str) -> Self {
        self.secrets.push(pointer.to_owned());
        self
    }

    /// May be sent again if it cannot be told whether it was done. All but POST may be anyhow.
    #[must_use]
    pub fn repeatable(mut self) -> Self {
        self.is_repeatable = true;
        self
    }

    /// Whether it may be sent again if it cannot be told whether it was done.
    pub fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    /// Where it goes.
    pub fn url(&self, cloud: &Cloud) -> Url {
        let mut url = cloud.management().clone();
        url.set_path(self.path.as_str());
        let pairs = self.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut query = String::new();
        encode_pairs(pairs.chain([("api-version", self.api_version.as_str())]), &mut query);
        url.set_query(Some(&query));
        url
    }

    /// The body as people may see it; `None` if there is none.
    pub fn shown_body(&self) -> Option<Value> {
        let mut body = self.body.clone()?;
        for pointer in &self.secrets {
            match body.pointer_mut(pointer) {
                Some(secret) => *secret = Value::from(HIDDEN),
                None => return Some(Value::from(HIDDEN)),
            }
        }
        Some(body)
    }

    /// For people who want to see what would be sent: method, URL, conditions, body; no secrets.
    pub fn plan<'r>(&'r self, cloud: &'r Cloud) -> Plan<'r> {
        Plan { request: self, cloud }
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path)
            .field("api_version", &self.api_version)
            .field("query", &self.query)
            .field("if_match", &self.if_match)
            .field("if_none_match", &self.if_none_match)
            .field("body", &self.shown_body())
            .field("is_repeatable", &self.is_repeatable)
            .finish_non_exhaustive()
    }
}

/// A request as text for people.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'r> {
    request: &'r Request,
    cloud: &'r Cloud,
}

impl fmt::Display for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = self.request;
        writeln!(f, "{} {}", request.method.as_str(), request.url(self.cloud))?;
        for (name, value) in [
            ("If-Match", &request.if_match),
            ("If-None-Match", &request.if_none_match),
        ] {
            if let Some(value) = value {
                writeln!(f, "{name}: {value}")?;
            }
        }
        if let Some(body) = request.shown_body() {
            writeln!(f, "Content-Type: application/json\n\n{body:#}")?;
        }
        Ok(())
    }
}

impl From<&crate::ResourceId> for Path {
    fn from(id: &crate::ResourceId) -> Self {
        id.path()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::ResourceId;

    fn machine() -> Request {
        let id: ResourceId = "/subscriptions/s/resourceGroups/a b/providers/Microsoft.Compute/virtualMachines/adit-1"
            .parse()
            .unwrap();
        Request::new(Method::Put, &id, "2024-11-01")
            .with_query("$expand", "instanceView & more")
            .if_absent()
            .with_body(json!({"location": "westeurope", "properties": {"osProfile": {"customData": "c2VjcmV0"}}}))
            .with_secret("/properties/osProfile/customData")
    }

    #[test]
    fn a_plan_shows_all_that_would_be_sent_but_secrets() {
        let plan = machine().plan(&Cloud::default()).to_string();
        assert_eq!(
            plan,
            concat!(
                "PUT https://management.azure.com/subscriptions/s/resourceGroups/a%20b/providers/Microsoft.Compute/",
                "virtualMachines/adit-1?%24expand=instanceView%20%26%20more&api-version=2024-11-01\n",
                "If-None-Match: *\n",
                "Content-Type: application/json\n",
                "\n",
                "{\n",
                "  \"location\": \"westeurope\",\n",
                "  \"properties\": {\n",
                "    \"osProfile\": {\n",
                "      \"customData\": \"<hidden>\"\n",
                "    }\n",
                "  }\n",
                "}\n",
            )
        );
    }

    #[test]
    fn no_secret_is_in_debug_or_plan_even_if_its_place_is_wrong() {
        for request in [machine(), machine().with_secret("/properties/nowhere")] {
            for text in [
                format!("{request:?}"),
                format!("{request:#?}"),
                request.plan(&Cloud::default()).to_string(),
            ] {
                assert!(!text.contains("c2VjcmV0"), "{text}");
                assert!(text.contains("<hidden>"), "{text}");
            }
        }
    }

    #[test]
    fn only_a_post_is_not_repeated() {
        let path = Path::new(&["subscriptions"]).unwrap();
        for method in [Method::Get, Method::Head, Method::Put, Method::Patch, Method::Delete] {
            assert!(Request::new(method, path.clone(), "1").is_repeatable(), "{method:?}");
        }
        let post = Request::new(Method::Post, path, "1");
        assert!(!post.is_repeatable());
        assert!(post.repeatable().is_repeatable());
    }

    proptest! {
        #[test]
        fn whatever_a_query_holds_it_arrives_as_it_is(name in ".{1,20}", value in ".{0,40}") {
            let path = Path::new(&["subscriptions", "s"]).unwrap();
            let url = Request::new(Method::Get, path, "2022-12-01").with_query(&name, &value).url(&Cloud::default());
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [(name, value), ("api-version".to_owned(), "2022-12-01".to_owned())]);
            prop_assert_eq!(url.path(), "/subscriptions/s");
        }
    }
}
