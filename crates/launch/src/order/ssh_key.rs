//! The SSH key that opens the machine of a gateway: a line of OpenSSH's, checked.

use ssh_key::{Algorithm, PublicKey, public::KeyData};

/// Smallest modulus of an RSA key: Azure takes none below, and OpenSSH 9.1 lets servers refuse them (`RequiredRSASize`).
const LEAST_RSA_BITS: usize = 2_048;

/// Longest line that is read: an RSA key of 16,384 bits has 2,800 characters.
const LONGEST: usize = 4_096;

/// The key as `ALGORITHM BASE64`, without its comment.
///
/// # Errors
///
/// What is wrong, and what would be right. The text itself is not in it: it may be a private key that was taken for the
/// public one.
pub(super) fn read(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.contains("PRIVATE KEY") {
        return Err(
            "is the private part, which stays with you: give the line of the file that ends in .pub".to_owned(),
        );
    }
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    if text.chars().any(char::is_control) {
        return Err("is more than one line: give the line of one public key".to_owned());
    }
    let known = "begins with ssh-ed25519, ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521 or ssh-rsa, and nothing \
                 (such as options) comes before it";
    match text.split(' ').next().unwrap_or_default().parse() {
        Ok(Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { hash: None }) => {}
        _ => return Err(format!("is not an OpenSSH public key that machines take: it {known}")),
    }
    let mut key = PublicKey::from_openssh(text)
        .map_err(|_| "is not whole: after the algorithm comes its base64, as `ssh-keygen` writes it".to_owned())?;
    if let KeyData::Rsa(rsa) = key.key_data() {
        let bits = rsa.n.as_positive_bytes().map_or(0, bits);
        if bits < LEAST_RSA_BITS {
            return Err(format!(
                "is an RSA key of {bits} bits, and {LEAST_RSA_BITS} are the least; `ssh-keygen -t ed25519` makes a better one"
            ));
        }
    }
    key.set_comment("");
    key.to_openssh()
        .map_err(|error| format!("cannot be written again: {error}"))
}

/// Of a number without leading zero bytes.
fn bits(number: &[u8]) -> usize {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    number.len() * 8 - usize::try_from(zeros).unwrap_or_default()
}
