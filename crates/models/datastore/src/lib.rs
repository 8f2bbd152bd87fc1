//! The datastore: on-disk format, volumes, snapshots, objects.
#![no_std]
#![forbid(unsafe_code)]
