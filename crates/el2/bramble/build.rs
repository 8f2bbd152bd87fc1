//! Links the image flat, by its own link script, and says where the world is that goes into it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=image.ld");
    println!("cargo:rustc-link-arg-bins=-T{folder}/image.ld");
    // xtask builds hostd first. Without it (a check of the sources) the image has no world, and says so when it starts.
    println!("cargo:rerun-if-env-changed=BRAMBLE_HOSTD");
    let given = env::var_os("BRAMBLE_HOSTD").map(PathBuf::from).filter(|path| path.is_file());
    let empty = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("no-hostd.bin");
    let path = given.unwrap_or_else(|| {
        // What can't be written shows when it is included.
        let _ = fs::write(&empty, []);
        empty
    });
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env=HOSTD={}", path.display());
}
