//! The objects of a store as files in a folder, read-only, by FUSE.
//!
//! Standard: linux/fuse.h, by the crate `fuser`, which speaks to /dev/fuse itself.

use super::session::Session;
use anyhow::{Context, Result, ensure};
use datastore::{Entry, Target};
use fuser::{
    FileAttr, FileType, Filesystem, MountOption, ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
};
use std::ffi::OsStr;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Nothing changes while it is mounted.
const TTL: Duration = Duration::from_secs(60);
const FOLDER: u64 = 1;
const ENOENT: i32 = 2;
const EIO: i32 = 5;

struct Objects {
    session: Session,
}

/// Shows the objects until the folder is unmounted.
pub fn mount(session: Session, folder: &Path) -> Result<()> {
    ensure!(Path::new("/dev/fuse").exists(), "this machine has no FUSE (/dev/fuse)");
    let options = [MountOption::RO, MountOption::FSName("bramble".into()), MountOption::DefaultPermissions];
    fuser::mount2(Objects { session }, folder, &options)
        .with_context(|| format!("mounting on {}", folder.display()))
}

fn attributes(inode: u64, size: u64) -> FileAttr {
    let (kind, perm) =
        if inode == FOLDER { (FileType::Directory, 0o555) } else { (FileType::RegularFile, 0o444) };
    FileAttr {
        ino: inode,
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

impl Objects {
    /// An object's inode is its id, moved behind the folder's.
    fn list(&self) -> Vec<(u64, String, u64)> {
        let object = |(id, entry): (u64, &Entry)| match entry {
            Entry::Object { name, bytes, .. } => Some((id + FOLDER, name.clone(), *bytes)),
            _ => None,
        };
        self.session.store.catalog().iter().filter_map(object).collect()
    }
}

impl Filesystem for Objects {
    fn lookup(&mut self, _: &Request<'_>, _: u64, name: &OsStr, reply: ReplyEntry) {
        match self.list().into_iter().find(|(_, known, _)| name == known.as_str()) {
            Some((inode, _, bytes)) => reply.entry(&TTL, &attributes(inode, bytes), 0),
            None => reply.error(ENOENT),
        }
    }

    fn getattr(&mut self, _: &Request<'_>, inode: u64, _: Option<u64>, reply: ReplyAttr) {
        if inode == FOLDER {
            return reply.attr(&TTL, &attributes(FOLDER, 0));
        }
        match self.list().into_iter().find(|(known, ..)| *known == inode) {
            Some((_, _, bytes)) => reply.attr(&TTL, &attributes(inode, bytes)),
            None => reply.error(ENOENT),
        }
    }

    fn readdir(&mut self, _: &Request<'_>, _: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let dots = [(FOLDER, String::from(".")), (FOLDER, String::from(".."))];
        let files = self.list().into_iter().map(|(inode, name, _)| (inode, name));
        for (next, (inode, name)) in (1..).zip(dots.into_iter().chain(files)).skip(offset as usize) {
            let kind = if inode == FOLDER { FileType::Directory } else { FileType::RegularFile };
            if reply.add(inode, next, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        inode: u64,
        _: u64,
        offset: i64,
        size: u32,
        _: i32,
        _: Option<u64>,
        reply: ReplyData,
    ) {
        let target = Target::Object(inode.wrapping_sub(FOLDER));
        let (size, offset) = (u64::from(size), offset as u64);
        let end = (offset + size).min(self.session.size(target));
        if offset >= end {
            return reply.data(&[]);
        }
        let (first, mut bytes) = (offset / 512 * 512, Vec::new());
        for at in (first..end).step_by(super::session::PIECE) {
            let n = (end - at).min(super::session::PIECE as u64).next_multiple_of(512);
            if self.session.read(target, at, n as usize, &mut bytes).is_err() {
                return reply.error(EIO);
            }
        }
        let skip = (offset - first) as usize;
        reply.data(&bytes[skip..skip + (end - offset) as usize]);
    }
}
