//! The unsafe frame of every program of ours at EL1: entry, vectors, heap, calls.
#![no_std]
