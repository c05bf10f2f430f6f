//! Schemas of values that are written as text.

use launch::State;
use utoipa::openapi::{
    Object, ObjectBuilder, RefOr, Schema,
    schema::{ArrayBuilder, KnownFormat, SchemaFormat, SchemaType, Type},
};

/// An id of a lease: a ULID.
pub(crate) const LEASE_ID: &str = "^[0-7][0-9a-hjkmnp-tv-z]{25}$";

/// A name of a peer.
pub(crate) const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,14}$";

/// 32 bytes in base64: the last digit has two bits that are nothing.
pub(crate) const PUBLIC_KEY: &str = "^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$";

/// What happens with a lease.
pub(crate) const KINDS: [&str; 17] = [
    "requested",
    "provisioning",
    "configuring",
    "ready",
    "handshake",
    "extended",
    "peer_added",
    "peer_removed",
    "handed_over",
    "unreachable",
    "reachable",
    "rekeyed",
    "retry",
    "failed",
    "lost",
    "removing",
    "removed",
];

/// Why a lease ends.
pub(crate) const ENDS: [&str; 5] = ["expired", "asked", "idle", "failed", "lost"];

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// The same, or null.
fn nullable(object: ObjectBuilder, of: Type) -> Object {
    object.schema_type(SchemaType::from_iter([of, Type::Null])).build()
}

fn date_time() -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .examples(["2026-11-18T11:06:40.123Z"])
}

pub(crate) fn moment() -> Object {
    date_time().build()
}

pub(crate) fn moment_or_null() -> Object {
    nullable(date_time(), Type::String)
}

pub(crate) fn lease_id() -> Object {
    text()
        .pattern(Some(LEASE_ID))
        .examples(["01kb2w0v9hq3k1yv8s4n6t2m5e"])
        .build()
}

pub(crate) fn lease_id_or_null() -> Object {
    nullable(text().pattern(Some(LEASE_ID)), Type::String)
}

fn key() -> ObjectBuilder {
    text()
        .pattern(Some(PUBLIC_KEY))
        .description(Some("A WireGuard public key in base64."))
        .examples(["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="])
}

pub(crate) fn public_key() -> Object {
    key().build()
}

pub(crate) fn public_key_or_null() -> Object {
    nullable(key(), Type::String)
}

pub(crate) fn name() -> Object {
    text().pattern(Some(NAME)).examples(["phone"]).build()
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Object {
    text().enum_values(Some(words)).build()
}

pub(crate) fn state() -> Object {
    words(State::ALL.map(State::as_str))
}

pub(crate) fn states() -> Schema {
    ArrayBuilder::new()
        .items(RefOr::T(Schema::Object(state())))
        .build()
        .into()
}

pub(crate) fn kind() -> Object {
    words(KINDS)
}

pub(crate) fn keys() -> Object {
    words(["client", "gateway"])
}

/// Null is the default, `client`.
pub(crate) fn keys_or_null() -> Object {
    let values = [
        serde_json::json!("client"),
        serde_json::json!("gateway"),
        serde_json::Value::Null,
    ];
    nullable(ObjectBuilder::new().enum_values(Some(values)), Type::String)
}

pub(crate) fn end_or_null() -> Object {
    let ends = ENDS.map(serde_json::Value::from);
    let values = ends.into_iter().chain([serde_json::Value::Null]);
    nullable(ObjectBuilder::new().enum_values(Some(values)), Type::String)
}

fn list(of: ObjectBuilder) -> ArrayBuilder {
    ArrayBuilder::new().items(RefOr::T(Schema::Object(of.build())))
}

fn network() -> ObjectBuilder {
    text()
        .description(Some("An address with the length of its prefix."))
        .examples(["10.0.0.0/8"])
}

pub(crate) fn networks() -> Schema {
    list(network()).build().into()
}

pub(crate) fn addresses() -> Schema {
    list(text().description(Some("An IP address.")).examples(["10.13.13.2"]))
        .build()
        .into()
}

/// As much as a request may name.
pub(crate) fn networks_or_null() -> Schema {
    let list = list(network().pattern(Some("^[0-9A-Fa-f:.]{2,45}/[0-9]{1,3}$")));
    list.schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .min_items(Some(1))
        .max_items(Some(200))
        .build()
        .into()
}

/// Resolvers and search domains.
pub(crate) fn dns_or_null() -> Schema {
    let server = text()
        .description(Some("A resolver's address, or a search domain."))
        .pattern(Some("^[0-9A-Za-z.:-]{1,253}$"))
        .examples(["9.9.9.9"]);
    list(server)
        .schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
        .max_items(Some(8))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use launch::lease::{End, Kind};

    use super::*;

    #[test]
    fn every_word_of_a_schema_is_one_of_the_launcher() {
        for kind in KINDS {
            let read: Kind = serde_json::from_value(kind.into()).unwrap();
            assert_eq!(read.as_str(), kind);
        }
        for end in ENDS {
            let read: End = serde_json::from_value(end.into()).unwrap();
            assert_eq!(read.as_str(), end);
        }
    }
}
