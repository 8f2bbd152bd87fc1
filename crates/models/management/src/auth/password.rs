//! Passwords: which are taken, and their hashes by argon2id.
//!
//! One hash at a time, in a buffer of 7 MiB that is kept for it, on another vCPU: logins wait for each other, in a
//! queue that is fair to where they come from, and nothing else waits for them. Source: RFC 9106 (Argon2); OWASP's second choice of equal strength, m = 7 MiB, t = 5, p = 1.

use super::directory::PasswordHash;
use crate::admission::Source;
use crate::bell::Queue;
use crate::port::Port;
use crate::problem::Problem;
use crate::secret;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

/// Memory of a new hash.
const MEMORY_KIB: u32 = 7 * 1024;
/// Its passes.
const PASSES: u32 = 5;
/// Fewest characters.
const SHORTEST: usize = 10;
/// Most bytes.
const LONGEST: usize = 256;

/// Makes hashes.
#[derive(Default)]
pub struct Hasher {
    queue: Queue,
    buffer: Arc<spin::Mutex<Vec<Block>>>,
}

impl Hasher {
    /// The hash of a new password.
    pub async fn hash<P: Port>(
        &self,
        port: &P,
        from: Source,
        password: &str,
    ) -> Result<PasswordHash, Problem> {
        let salt = secret::random::<P, 16>(port)?;
        let hash = self
            .compute(port, from, password, (salt.to_vec(), MEMORY_KIB, PASSES))
            .await
            .ok_or_else(failed)?;
        Ok(PasswordHash {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: Base64UrlUnpadded::encode_string(&salt),
            hash: Base64UrlUnpadded::encode_string(&hash),
        })
    }

    /// Whether a password is the one of a hash; without a hash it takes as long, and is not.
    pub async fn is_right<P: Port>(
        &self,
        port: &P,
        from: Source,
        password: &str,
        known: Option<&PasswordHash>,
    ) -> bool {
        let nobody = PasswordHash {
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: String::from("AAAAAAAAAAAAAAAAAAAAAA"),
            hash: String::new(),
        };
        let against = known.unwrap_or(&nobody);
        let Ok(salt) = Base64UrlUnpadded::decode_vec(&against.salt) else { return false };
        let password = password.get(..LONGEST).unwrap_or(password);
        let hash = self.compute(port, from, password, (salt, against.memory_kib, against.passes)).await;
        hash.is_some_and(|hash| secret::is_equal(&Base64UrlUnpadded::encode_string(&hash), &against.hash))
    }

    async fn compute<P: Port>(
        &self,
        port: &P,
        from: Source,
        password: &str,
        (salt, memory_kib, passes): (Vec<u8>, u32, u32),
    ) -> Option<[u8; 32]> {
        let params = Params::new(memory_kib.min(MEMORY_KIB), passes, 1, Some(32)).ok()?;
        let password = Zeroizing::new(Vec::from(password.as_bytes()));
        let buffer = self.buffer.clone();
        let _turn = self.queue.take(from).await;
        port.compute(move || {
            // Free but for a hash whose caller went away while it was made.
            let mut blocks = buffer.lock();
            if blocks.len() < params.block_count() {
                *blocks = vec![Block::new(); params.block_count()];
            }
            let mut hash = [0; 32];
            let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let made =
                argon.hash_password_into_with_memory(&password, &salt, &mut hash, blocks.as_mut_slice());
            made.ok().map(|()| hash)
        })
        .await
    }
}

fn failed() -> Problem {
    Problem::new(500, "hash-failed", "the password's hash could not be made", "report this: it is a defect")
}

/// Whether a new password is taken.
pub fn check(field: &str, password: &str, user: &str, before: Option<&str>) -> Result<(), Problem> {
    let fault = if password.chars().count() < SHORTEST {
        "it has fewer than 10 characters"
    } else if password.len() > LONGEST {
        "it is longer than 256 bytes"
    } else if password.chars().any(char::is_control) {
        "it has control characters"
    } else if password.to_lowercase().contains(&user.to_lowercase())
        && password.len() < user.len().saturating_add(8)
    {
        "it is the user's name and little more"
    } else if before == Some(password) {
        "it is the one of now"
    } else if password.chars().all(|c| password.starts_with(c)) {
        "it is one character again and again"
    } else {
        return Ok(());
    };
    let detail = alloc::format!("this password is not taken: {fault}");
    Err(Problem::new(422, "weak-password", detail, "choose 10 to 256 characters; four words will do")
        .of_field(field))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Host;

    #[test]
    fn a_hash_is_argon2id_as_the_standard_has_it() {
        let host = Host::default();
        let hasher = Hasher::default();
        let time = host.time.clone();
        let hash = time.run(hasher.hash(&host, Source::HOST, "correct horse battery")).unwrap().unwrap();
        let salt = Base64UrlUnpadded::decode_vec(&hash.salt).unwrap();
        let params = Params::new(7168, 5, 1, Some(32)).unwrap();
        let mut expected = [0; 32];
        let mut blocks = vec![Block::new(); params.block_count()];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(b"correct horse battery", &salt, &mut expected, &mut blocks)
            .unwrap();
        assert_eq!(hash.hash, Base64UrlUnpadded::encode_string(&expected));
        let is_right =
            |password| time.run(hasher.is_right(&host, Source::HOST, password, Some(&hash))).unwrap();
        assert!(is_right("correct horse battery"));
        assert!(!is_right("correct horse batterz"));
        assert!(!time.run(hasher.is_right(&host, Source::HOST, "", None)).unwrap());
        // The buffer stays, and is one.
        assert_eq!(hasher.buffer.lock().len(), 7168);
    }

    #[test]
    fn weak_ones_are_not_taken() {
        for weak in ["short", "aaaaaaaaaaaa", "superadmin1", "with\u{7}bell-in-it", &"x1".repeat(200)] {
            assert!(check("new", weak, "superadmin", None).is_err(), "{weak}");
        }
        assert!(check("new", "the same as now", "a", Some("the same as now")).is_err());
        assert!(check("new", "four words will do", "admin", Some("other")).is_ok());
    }
}
