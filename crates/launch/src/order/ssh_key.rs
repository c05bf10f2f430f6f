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

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINciyW2ykUGBJgJI4Tmc11xusqjDzO4KUiBZgG7n4cTT";
    const P256: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEDPvhj5slVEB7la80LYYJVSMBuZgeOJukWx0gXP77brs0SV6v2KNPdN3QrYD2D4Gp9CChQYesychNB1TdMyXhI=";
    const RSA_2048: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCWxeV9GE9sA5nv2zXe1VkTGL0y/qczJkdqYccH6PXGYixKq6JDhm5ocxzd5C60fXkhg2NugIvyx9Npz/fu3L0XBeo0X8VPOwb0cGPRw6jKkFuqD6TsRpw1F1+O397rPPSItxNFsbP5/t9JgAzQ98Cn0iu3ipY1gSME7Oo4ZqHdZ34QigDZM8G3yIeQasmVJwr5Y9FukTYg7uelG7SzaG0FBawqWtEBzdh4VM5wDuD8XaDelqV8rHHg38tlH+544U+ETLb6CmUBEqjfJXLTwO5+nzTDD6c79pd+i84n8zX2NTlO6DoFiVztdfFmGWOHOyqpttWOXZuFNFdl8/D8yl0P";
    const RSA_1024: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDAaJt6FjKgzmysxMpASmAK0MVyXVKB15qeAMHR+styub0jXsLZ0FWcT4FsBtbVU/3CetxagCzF9gOvpNkUJxdX+oZ64fr6cDqmT33ULtECIe4p4393+lLt62ofP4GAmntzt8ac2ls+RCTTNCNhDOzEzk/vVvj5UAQAOIAnrvMtrw==";

    #[test]
    fn a_key_is_taken_without_its_comment() {
        for key in [ED25519, P256, RSA_2048] {
            for text in [
                key.to_owned(),
                format!("{key} me@host"),
                format!("  {key} two words\r\n"),
            ] {
                assert_eq!(read(&text).as_deref(), Ok(key), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_public_key_alone_is_refused_and_never_repeated() {
        let secret = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA";
        let body = &ED25519["ssh-ed25519 ".len()..];
        // (text, words of the refusal)
        for (text, says) in [
            (String::new(), "begins with ssh-ed25519"),
            (secret.to_owned(), "the private part"),
            (format!("{ED25519}\n{P256}"), "more than one line"),
            (format!("command=\"id\" {ED25519}"), "nothing (such as options)"),
            (format!("no-pty,{ED25519}"), "nothing (such as options)"),
            (format!("ssh-dss {body}"), "begins with ssh-ed25519"),
            (
                format!("ssh-ed25519-cert-v01@openssh.com {body}"),
                "begins with ssh-ed25519",
            ),
            (format!("ssh-rsa {body}"), "is not whole"),
            (ED25519[..ED25519.len() - 4].to_owned(), "is not whole"),
            (format!("{ED25519}AAAA"), "is not whole"),
            ("ssh-ed25519".to_owned(), "is not whole"),
            (RSA_1024.to_owned(), "1024 bits"),
            (format!("{ED25519} {}", "x".repeat(5_000)), "longer than"),
        ] {
            let problem = read(&text).unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
            assert!(
                !problem.contains("b3BlbnNzaC1rZXktdjE") && !problem.contains(body),
                "{problem}"
            );
        }
    }
}
