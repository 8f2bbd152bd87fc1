//! A host in QEMU for the journey in a browser: it has an image and a firmware, and nobody has logged in yet.

use crate::guests::Guests;
use crate::run::{quiet, step};
use crate::{build, install};
use anyhow::Result;
use std::fs;
use std::process::Command;
use system::cli::{free_port, said_after};
use system::scene::on;
use system::store::StoreImage;
use system::{Artifacts, Board, HostDisk, Machine};

/// Room for the image and for the disks of VMs that are made of it.
const STORE_MIB: u32 = 1024;

/// The host; dropping it ends it.
pub struct Host {
    /// Its end is QEMU's.
    _machine: Machine,
    store: StoreImage,
    port: u16,
    password: String,
}

impl Host {
    /// Makes what it needs, boots it, and waits until its console tells the password of the first login.
    pub fn start(at: &Artifacts) -> Result<Self> {
        install::ensure(at, install::FOR_TEST)?;
        build::image(at)?;
        Guests::open(at)?.small_disk()?;
        quiet(build::cargo(at).args(["build", "--quiet", "--package", "bramblectl"]))?;
        let mut scene = on(Board::VirtGicv3, "ui").cpus(2).uplink();
        let store = StoreImage::make(&scene.file("store.img")?, STORE_MIB)?;
        store.import(&at.guest("small.qcow2"), "object:image:debian.qcow2")?;
        store.import(&at.guest("edk2.fd"), "object:firmware:edk2.fd")?;
        let port = free_port(0)?;
        // VMs end and start while it stays.
        scene.config.append = String::new();
        scene.config.forwards = vec![(port, 443)];
        let (path, serial) = (store.path.clone(), String::from("store"));
        scene.config.disks.push(HostDisk { path, serial, snapshot: false });
        step("boot a host in QEMU", || {
            let machine = scene.start()?;
            let password = said_after(&machine, "first login: user admin, password ")?;
            Ok(Self { _machine: machine, store, port, password })
        })
    }

    /// Tells Playwright where it is.
    pub fn tell(&self, playwright: &mut Command) {
        playwright.env("BRAMBLE_HOST", format!("https://127.0.0.1:{}", self.port));
        playwright.env("BRAMBLE_HOST_PASSWORD", &self.password);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // QEMU has it open until it ends, right after; a file that stays is made anew the next time.
        let _ = fs::remove_file(&self.store.path);
    }
}
