//! Random numbers, digests, and how they are written down.

use crate::port::Port;
use crate::problem::Problem;
use abi::{Call, Status};
use alloc::string::String;
use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Letters and digits that no two of look alike.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";

/// Random bytes, from the vmkernel.
pub fn random<P: Port, const N: usize>(port: &P) -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    let most = usize::try_from(Call::Random.buffer_max()).unwrap_or(1);
    for piece in bytes.chunks_mut(most) {
        port.call(Call::Random, piece, [0; 3]).map_err(without_random)?;
    }
    Ok(bytes)
}

fn without_random(status: Status) -> Problem {
    let detail = match status {
        Status::Unseeded => "the host has no random numbers yet: its generator has no seed",
        _ => "the host gives no random numbers",
    };
    let remedy =
        "give the host an rng-seed or a source of random numbers; the console's log says which it looks for";
    Problem::new(503, "no-random-numbers", detail, remedy).after(5)
}

/// A text of 256 random bits.
pub fn random_text<P: Port>(port: &P) -> Result<String, Problem> {
    Ok(Base64UrlUnpadded::encode_string(&random::<P, 32>(port)?))
}

/// A password to be read from a screen and typed: 20 letters and digits in four groups, 99 bits.
pub fn one_time_password<P: Port>(port: &P) -> Result<String, Problem> {
    let mut password = String::new();
    let mut letters = 0_usize;
    while letters < 20 {
        for byte in random::<P, 32>(port)? {
            // 248 is the largest multiple of 31: no letter is likelier than another.
            let Some(letter) = ALPHABET.get(usize::from(byte % 31)).filter(|_| byte < 248 && letters < 20)
            else {
                continue;
            };
            if letters > 0 && letters.is_multiple_of(5) {
                password.push('-');
            }
            password.push(char::from(*letter));
            letters = letters.saturating_add(1);
        }
    }
    Ok(password)
}

/// SHA-256.
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 of a secret, as it is kept.
pub fn kept(secret: &str) -> String {
    Base64UrlUnpadded::encode_string(&digest(secret.as_bytes()))
}

/// Whether two texts are equal, in a time that does not tell where they differ.
pub fn is_equal(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// In hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
