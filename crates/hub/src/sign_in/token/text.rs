//! API tokens as text: `adit_`, 43 random letters and digits, and 6 that check them.
//!
//! The prefix lets scanners of code find a token that was put where others see it; the check lets them, and us, tell one from
//! what only looks like it, without asking the database.

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::sign_in::secret::{RandomError, Secret};

/// What every token begins with.
const PREFIX: &str = "adit_";

/// Letters and digits of 256 bits: 62^43 is a little more than 2^256.
const RANDOM: usize = 43;

/// Letters and digits of 32 bits.
const CHECK: usize = 6;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A new token.
///
/// # Errors
///
/// [`RandomError`].
pub(crate) fn random() -> Result<Secret, RandomError> {
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + RANDOM + CHECK));
    text.push_str(PREFIX);
    let mut bytes = Zeroizing::new([0; 64]);
    while text.len() < PREFIX.len() + RANDOM {
        getrandom::fill(bytes.as_mut_slice()).map_err(RandomError::from)?;
        for byte in bytes.iter() {
            // 248 is 4 * 62: every letter is as likely as every other.
            if *byte < 248 && text.len() < PREFIX.len() + RANDOM {
                text.push(char::from(ALPHABET[usize::from(byte % 62)]));
            }
        }
    }
    let check = check(&text);
    text.push_str(&check);
    Ok(Secret::new(text.to_string()))
}

/// Whether a text can be a token at all.
pub(crate) fn is_token(text: &str) -> bool {
    let is_shaped = text.len() == PREFIX.len() + RANDOM + CHECK
        && text.starts_with(PREFIX)
        && text[PREFIX.len()..].bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_shaped && {
        let (token, given) = text.split_at(PREFIX.len() + RANDOM);
        check(token) == given
    }
}

/// The first 32 bits of SHA-256.
fn check(text: &str) -> String {
    let digest = Sha256::digest(text);
    let mut number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let mut letters = [b'0'; CHECK];
    for letter in letters.iter_mut().rev() {
        *letter = ALPHABET[(number % 62) as usize];
        number /= 62;
    }
    letters.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_is_known_as_one() {
        let token = random().unwrap();
        let text = token.expose();
        assert!(is_token(text), "{text}");
        assert_eq!(text.len(), 54);

        let mut typo = text.to_owned();
        let last = if typo.pop() == Some('0') { '1' } else { '0' };
        typo.push(last);
        for wrong in [
            "",
            "adit_",
            &text[..53],
            &format!("{text}0"),
            &text.replacen("adit_", "adit-", 1),
            &typo,
            &format!("adit_{}", "é".repeat(24) + "0"),
            &format!(" {}", &text[1..]),
        ] {
            assert!(!is_token(wrong), "{wrong}");
        }
    }

    #[test]
    fn tokens_use_the_whole_alphabet_and_do_not_repeat() {
        let tokens: HashSet<String> = (0..200).map(|_| random().unwrap().expose().to_owned()).collect();
        assert_eq!(tokens.len(), 200);
        let letters: HashSet<char> = tokens.iter().flat_map(|token| token[5..48].chars()).collect();
        assert_eq!(letters.len(), 62);
    }
}
