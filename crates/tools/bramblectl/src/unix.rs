//! All that needs Unix: the terminal, and work on datastores in files and on cards. Elsewhere [`crate::elsewhere`] is in
//! its place; what works on hosts does without (docs/adr/0060-bramblectl-beyond-unix.md).
//!
//! | what | module |
//! |---|---|
//! | the raw terminal, passwords, private files | [`terminal`] |
//! | `bramblectl datastore` | [`datastore_commands`] over the rest |

mod convert;
mod datastore_commands;
mod device;
mod fuse;
mod inspect;
mod measure;
mod nbd;
mod session;
mod table;
pub mod terminal;
mod transfer;

pub use datastore_commands::DatastoreCommand;
