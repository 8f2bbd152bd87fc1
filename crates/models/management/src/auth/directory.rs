//! Users and their tokens, as they are kept in `host:users`.

use crate::secret;
use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use api::rest::{Role, Token, User};
use serde::{Deserialize, Serialize};

/// Most users.
pub const USERS_MAX: usize = 64;
/// Most tokens.
pub const TOKENS_MAX: usize = 128;

/// All of them.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Directory {
    /// Users.
    pub users: Vec<UserEntry>,
    /// Tokens.
    pub tokens: Vec<TokenEntry>,
}

/// A user.
#[derive(Clone, Serialize, Deserialize)]
pub struct UserEntry {
    /// Its name.
    pub name: String,
    /// What it may.
    pub role: Role,
    /// Its password's hash.
    pub password: PasswordHash,
    /// The password has to be changed first.
    pub must_change_password: bool,
    /// When it was made.
    pub created_at: u64,
}

/// A password's hash and how it was made, so that stronger ones can come later.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordHash {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes.
    pub passes: u32,
    /// In base64url.
    pub salt: String,
    /// In base64url.
    pub hash: String,
}

/// A token.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenEntry {
    /// What may be shown.
    #[serde(flatten)]
    pub shown: Token,
    /// SHA-256 of its secret, which is too random to need more.
    pub hash: String,
}

impl Directory {
    /// A user.
    pub fn user(&self, name: &str) -> Option<&UserEntry> {
        self.users.iter().find(|user| user.name == name)
    }

    /// A user, to be changed.
    pub fn user_mut(&mut self, name: &str) -> Option<&mut UserEntry> {
        self.users.iter_mut().find(|user| user.name == name)
    }

    /// The token with that hash, while it lasts.
    pub fn token_of(&self, hash: &str, now: u64) -> Option<&Token> {
        let token = self.tokens.iter().find(|token| secret::is_equal(&token.hash, hash))?;
        token.shown.expires_at.is_none_or(|end| now < end).then_some(&token.shown)
    }

    /// Whether there would be no administrator without this one.
    pub fn is_last_administrator(&self, name: &str) -> bool {
        let mut others =
            self.users.iter().filter(|user| user.role == Role::Administrator && user.name != name);
        others.next().is_none()
    }

    /// Makes the first user an administrator with this password, for one login.
    pub fn put_first(&mut self, name: &str, password: PasswordHash, now: u64) {
        self.users.retain(|user| user.name != name);
        self.users.insert(
            0,
            UserEntry {
                name: name.to_owned(),
                role: Role::Administrator,
                password,
                must_change_password: true,
                created_at: now,
            },
        );
    }

    /// Forgets a user and its tokens; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        let before = self.users.len();
        self.users.retain(|user| user.name != name);
        self.tokens.retain(|token| token.shown.user != name);
        self.users.len() < before
    }
}

impl UserEntry {
    /// What may be shown.
    pub fn shown(&self) -> User {
        User {
            name: self.name.clone(),
            role: self.role,
            must_change_password: self.must_change_password,
            created_at: self.created_at,
        }
    }
}
