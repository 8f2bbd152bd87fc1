//! The QEMU harness of the end-to-end tests.
