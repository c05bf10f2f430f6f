//! The steps of the code flow: where the browser goes, what the code is exchanged for, and what makes a token valid.

use std::time::Duration;

use launch::Moment;
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthType, AuthorizationCode, ClaimsVerificationError, ClientId, ClientSecret,
    CsrfToken, EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenFields, Nonce,
    OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, StandardErrorResponse, StandardTokenResponse, SubjectIdentifier, TokenResponse as _,
    UserInfoClaims,
    core::{
        CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreClientAuthMethod, CoreErrorResponseType,
        CoreGenderClaim, CoreJsonWebKey, CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm,
        CoreRevocableToken, CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
    },
    url::Url,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    SignInError,
    http::Http,
    metadata::{Document, Unreachable, chain},
    quote,
};
use crate::sign_in::secret::Secret;

/// How far the provider's clock may be from ours.
const SKEW: Duration = Duration::from_secs(60);

/// Signatures that are believed: those of keys of which the provider has the secret half alone. Never `none`, and never one by
/// the secret that we share with it.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What the provider says of somebody.
pub(super) type Claims = Map<String, Value>;

/// As what the hub is registered at the provider.
#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) client_id: String,
    /// `None` is a public client.
    pub(super) secret: Option<Secret>,
    /// Beside `openid`.
    pub(super) scopes: Vec<String>,
}

/// Claims that the library does not know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Others {
    #[serde(flatten)]
    claims: Claims,
}

impl AdditionalClaims for Others {}

/// What the code is exchanged for.
pub(super) type Tokens = StandardTokenResponse<
    IdTokenFields<
        Others,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Client = openidconnect::Client<
    Others,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unverified {
    /// It is signed by a key that was not known: the provider may have a new one.
    #[error("it is signed by a key that the provider does not have")]
    UnknownKey,
    /// It is not for us, not from the provider, or not from now.
    #[error("{0}")]
    Wrong(String),
}

/// Where a browser goes to sign in.
pub(super) fn url(
    registration: &Registration,
    document: &Document,
    callback: &str,
    state: &Secret,
    nonce: &Secret,
    verifier: &Secret,
) -> Result<Url, SignInError> {
    let client = client(registration, document, Some(callback))?;
    let verifier = PkceCodeVerifier::new(verifier.expose().to_owned());
    let (state, nonce) = (
        CsrfToken::new(state.expose().to_owned()),
        Nonce::new(nonce.expose().to_owned()),
    );
    let mut request = client
        .authorize_url(
            CoreAuthenticationFlow::AuthorizationCode,
            move || state.clone(),
            move || nonce.clone(),
        )
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    for scope in &registration.scopes {
        request = request.add_scope(Scope::new(scope.clone()));
    }
    let (url, _state, _nonce) = request.url();
    Ok(url)
}

/// Exchanges the code.
pub(super) async fn exchange(
    registration: &Registration,
    document: &Document,
    http: &Http,
    callback: &str,
    code: String,
    verifier: &Secret,
) -> Result<Tokens, SignInError> {
    let client = client(registration, document, Some(callback))?;
    let tokens = client
        .exchange_code(AuthorizationCode::new(code))
        .map_err(|error| unreachable(document, error.to_string()))?
        .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose().to_owned()))
        .request_async(http)
        .await;
    tokens.map_err(|error| match error {
        RequestTokenError::ServerResponse(response) => SignInError::Code(quote(&response.to_string())),
        RequestTokenError::Request(error) => unreachable(document, chain(&error)),
        // The body, which may hold tokens, is left out.
        RequestTokenError::Parse(error, _) => SignInError::Code(quote(&chain(&error))),
        RequestTokenError::Other(what) => SignInError::Code(quote(&what)),
    })
}

/// Checks the token: who signed it, by which key, for whom, in answer to what, and whether it is of now (OpenID Connect Core 1.0,
/// section 3.1.3.7).
pub(super) fn verify(
    registration: &Registration,
    document: &Document,
    tokens: &Tokens,
    nonce: &Secret,
    now: Moment,
) -> Result<Claims, Unverified> {
    let wrong = |why: String| Unverified::Wrong(why);
    let client = client(registration, document, None).map_err(|error| wrong(error.to_string()))?;
    let early = Moment::from_millis(now.as_millis().saturating_sub(millis(SKEW))).to_system();
    let late = (now + SKEW).to_system();
    let verifier = client
        .id_token_verifier()
        .set_allowed_algs(SIGNATURES)
        .set_time_fn(move || early.into())
        .set_issue_time_verifier_fn(move |issued| {
            if std::time::SystemTime::from(issued) <= late {
                Ok(())
            } else {
                Err("it is of the future".to_owned())
            }
        });
    let token = tokens
        .id_token()
        .ok_or_else(|| wrong("there is no id_token".to_owned()))?;
    let nonce = Nonce::new(nonce.expose().to_owned());
    let claims = token.claims(&verifier, &nonce).map_err(|error| {
        use ClaimsVerificationError::SignatureVerification;
        if error == SignatureVerification(SignatureVerificationError::NoMatchingKey) {
            Unverified::UnknownKey
        } else {
            wrong(chain(&error))
        }
    })?;
    if claims
        .authorized_party()
        .is_some_and(|party| party.as_str() != registration.client_id)
    {
        return Err(wrong("it was made for another client".to_owned()));
    }
    if let Some(expected) = claims.access_token_hash() {
        let hash = token.signing_alg().ok().zip(token.signing_key(&verifier).ok());
        let hash = hash.and_then(|(alg, key)| AccessTokenHash::from_token(tokens.access_token(), alg, key).ok());
        if hash.as_ref() != Some(expected) {
            return Err(wrong("it belongs to another access_token".to_owned()));
        }
    }
    let claims = object(claims).ok_or_else(|| wrong("its claims are no object".to_owned()))?;
    let not_before = claims.get("nbf").and_then(Value::as_f64);
    let limit = (now + SKEW).as_millis() / 1000;
    #[allow(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are exact far beyond any date"
    )]
    if not_before.is_some_and(|not_before| not_before > limit as f64) {
        return Err(wrong("it is not valid yet".to_owned()));
    }
    Ok(claims)
}

/// Asks the provider for what the token does not say. Nothing, if there is no place to ask.
pub(super) async fn user_info(
    registration: &Registration,
    document: &Document,
    http: &Http,
    tokens: &Tokens,
    claims: &Claims,
) -> Result<Claims, SignInError> {
    if document.userinfo_endpoint().is_none() {
        return Ok(Claims::new());
    }
    let client = client(registration, document, None)?;
    // The answer is about the one whom the token names, or it is not taken.
    let subject = claims.get("sub").and_then(Value::as_str).unwrap_or_default();
    let subject = SubjectIdentifier::new(subject.to_owned());
    let info: Result<UserInfoClaims<Others, CoreGenderClaim>, _> = client
        .user_info(tokens.access_token().clone(), Some(subject))
        .map_err(|error| unreachable(document, error.to_string()))?
        .request_async(http)
        .await;
    let info = info.map_err(|error| SignInError::Token(quote(&format!("userinfo: {}", chain(&error)))))?;
    Ok(object(&info).unwrap_or_default())
}

fn client(registration: &Registration, document: &Document, callback: Option<&str>) -> Result<Client, SignInError> {
    let secret = registration
        .secret
        .as_ref()
        .map(|secret| ClientSecret::new(secret.expose().to_owned()));
    let client =
        Client::from_provider_metadata(document.clone(), ClientId::new(registration.client_id.clone()), secret);
    let client = client.set_auth_type(auth_type(document));
    match callback {
        None => Ok(client),
        Some(callback) => {
            let callback = RedirectUrl::new(callback.to_owned());
            Ok(client.set_redirect_uri(callback.map_err(|error| SignInError::Refused(error.to_string()))?))
        }
    }
}

/// How the client shows its secret: as the provider takes it, by default in the header (OpenID Connect Discovery 1.0,
/// section 3, `token_endpoint_auth_methods_supported`).
fn auth_type(document: &Document) -> AuthType {
    let methods = document.token_endpoint_auth_methods_supported();
    let takes = |method| methods.is_none_or(|methods| methods.contains(&method));
    if takes(CoreClientAuthMethod::ClientSecretBasic) || !takes(CoreClientAuthMethod::ClientSecretPost) {
        AuthType::BasicAuth
    } else {
        AuthType::RequestBody
    }
}

fn object(claims: &impl Serialize) -> Option<Claims> {
    match serde_json::to_value(claims).ok()? {
        Value::Object(claims) => Some(claims),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => None,
    }
}

fn unreachable(document: &Document, why: String) -> SignInError {
    SignInError::Unreachable(Unreachable::new(document.issuer().as_str(), why))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
