//! Links hostd as a flat Image (the link script is el1's), and says where the web UI is that goes into it.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let folder = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = format!("{folder}/../el1/image.ld");
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rustc-link-arg-bins=-T{script}");
    // xtask packs the UI first. Without it (a check of the sources) hostd has the API only.
    println!("cargo:rerun-if-env-changed=BRAMBLE_WEB");
    let given = env::var_os("BRAMBLE_WEB").map(PathBuf::from).filter(|path| path.is_file());
    let empty = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("no-web.pack");
    let path = given.unwrap_or_else(|| {
        // What can't be written shows when it is included.
        let _ = fs::write(&empty, []);
        empty
    });
    println!("cargo:rerun-if-changed={}", path.display());
    println!("cargo:rustc-env=WEB={}", path.display());
}
