//! Stage-2 translation tables: the algorithm, over a port that holds the tables.
#![no_std]
#![forbid(unsafe_code)]
