//! A provider that does what a test tells it to, be it honest or not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use openidconnect::url::Url;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A provider.
#[derive(Clone)]
pub(crate) struct Idp {
    pub(crate) issuer: String,
    state: Arc<Mutex<Plan>>,
}

/// What it does.
pub(crate) struct Plan {
    keys: Vec<Key>,
    codes: BTreeMap<String, Grant>,
    pub(crate) discovery: Value,
    /// What it says of whoever signs in.
    pub(crate) claims: Value,
    /// What it says when asked with the access token.
    pub(crate) user_info: Value,
    /// What it does to its tokens.
    pub(crate) harm: fn(&mut Token),
    /// Whether it takes a code again.
    pub(crate) takes_codes_again: bool,
    /// The trace of each time when a code was given back.
    pub(crate) traces: Vec<Option<String>>,
    /// How often its keys were read.
    pub(crate) keys_read: u32,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

/// What was asked for with a code.
#[derive(Clone)]
struct Grant {
    nonce: String,
    challenge: String,
    callback: String,
}

/// A token before it is signed.
pub(crate) struct Token {
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) signed: Signed,
    /// What is done to the finished text.
    pub(crate) text: fn(String) -> Option<String>,
    /// What comes instead of the answer.
    pub(crate) instead: Option<fn() -> Response>,
}

/// By what a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signed {
    ByKey,
    ByStranger,
    BySecret(&'static str),
    ByPublicKey,
    Not,
}

impl Idp {
    /// One on a free port of this machine.
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let discovery = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "end_session_endpoint": format!("{issuer}/end"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256", "HS256", "none"],
            "authorization_response_iss_parameter_supported": true,
        });
        let plan = Plan {
            keys: vec![Key::new("one")],
            codes: BTreeMap::new(),
            discovery,
            claims: json!({"sub": "ada", "name": "Ada", "email": "ada@example.org", "groups": ["vpn-users"]}),
            user_info: json!({"sub": "ada"}),
            harm: |_| (),
            takes_codes_again: false,
            traces: Vec::new(),
            keys_read: 0,
        };
        let idp = Self {
            issuer,
            state: Arc::new(Mutex::new(plan)),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery_document))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(user_info))
            .with_state(idp.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        idp
    }

    /// Changes what it does.
    pub(crate) fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    /// Signs with a new key, and no longer has the old one.
    pub(crate) fn change_key(&self) {
        self.plan(|plan| plan.keys = vec![Key::new("two")]);
    }

    /// Signs somebody in who was sent to `url`, and gives where the browser goes back to.
    pub(crate) fn authorize(&self, url: &str) -> Back {
        let url = Url::parse(url).unwrap();
        assert_eq!(url.origin().ascii_serialization(), self.issuer);
        let asked: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["code_challenge_method"], "S256");
        assert!(asked["scope"].split(' ').any(|scope| scope == "openid"), "{asked:?}");
        let grant = Grant {
            nonce: asked["nonce"].clone(),
            challenge: asked["code_challenge"].clone(),
            callback: asked["redirect_uri"].clone(),
        };
        let code = format!(
            "code-{}",
            Base64UrlUnpadded::encode_string(&Sha256::digest(&asked["state"]))
        );
        self.plan(|plan| plan.codes.insert(code.clone(), grant));
        Back {
            callback: Url::parse(&asked["redirect_uri"]).unwrap().path().to_owned(),
            code,
            state: asked["state"].clone(),
            iss: Some(self.issuer.clone()),
        }
    }
}

/// Where a browser goes back to.
#[derive(Clone, Debug)]
pub(crate) struct Back {
    callback: String,
    pub(crate) code: String,
    pub(crate) state: String,
    pub(crate) iss: Option<String>,
}

impl Back {
    pub(crate) fn path(&self) -> String {
        let mut query = openidconnect::url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", &self.code).append_pair("state", &self.state);
        if let Some(iss) = &self.iss {
            query.append_pair("iss", iss);
        }
        format!("{}?{}", self.callback, query.finish())
    }
}

impl Key {
    fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self {
            id: id.to_owned(),
            pair: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random).unwrap(),
        }
    }

    fn public(&self) -> Value {
        let point = self.pair.public_key().as_ref();
        let text = Base64UrlUnpadded::encode_string;
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.id,
            "x": text(&point[1..33]), "y": text(&point[33..65]),
        })
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        self.pair
            .sign(&SystemRandom::new(), message.as_bytes())
            .unwrap()
            .as_ref()
            .to_vec()
    }
}

impl Token {
    fn write(&self, key: &Key) -> Option<String> {
        let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
        let message = format!("{}.{}", part(&self.header), part(&self.claims));
        let by_secret = |secret: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        };
        let signature = match self.signed {
            Signed::ByKey => key.sign(&message),
            Signed::ByStranger => Key::new("one").sign(&message),
            Signed::BySecret(secret) => by_secret(secret.as_bytes()),
            Signed::ByPublicKey => by_secret(key.pair.public_key().as_ref()),
            Signed::Not => Vec::new(),
        };
        (self.text)(format!("{message}.{}", Base64UrlUnpadded::encode_string(&signature)))
    }
}

async fn discovery_document(State(idp): State<Idp>) -> Json<Value> {
    Json(idp.plan(|plan| plan.discovery.clone()))
}

async fn keys(State(idp): State<Idp>) -> Json<Value> {
    idp.plan(|plan| plan.keys_read += 1);
    Json(json!({"keys": idp.plan(|plan| plan.keys.iter().map(Key::public).collect::<Vec<_>>())}))
}

async fn token(State(idp): State<Idp>, headers: HeaderMap, Form(asked): Form<BTreeMap<String, String>>) -> Response {
    assert!(!headers.contains_key("tracestate"));
    let trace = headers
        .get("traceparent")
        .map(|trace| trace.to_str().unwrap().to_owned());
    idp.plan(|plan| plan.traces.push(trace));
    let refuse = |why: &str| {
        let problem = json!({"error": "invalid_grant", "error_description": why});
        (StatusCode::BAD_REQUEST, Json(problem)).into_response()
    };
    let word = |name: &str| asked.get(name).cloned().unwrap_or_default();
    idp.plan(|plan| {
        let code = word("code");
        let grant = if plan.takes_codes_again {
            plan.codes.get(&code).cloned()
        } else {
            plan.codes.remove(&code)
        };
        let Some(grant) = grant else {
            return refuse("no such code");
        };
        let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(word("code_verifier")));
        if challenge != grant.challenge || word("redirect_uri") != grant.callback || word("client_id") != "hub" {
            return refuse("the code is for somebody else");
        }
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let mut claims = json!({"iss": idp.issuer, "aud": "hub", "iat": now, "exp": now + 300, "nonce": grant.nonce});
        claims
            .as_object_mut()
            .unwrap()
            .extend(plan.claims.as_object().unwrap().clone());
        let mut token = Token {
            header: json!({"alg": "ES256", "kid": plan.keys[0].id}),
            claims,
            signed: Signed::ByKey,
            text: Some,
            instead: None,
        };
        (plan.harm)(&mut token);
        if let Some(instead) = token.instead {
            return instead();
        }
        let mut answer = json!({"access_token": "the-access-token", "token_type": "Bearer", "expires_in": 300});
        if let Some(text) = token.write(&plan.keys[0]) {
            answer["id_token"] = text.into();
        }
        Json(answer).into_response()
    })
}

async fn user_info(State(idp): State<Idp>, headers: HeaderMap) -> Response {
    if headers
        .get(header::AUTHORIZATION)
        .is_none_or(|by| by != "Bearer the-access-token")
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    Json(idp.plan(|plan| plan.user_info.clone())).into_response()
}

/// An answer that leads elsewhere.
pub(crate) fn elsewhere() -> Response {
    Redirect::temporary("http://127.0.0.1:9/token").into_response()
}

/// An answer that never ends.
pub(crate) fn endless() -> Response {
    let chunk = axum::body::Bytes::from(vec![b' '; 64 << 10]);
    let stream = futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(chunk.clone()));
    (
        [(header::CONTENT_TYPE, "application/json")],
        axum::body::Body::from_stream(stream),
    )
        .into_response()
}
