//! Scheduling policy: run queues.
#![no_std]
#![forbid(unsafe_code)]
