//! Makes shared access signatures for tests. *Azure Storage: create a service SAS*, version 2020-12-06 and later.

use base64ct::{Base64, Encoding as _};
use ring::hmac;

use crate::path::encode_pairs;

/// A signature for a container, for a day from long ago to far away, with these permissions.
pub(super) fn of_container(account: &str, key: &str, container: &str, permissions: &str) -> String {
    let (version, end) = ("2021-12-02", "2099-01-01T00:00:00Z");
    let text = format!("{permissions}\n\n{end}\n/blob/{account}/{container}\n\n\n\n{version}\nc\n\n\n\n\n\n\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &Base64::decode_vec(key).unwrap());
    let signature = Base64::encode_string(hmac::sign(&key, text.as_bytes()).as_ref());
    let mut query = String::new();
    let pairs = [
        ("sv", version),
        ("se", end),
        ("sr", "c"),
        ("sp", permissions),
        ("sig", &signature),
    ];
    encode_pairs(pairs, &mut query);
    query
}
