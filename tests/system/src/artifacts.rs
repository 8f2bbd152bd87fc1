//! Where `./bramble` puts what it makes, all under `target/`.

use std::path::{Path, PathBuf};

/// The folders and files of one checkout.
#[derive(Clone, Debug)]
pub struct Artifacts {
    root: PathBuf,
}

impl Artifacts {
    /// Of the checkout at `root`.
    pub fn of(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Of the checkout that this crate was built in.
    pub fn here() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self::of(manifest.ancestors().nth(2).unwrap_or(manifest))
    }

    /// The checkout itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything of ours that is made.
    pub fn out(&self) -> PathBuf {
        self.root.join("target/bramble")
    }

    /// The image that users get.
    pub fn image(&self) -> PathBuf {
        self.out().join("bramble.img")
    }

    /// The same with symbols.
    pub fn image_elf(&self) -> PathBuf {
        self.out().join("bramble.elf")
    }

    /// hostd, flat: a part of the image.
    pub fn hostd(&self) -> PathBuf {
        self.out().join("hostd.bin")
    }

    /// The web UI, packed: a part of hostd.
    pub fn web(&self) -> PathBuf {
        self.out().join("web.pack")
    }

    /// The PC's tool, as `cargo build` makes it.
    pub fn bramblectl(&self) -> PathBuf {
        self.root.join("target/debug/bramblectl")
    }

    /// A test guest, flat.
    pub fn test_guest(&self, name: &str) -> PathBuf {
        self.out().join("test-guest").join(format!("{name}.bin"))
    }

    /// A file that a Debian guest needs.
    pub fn guest(&self, name: &str) -> PathBuf {
        self.out().join("guests").join(name)
    }

    /// Logs and archives of machines that run.
    pub fn run(&self) -> PathBuf {
        self.out().join("run")
    }

    /// The device tree of a Pi 4, from Debian's kernel package.
    pub fn pi4_tree(&self) -> PathBuf {
        self.guest("bcm2711-rpi-4-b.dtb")
    }
}
