//! Links the image flat, by its own link script.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    println!("cargo:rerun-if-changed=image.ld");
    println!("cargo:rustc-link-arg-bins=-T{folder}/image.ld");
}
