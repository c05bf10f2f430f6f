//! Takes out of a text what looks like a key or a token, should anybody ever put one in.

/// Stands where something was taken out.
const TAKEN: &str = "[secret]";

/// Shortest run of letters that can be a secret of 256 bits in base64, without its padding.
const KEY: usize = 43;

/// The text without what looks like a key, an API token or a signed token, and no longer than `most` characters.
pub(crate) fn scrub(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    let mut word = String::new();
    for letter in text.chars() {
        if is_of_secrets(letter) {
            word.push(letter);
        } else {
            push(&mut out, &word);
            word.clear();
            out.push(letter);
        }
    }
    push(&mut out, &word);
    match out.char_indices().nth(most) {
        Some((at, _)) => out[..at].to_owned(),
        None => out,
    }
}

fn push(out: &mut String, word: &str) {
    out.push_str(if is_secret(word) { TAKEN } else { word });
}

fn is_of_secrets(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '_' | '-' | '=' | '.')
}

fn is_secret(word: &str) -> bool {
    // What was given as `name=value` is looked at without the name.
    let value = word.trim_end_matches('=');
    let value = value.rsplit('=').next().unwrap_or(value);
    let is_api_token = value.contains("adit_") && value.len() > 20;
    let is_signed_token = value.starts_with("eyJ") && value.len() > 20;
    is_api_token || is_signed_token || value.split(['.', '/']).any(is_key) || is_padded_key(word)
}

/// At least 256 bits of base64 or hexadecimal, and nothing that reads as words.
fn is_key(run: &str) -> bool {
    run.len() >= KEY
        && run
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'_' | b'-'))
}

/// A WireGuard key: 43 letters and a `=`; the letters may be slashes.
fn is_padded_key(word: &str) -> bool {
    word.len() > KEY && word.ends_with('=') && !word.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_taken_out_and_nothing_else() {
        let token = format!("adit_{}", "aZ9".repeat(16));
        let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";
        let slashes = "yAnz/TF/lXXJte/4tji3zlMNq/hd2rYUIgJBg/3fBmk=";
        let url = "8J-VyDCzX1Iyk3YQvXUjC2aUHiiqVIl6sA8x8B3kzZk";
        let hex = "0123456789abcdef".repeat(4);
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln";
        for (text, clean) in [
            ("", String::new()),
            ("asked for 2h on `local`", "asked for 2h on `local`".to_owned()),
            ("01kb2w0v9hq3k1yv8s4n6t2m5e", "01kb2w0v9hq3k1yv8s4n6t2m5e".to_owned()),
            (
                "/api/v1/leases/01kb2w0v9hq3k1yv8s4n6t2m5e/peers/phone/hand-over",
                "/api/v1/leases/01kb2w0v9hq3k1yv8s4n6t2m5e/peers/phone/hand-over".to_owned(),
            ),
            (
                "https://login.example.org/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0",
                "https://login.example.org/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0".to_owned(),
            ),
            (&format!("token {token}"), "token [secret]".to_owned()),
            (
                &format!("/login?token={token}&next=/"),
                "/login?[secret]&next=/".to_owned(),
            ),
            (&format!("PrivateKey = {key}"), "PrivateKey = [secret]".to_owned()),
            (
                &format!("PrivateKey={key}\nDNS=1.1.1.1"),
                "[secret]\nDNS=1.1.1.1".to_owned(),
            ),
            (slashes, "[secret]".to_owned()),
            (url, "[secret]".to_owned()),
            (&hex, "[secret]".to_owned()),
            (jwt, "[secret]".to_owned()),
        ] {
            assert_eq!(scrub(text, 1000), clean, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(scrub("äöü", 2), "äö");
        assert_eq!(scrub(&"a b ".repeat(1000), 5), "a b a");
    }
}
