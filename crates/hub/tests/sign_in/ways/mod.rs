//! Ways to come in where one does not belong, each refused.

mod above;
mod begun;
mod blocked;
mod credential;
mod site;

use serde_json::{Value, json};

use crate::{
    browser::{Browser, Question},
    entry,
    hub::Hub,
    idp::Idp,
};

const KEY: &str = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=";
const OTHER_KEY: &str = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=";

/// A hub with somebody's lease, somebody else, and an admin.
struct World {
    idp: Idp,
    hub: Hub,
    ada: Browser,
    eve: Browser,
    root: Browser,
    lease: String,
}

/// A way in: what it is, by whom, how, and how it is refused: the status and the problem's code.
type Way = (&'static str, Browser, Question, u16, &'static str);

impl World {
    async fn new() -> Self {
        let idp = Idp::start().await;
        let hub = Hub::public(&idp.issuer);
        let ada = entry::as_member(&hub, &idp, "ada", &["vpn-users"]).await;
        let eve = entry::as_member(&hub, &idp, "eve", &["vpn-users"]).await;
        let root = entry::as_member(&hub, &idp, "root", &["vpn-admins"]).await;
        let request = json!({"peers": [{"name": "phone", "public_key": KEY}]});
        let answer = ada
            .peek(Self::write(&ada, "POST", "/api/v1/leases").await.json(&request))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let lease: Value = serde_json::from_slice(&answer.body).unwrap();
        let lease = lease["id"].as_str().unwrap().to_owned();
        Self {
            idp,
            hub,
            ada,
            eve,
            root,
            lease,
        }
    }

    /// As a script of the hub's own page writes.
    async fn write(browser: &Browser, method: &'static str, path: &str) -> Question {
        let question = Question::api(method, path).on_own_page(&browser.hub);
        question.with("x-csrf-token", &browser.csrf().await)
    }

    fn nobody(&self) -> Browser {
        Browser::new(&self.hub)
    }

    /// Somebody with this cookie for a session.
    fn with_cookie(&self, name: &str, value: &str) -> Browser {
        let mut browser = self.nobody();
        browser.cookies.insert(name.to_owned(), value.to_owned());
        browser
    }

    fn session(browser: &Browser) -> String {
        browser.cookies["__Host-adit"].clone()
    }

    async fn refuse(&self, ways: Vec<Way>) {
        let mut open = Vec::new();
        for (what, browser, question, status, code) in ways {
            let answer = browser.peek(question).await;
            let is_refused = (answer.status.as_u16(), answer.code().as_str()) == (status, code);
            if !is_refused || answer.begins_session() || answer.text().contains(&self.lease) {
                open.push(format!(
                    "{what}: {} instead of {code}: {}",
                    answer.status,
                    answer.text()
                ));
            }
        }
        assert!(open.is_empty(), "{}", open.join("\n"));
        let own = self
            .ada
            .peek(Question::api("GET", &format!("/api/v1/leases/{}", self.lease)))
            .await;
        if own.status == 200 {
            let lease: Value = serde_json::from_slice(&own.body).unwrap();
            assert_eq!(lease["peers"].as_array().unwrap().len(), 1, "{lease}");
            assert!(lease["doing"].is_null() || lease["state"] != "removed", "{lease}");
        }
    }
}
