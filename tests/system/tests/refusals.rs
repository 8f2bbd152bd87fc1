//! Bad input gets a clear message, and the rest goes on.

use anyhow::Result;
use std::fs;
use system::scene::{ANSWER, BOOT, on};
use system::{Board, Machine};

#[test]
fn a_bad_vm_is_named_and_the_good_one_starts() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "bad-document").test_guest("good", 1, "hello")?;
    scene.archive = scene.archive.raw_document(
        "[host]\nconsole = \"merged\"\n\
         [[vm]]\nname = \"bad\"\nvcpus = 9\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         [[vm]]\nname = \"good\"\nvcpus = 1\nmemory = \"64 MiB\"\nboot.kernel = \"test-guest\"\n\
         boot.command_line = \"bramble.test=hello\"\n",
    );
    let mut machine = scene.start()?;
    machine.expect("host.toml:5: vm[bad].vcpus", BOOT)?;
    machine.expect("good| TEST hello ok", ANSWER)?;
    Ok(())
}

#[test]
fn memory_that_is_not_there_is_refused_with_what_is_free() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "too-big").test_guest("good", 1, "hello")?;
    let mut big = system::archive::vm("big", 1, 64 << 10);
    big.boot.kernel = Some(String::from("test-guest"));
    scene.archive.vm(big);
    let mut machine = scene.start()?;
    machine.expect("big", BOOT)?;
    machine.expect("free", ANSWER)?;
    machine.expect("good| TEST hello ok", ANSWER)?;
    Ok(())
}

#[test]
fn a_truncated_archive_is_named() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "truncated").test_guest("lost", 1, "hello")?;
    let whole = scene.config.log.with_extension("whole");
    fs::create_dir_all(whole.parent().unwrap_or(&whole))?;
    scene.archive.write(&whole)?;
    let bytes = fs::read(&whole)?;
    let cut = whole.with_extension("cut");
    fs::write(&cut, &bytes[..bytes.len() / 2])?;
    scene.config.archive = Some(cut);
    let mut machine = Machine::start(&scene.config)?;
    machine.expect("archive", BOOT)?;
    Ok(())
}

#[test]
fn entry_at_el1_is_explained() -> Result<()> {
    let mut scene = on(Board::VirtGicv3, "el1").test_guest("none", 1, "hello")?;
    scene.config.virtualization = false;
    let mut machine = scene.start()?;
    machine.expect("virtualization=on", BOOT)?;
    Ok(())
}
