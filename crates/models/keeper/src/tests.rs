#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

use crate::rig::{self, Rig, named, pattern};
use crate::variables::volume_name;
use crate::{Ask, PRIVATE, Use, VmView};
use abi::record::{
    AuditRecord, DatastoreRecord, ObjectRecord, READ_ONLY, SnapshotRecord, VOLATILE, VolumeRecord,
};
use abi::request::RUN_BYTES;
use abi::{RequestKind as Kind, Status};
use sha2::{Digest, Sha256};
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

fn records<const N: usize, T>(bytes: &[u8], decode: fn(&[u8; N]) -> T) -> Vec<T> {
    assert!(bytes.len().is_multiple_of(N));
    bytes.chunks_exact(N).map(|chunk| decode(chunk.try_into().unwrap())).collect()
}

fn text(field: &[u8]) -> String {
    String::from_utf8(field.iter().copied().take_while(|byte| *byte != 0).collect()).unwrap()
}

fn objects(rig: &mut Rig, prefix: &str) -> Vec<(String, u64)> {
    let (status, count, given) = rig.ask(Kind::ListObjects, 0, 0, &named(prefix, b""), 64 * 1024);
    let list = records(&given, ObjectRecord::from_bytes);
    assert_eq!((status, count as usize), (Status::Ok, list.len()));
    list.iter().map(|record| (text(&record.name), record.bytes)).collect()
}

#[test]
fn an_object_is_all_of_what_was_written_or_what_it_was() {
    for mut rig in [Rig::with_store(), Rig::without_store()] {
        for bytes in [0, 1, 511, 512, 513, 65_536] {
            assert_eq!(rig.write("file:a", &pattern(bytes, 1)), Status::Ok);
            assert_eq!(rig.read("file:a"), Ok(pattern(bytes, 1)));
        }
        assert_eq!(rig.write("file:b", b"other"), Status::Ok);
        assert_eq!(rig.write("host:c", b""), Status::Ok);
        assert_eq!(objects(&mut rig, "file:"), [("file:a".to_string(), 65_536), ("file:b".to_string(), 5)]);
        assert_eq!(objects(&mut rig, "").len(), 3);
        let (.., given) = rig.ask(Kind::ListObjects, 0, 1, &named("", b""), 81);
        assert_eq!(
            text(&records(&given, ObjectRecord::from_bytes)[0].name),
            "file:b",
            "one, after one left out"
        );
        let (.., none) = rig.ask(Kind::ReadObject, 0, 70_000, &named("file:a", b""), 10);
        assert!(none.is_empty(), "nothing lies behind the end");
        assert_eq!(rig.ask(Kind::DeleteObject, 0, 0, &named("file:a", b""), 0).0, Status::Ok);
        assert_eq!(rig.read("file:a"), Err(Status::NotFound));
        assert_eq!(rig.ask(Kind::DeleteObject, 0, 0, &named("file:a", b""), 0).0, Status::NotFound);
    }
}

/// The seed of the next start is no world's to read, to write or to put in another's place.
#[test]
fn the_hosts_own_objects_are_not_a_worlds() {
    for mut rig in [Rig::with_store(), Rig::without_store()] {
        let own = |kind, payload: Vec<u8>| Ask {
            id: 1,
            kind,
            generation: 0,
            target: 0,
            argument: 0,
            payload,
            room: 4096,
        };
        let of_host = |rig: &mut Rig, kind, payload| {
            rig.keeper.submit(own(kind, payload));
            rig.work();
            let done = rig.keeper.finished().unwrap();
            (Status::from_raw(done.answer.status).unwrap(), done.payload)
        };
        let name = format!("{PRIVATE}seed");
        assert_eq!(of_host(&mut rig, Kind::WriteObject, named(&name, b"secret")).0, Status::Ok);
        for kind in [Kind::ReadObject, Kind::WriteObject, Kind::AppendObject, Kind::DeleteObject] {
            let payload = named(&name, b"");
            assert_eq!(rig.ask(kind, 0, 0, &payload, kind.receive_max()).0, Status::Denied, "{kind:?}");
        }
        for (from, to) in [("part:a", name.as_str()), (name.as_str(), "file:a")] {
            let payload = named(from, &named(to, b""));
            assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &payload, 0).0, Status::Denied);
        }
        assert_eq!(objects(&mut rig, ""), []);
        let (status, contents) = of_host(&mut rig, Kind::ReadObject, named(&name, b""));
        assert_eq!((status, contents.as_slice()), (Status::Ok, &b"secret"[..]));
        assert_eq!(of_host(&mut rig, Kind::ListObjects, named("", b"")).1.len(), ObjectRecord::BYTES);
    }
}

#[test]
fn a_cd_in_a_drive_is_neither_deleted_nor_exchanged() {
    let mut rig = Rig::with_store();
    assert_eq!(rig.write("iso:a", b"first"), Status::Ok);
    rig.world.drives.push("iso:a".into());
    assert_eq!(rig.write("iso:a", b"second"), Status::Conflict);
    let new = rig.ask(Kind::AppendObject, 0, 0, &named("part:a", b"second"), 0);
    assert_eq!(new.0, Status::Ok);
    let rename = named("part:a", &named("iso:a", b""));
    assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &rename, 0).0, Status::Conflict);
    assert_eq!(rig.ask(Kind::DeleteObject, 0, 0, &named("iso:a", b""), 0).0, Status::Conflict);
    assert_eq!(rig.ask(Kind::ReadObject, 0, 0, &named("iso:a", b""), 4096).2, b"first");
    rig.world.drives.clear();
    assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &rename, 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::ReadObject, 0, 0, &named("iso:a", b""), 4096).2, b"second");
    assert_eq!(rig.ask(Kind::DeleteObject, 0, 0, &named("iso:a", b""), 0).0, Status::Ok);
}

#[test]
fn what_was_answered_is_there_after_a_power_cut() {
    let mut rig = Rig::with_store();
    assert_eq!(rig.write("file:a", &pattern(5000, 1)), Status::Ok);
    assert_eq!(rig.write("run:b", b"not this"), Status::Ok);
    let (_, id, _) = rig.ask(Kind::CreateVolume, 0, 1 << 30, &named("v", b""), 0);
    assert_eq!(rig.ask(Kind::WriteVolume, id, 8192, &pattern(4096, 2), 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::FlushVolume, id, 0, b"", 0).0, Status::Ok);
    rig.cut();
    assert_eq!(rig.read("file:a"), Ok(pattern(5000, 1)));
    assert_eq!(rig.read("run:b"), Err(Status::NotFound));
    assert_eq!(rig.ask(Kind::ReadVolume, id, 8192, b"", 4096).2, pattern(4096, 2));
    // A half-finished replacement leaves the old one.
    rig.start(1, Kind::WriteObject, 0, 0, &named("file:a", b"new"), 0);
    rig.keeper.step(rig.store.as_mut(), &mut rig.world);
    rig.cut();
    assert_eq!(rig.read("file:a"), Ok(pattern(5000, 1)));
}

#[test]
fn an_upload_grows_at_its_end_and_gets_its_name_whole() {
    let mut rig = Rig::with_store();
    let whole = pattern(200_000, 3);
    let mut at = 0;
    for piece in [1, 511, 512, 65_536, 3, 100_000] {
        let end = (at + piece).min(whole.len());
        let step = &whole[at..end.min(at + 65_536)];
        let (status, size, _) = rig.ask(Kind::AppendObject, 0, at as u64, &named("part:x", step), 0);
        at += step.len();
        assert_eq!((status, size), (Status::Ok, at as u64));
        // Twice the same piece: the sender did not hear the answer.
        let again = rig.ask(Kind::AppendObject, 0, 0, &named("part:x", step), 0);
        assert_eq!((again.0, again.1), (Status::Conflict, at as u64));
        assert_eq!(rig.read("part:x"), Ok(whole[..at].to_vec()), "what is there can be read");
    }
    assert_eq!(objects(&mut rig, "part:"), [("part:x".to_string(), at as u64)]);
    let names = |from: &str, to: &str| named(from, &named(to, b""));
    for wrong in [names("file:y", "file:x"), names("part:x", "run:x"), names("part:x", "part:z")] {
        assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &wrong, 0).0, Status::Invalid);
    }
    assert_eq!(rig.ask(Kind::AppendObject, 0, 0, &named("file:x", b"x"), 0).0, Status::Invalid);
    assert_eq!(rig.write("part:x", b"x"), Status::Invalid);
    assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &names("part:x", "file:x"), 0).1, at as u64);
    rig.cut();
    assert_eq!(rig.read("file:x"), Ok(whole[..at].to_vec()));
    assert_eq!(objects(&mut rig, ""), [("file:x".to_string(), at as u64)]);
    // An upload of nothing is an empty object; one that is deleted leaves nothing.
    assert_eq!(rig.ask(Kind::AppendObject, 0, 0, &named("part:e", b""), 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::RenameObject, 0, 0, &names("part:e", "file:e"), 0).0, Status::Ok);
    assert_eq!(rig.read("file:e"), Ok(vec![]));
    assert_eq!(rig.ask(Kind::AppendObject, 0, 0, &named("part:d", b"data"), 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::DeleteObject, 0, 0, &named("part:d", b""), 0).0, Status::Ok);
    assert_eq!(
        rig.ask(Kind::AppendObject, 0, 4, &named("part:d", b"data"), 0),
        (Status::Conflict, 0, vec![])
    );
}

#[test]
fn two_pieces_of_one_upload_at_once_are_one_after_the_other() {
    let mut rig = Rig::with_store();
    rig.start(1, Kind::AppendObject, 0, 0, &named("part:x", &pattern(1000, 0)), 0);
    rig.start(2, Kind::AppendObject, 0, 1000, &named("part:x", &pattern(1000, 1)), 0);
    rig.start(3, Kind::ReadObject, 0, 0, &named("part:x", b""), 5000);
    rig.work();
    let ends: Vec<_> = core::iter::from_fn(|| rig.keeper.finished()).collect();
    assert_eq!(ends.len(), 3);
    assert!(ends.iter().all(|end| end.answer.status == 0));
    assert_eq!(rig.read("part:x").unwrap(), [pattern(1000, 0), pattern(1000, 1)].concat());
}

#[test]
fn names_and_sizes_that_may_not_be_are_refused() {
    let mut rig = Rig::with_store();
    for name in ["", "a/b", "a\nb", ".", ".."] {
        assert_eq!(rig.write(name, b"x"), Status::Invalid, "{name:?}");
    }
    let mut field = named("a", b"");
    field[5] = b'x';
    assert_eq!(rig.ask(Kind::ReadObject, 0, 0, &field, 0).0, Status::Invalid, "something behind the zeros");
    field[5] = 0;
    field[0] = 0xff;
    assert_eq!(rig.ask(Kind::ReadObject, 0, 0, &field, 0).0, Status::Invalid, "no UTF-8");
    assert_eq!(rig.ask(Kind::ReadObject, 0, 0, b"short", 0).0, Status::Invalid);
    for bytes in [0, 512, 4097, u64::MAX] {
        assert_eq!(rig.ask(Kind::CreateVolume, 0, bytes, &named("v", b""), 0).0, Status::Invalid);
    }
    // What is kept in RAM has an end.
    let piece = pattern(65_536, 0);
    let taken = (0..).take_while(|n| rig.write(&format!("run:{n}"), &piece) == Status::Ok).count();
    assert_eq!(taken as u64, RUN_BYTES / 65_536 - 1);
    assert_eq!(rig.write("run:0", &pattern(65_000, 1)), Status::Ok, "in the place of what it was");
}

#[test]
fn volumes_are_made_used_and_go() {
    let mut rig = Rig::with_store();
    let (status, id, _) = rig.ask(Kind::CreateVolume, 0, 1 << 20, &named("v", b""), 0);
    assert_eq!(status, Status::Ok);
    assert_eq!(rig.ask(Kind::CreateVolume, 0, 1 << 20, &named("v", b""), 0).0, Status::Conflict);
    assert_eq!(rig.ask(Kind::WriteVolume, id, 512, &pattern(1024, 1), 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::WriteVolume, id, 100, &pattern(512, 1), 0).0, Status::Invalid);
    assert_eq!(rig.ask(Kind::WriteVolume, id, 1 << 20, &pattern(512, 1), 0).0, Status::Invalid);
    let (_, clone, _) = rig.ask(Kind::CloneVolume, id, 0, &named("c", b""), 0);
    assert_eq!(rig.ask(Kind::ReadVolume, clone, 512, b"", 1024).2, pattern(1024, 1));
    assert_eq!(rig.ask(Kind::ResizeVolume, id, 1 << 21, b"", 0).0, Status::Ok);
    rig.world.uses.insert("v".to_string(), Use::Running);
    for (kind, payload) in
        [(Kind::WriteVolume, &[0; 512][..]), (Kind::ResizeVolume, b""), (Kind::DeleteVolume, b"")]
    {
        assert_eq!(
            rig.ask(kind, id, 4096, payload, 0).0,
            Status::Conflict,
            "{kind:?} of a running VM's volume"
        );
    }
    rig.world.uses.insert("v".to_string(), Use::Named);
    assert_eq!(rig.ask(Kind::DeleteVolume, id, 0, b"", 0).0, Status::Conflict);
    let (_, count, given) = rig.ask(Kind::ListVolumes, 0, 0, b"", 4096);
    let list = records(&given, VolumeRecord::from_bytes);
    assert_eq!(count, 2);
    assert_eq!((text(&list[0].name), list[0].bytes, list[0].in_use), ("v".to_string(), 1 << 21, 1));
    assert_eq!((list[1].id, list[1].in_use), (clone, 0));
    assert_eq!(rig.ask(Kind::DeleteVolume, clone, 0, b"", 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::ReadVolume, clone, 0, b"", 512).0, Status::NotFound);
    let record = rig.ask(Kind::InspectDatastore, 0, 0, b"", 128).2;
    let record = DatastoreRecord::from_bytes(&record.try_into().unwrap());
    assert_eq!((record.uuid, record.volumes, record.flags), ([9; 16], 1, 0));
    assert!(record.free_bytes > 0 && record.free_bytes < record.bytes && record.written_bytes > 0);
}

fn vm(rig: &mut Rig, volumes: &[&str], is_running: bool) {
    let volumes = volumes.iter().map(ToString::to_string).collect();
    rig.world.vms.insert(7, VmView { name: "vm".to_string(), is_running, is_ending: false, volumes });
}

fn snapshots(rig: &mut Rig) -> Vec<SnapshotRecord> {
    let (status, count, given) = rig.ask(Kind::ListVmSnapshots, 7, 0, b"", 4096);
    let list = records(&given, SnapshotRecord::from_bytes);
    assert_eq!((status, count as usize), (Status::Ok, list.len()));
    list
}

#[test]
fn snapshots_of_a_vm_are_of_all_its_volumes_and_form_a_tree() {
    let mut rig = Rig::with_store();
    let ids = ["a", "b"].map(|name| rig.ask(Kind::CreateVolume, 0, 1 << 20, &named(name, b""), 0).1);
    vm(&mut rig, &["a", "b"], true);
    let write = |rig: &mut Rig, seed| {
        for id in ids {
            assert_eq!(rig.ask(Kind::WriteVolume, id, 0, &pattern(4096, seed), 0).0, Status::Ok);
        }
    };
    let take = |rig: &mut Rig, name: &str| rig.ask(Kind::SnapshotVm, 7, 0, &named(name, b""), 0).1;
    write(&mut rig, 1);
    let first = take(&mut rig, "first");
    write(&mut rig, 2);
    let second = take(&mut rig, "second");
    write(&mut rig, 3);
    assert_eq!(rig.ask(Kind::SnapshotVm, 7, 0, &named("first", b""), 0).0, Status::Conflict);
    assert_eq!(rig.ask(Kind::RevertVm, 7, first, b"", 0).0, Status::Conflict, "it runs");
    vm(&mut rig, &["a", "b"], false);
    rig.cut();
    assert_eq!(rig.ask(Kind::RevertVm, 7, first, b"", 0).0, Status::Ok);
    for id in ids {
        assert_eq!(rig.ask(Kind::ReadVolume, id, 0, b"", 4096).2, pattern(4096, 1));
    }
    let third = take(&mut rig, "third");
    let list = snapshots(&mut rig);
    let tree: Vec<_> = list.iter().map(|one| (text(&one.name), one.id, one.parent, one.is_current)).collect();
    let name = str::to_string;
    let expected =
        [(name("first"), first, 0, 0), (name("second"), second, first, 0), (name("third"), third, first, 1)];
    assert_eq!(tree, expected);
    assert_eq!(list[0].created, 1_800_000_000);
    assert_eq!(rig.ask(Kind::DeleteVmSnapshot, 7, first, b"", 0).0, Status::Ok);
    assert_eq!(snapshots(&mut rig).iter().map(|one| one.parent).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(rig.ask(Kind::RevertVm, 7, second, b"", 0).0, Status::Ok);
    assert_eq!(rig.ask(Kind::ReadVolume, ids[1], 0, b"", 4096).2, pattern(4096, 2));
    for wrong in [first, ids[0], 9999] {
        assert_eq!(rig.ask(Kind::RevertVm, 7, wrong, b"", 0).0, Status::NotFound);
    }
    let (_, _, given) = rig.ask(Kind::ListVolumes, 0, 0, b"", 4096);
    assert!(records(&given, VolumeRecord::from_bytes).iter().all(|volume| volume.snapshots == 2));
}

#[test]
fn a_volume_is_made_of_a_vms_snapshot_which_may_then_go() {
    let mut rig = Rig::with_store();
    let ids = ["a", "b"].map(|name| rig.ask(Kind::CreateVolume, 0, 1 << 20, &named(name, b""), 0).1);
    vm(&mut rig, &["a", "b"], true);
    for (seed, id) in (1..).zip(ids) {
        assert_eq!(rig.ask(Kind::WriteVolume, id, 0, &pattern(4096, seed), 0).0, Status::Ok);
    }
    let then = rig.ask(Kind::SnapshotVm, 7, 0, &named("then", b""), 0).1;
    for id in ids {
        assert_eq!(rig.ask(Kind::WriteVolume, id, 0, &pattern(4096, 9), 0).0, Status::Ok);
    }
    let clones = [("c", ids[0]), ("d", ids[1])].map(|(name, id)| {
        let (status, clone, _) = rig.ask(Kind::CloneVolume, id, then, &named(name, b""), 0);
        assert_eq!(status, Status::Ok);
        clone
    });
    for (volume, snapshot) in [(9999, then), (clones[0], then), (ids[0], 9999), (ids[0], ids[1])] {
        let (status, ..) = rig.ask(Kind::CloneVolume, volume, snapshot, &named("e", b""), 0);
        assert_eq!(status, Status::NotFound, "{volume} of {snapshot}");
    }
    assert_eq!(rig.ask(Kind::DeleteVmSnapshot, 7, then, b"", 0).0, Status::Ok);
    rig.cut();
    for (seed, clone) in (1..).zip(clones) {
        assert_eq!(rig.ask(Kind::ReadVolume, clone, 0, b"", 4096).2, pattern(4096, seed));
    }
    assert_eq!(rig.ask(Kind::ReadVolume, ids[1], 0, b"", 4096).2, pattern(4096, 9));
}

/// What the host itself asks.
fn host_asks(rig: &mut Rig, kind: Kind, target: u64, argument: u64, payload: &[u8], room: u32) -> rig::Got {
    rig.keeper.submit(Ask { id: 1, kind, generation: 0, target, argument, payload: payload.to_vec(), room });
    rig.work();
    let done = rig.keeper.finished().unwrap();
    (Status::from_raw(done.answer.status).unwrap(), done.answer.value, done.payload)
}

#[test]
fn a_vms_firmware_variables_are_those_of_its_snapshots() {
    let mut rig = Rig::with_store();
    rig.ask(Kind::CreateVolume, 0, 1 << 20, &named("a", b""), 0);
    vm(&mut rig, &["a"], false);
    let take = |rig: &mut Rig, name: &str| rig.ask(Kind::SnapshotVm, 7, 0, &named(name, b""), 0).1;
    let none = take(&mut rig, "none");
    let kept = volume_name("vm");
    let id = host_asks(&mut rig, Kind::CreateVolume, 0, 1 << 20, &named(&kept, b""), 0).1;
    let write = |rig: &mut Rig, seed| {
        assert_eq!(host_asks(rig, Kind::WriteVolume, id, 0, &pattern(4096, seed), 0).0, Status::Ok);
    };
    let read = |rig: &mut Rig, id| host_asks(rig, Kind::ReadVolume, id, 0, b"", 4096).2;
    write(&mut rig, 1);
    let first = take(&mut rig, "first");
    write(&mut rig, 2);
    // Each time those of the VM of that name before go first.
    for (of, snapshot, wanted) in
        [(7, first, Some(1)), (7, 0, Some(2)), (7, none, None), (7, 0, Some(2)), (0, 0, None)]
    {
        let begun = host_asks(&mut rig, Kind::CloneVm, of, snapshot, &named("other", b""), 0);
        assert_eq!(begun.0, Status::Ok);
        rig.cut();
        let begins = rig.store.as_ref().unwrap().catalog().volume(&volume_name("other"));
        assert_eq!(begins.map(|id| read(&mut rig, id)), wanted.map(|seed| pattern(4096, seed)));
    }
    assert_eq!(rig.ask(Kind::CloneVm, 7, first, &named("other", b""), 0).0, Status::Denied, "for a world");
    for (snapshot, wanted) in [(first, pattern(4096, 1)), (none, vec![0; 4096]), (first, pattern(4096, 1))] {
        assert_eq!(rig.ask(Kind::RevertVm, 7, snapshot, b"", 0).0, Status::Ok);
        rig.cut();
        assert_eq!(read(&mut rig, id), wanted);
    }
    assert_eq!(host_asks(&mut rig, Kind::ResetFirmwareVariables, 7, 0, b"", 0).0, Status::Ok);
    assert_eq!(read(&mut rig, id), [0; 4096]);
    assert_eq!(rig.ask(Kind::RevertVm, 7, first, b"", 0).0, Status::Ok);
    assert_eq!(read(&mut rig, id), pattern(4096, 1), "a snapshot's outlive the reset");
    for snapshot in [first, none] {
        assert_eq!(rig.ask(Kind::DeleteVmSnapshot, 7, snapshot, b"", 0).0, Status::Ok);
    }
    let catalog = rig.store.as_ref().unwrap().catalog();
    assert!(!catalog.iter().any(|(_, entry)| matches!(entry, datastore::Entry::Snapshot { .. })));
}

/// A guest that turned itself off may have left variables that are being saved: what is asked about it waits.
#[test]
fn what_is_asked_of_a_vm_that_ends_is_done_when_it_has_ended() {
    let mut rig = Rig::with_store();
    rig.ask(Kind::CreateVolume, 0, 1 << 20, &named("a", b""), 0);
    vm(&mut rig, &["a"], false);
    let first = rig.ask(Kind::SnapshotVm, 7, 0, &named("first", b""), 0).1;
    for (kind, payload) in [
        (Kind::RevertVm, Vec::new()),
        (Kind::SnapshotVm, named("second", b"")),
        (Kind::CloneVm, named("other", b"")),
    ] {
        let argument = if kind == Kind::RevertVm { first } else { 0 };
        rig.world.vms.get_mut(&7).unwrap().is_ending = true;
        let ask = Ask { id: 1, kind, generation: 0, target: 7, argument, payload, room: 0 };
        rig.keeper.submit(ask);
        rig.work();
        assert!(rig.keeper.finished().is_none(), "{kind:?} did not wait");
        rig.world.vms.get_mut(&7).unwrap().is_ending = false;
        rig.work();
        assert_eq!(rig.keeper.finished().unwrap().answer.status, Status::Ok as i64, "{kind:?}");
    }
}

/// The chain as it is read, in pieces: numbers and texts, every hash compared.
fn chain(rig: &mut Rig, from: u64) -> Vec<(u64, Vec<u8>)> {
    let mut all: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut before = None;
    loop {
        let next = all.last().map_or(from, |(number, _)| number + 1);
        let (status, last, given) = rig.ask(Kind::ReadAudit, 0, next, b"", 5000);
        assert_eq!(status, Status::Ok);
        let mut rest = &given[..];
        while !rest.is_empty() {
            let record = AuditRecord::from_bytes(rest.first_chunk().unwrap());
            let text = &rest[AuditRecord::BYTES..][..record.text_bytes as usize];
            let hash: [u8; 32] = Sha256::new().chain_update(&rest[..64]).chain_update(text).finalize().into();
            assert_eq!(record.hash, hash);
            assert!(before.is_none_or(|before| before == record.before));
            assert_eq!(record.generation, 3);
            before = Some(hash);
            all.push((record.number, text.to_vec()));
            rest = &rest[(AuditRecord::BYTES + text.len()).next_multiple_of(8)..];
        }
        if all.last().map_or(0, |(number, _)| *number) == last {
            return all;
        }
        assert!(!given.is_empty());
    }
}

fn append(rig: &mut Rig, text: &[u8]) -> u64 {
    let (status, number, _) = rig.ask(Kind::AppendAudit, 0, 0, text, 0);
    assert_eq!(status, Status::Ok);
    number
}

#[test]
fn the_audit_chain_grows_and_survives_power_cuts() {
    let mut rig = Rig::with_store();
    assert_eq!(chain(&mut rig, 1), []);
    // Over more than two sectors of the index, with cuts around their ends.
    for number in 1..=140_u64 {
        assert_eq!(append(&mut rig, format!("entry {number}").as_bytes()), number);
        if [1, 2, 63, 64, 65, 127, 128, 129].contains(&number) {
            rig.cut();
        }
    }
    let all = chain(&mut rig, 1);
    assert_eq!(all.len(), 140);
    assert!(all.iter().all(|(number, text)| *text == format!("entry {number}").into_bytes()));
    assert_eq!(chain(&mut rig, 138).len(), 3);
    assert_eq!(append(&mut rig, &[b'x'; 500]), 141);
    assert_eq!(append(&mut rig, b""), 142);
    assert_eq!(chain(&mut rig, 140).iter().map(|(_, text)| text.len()).collect::<Vec<_>>(), [9, 500, 0]);
    // Nothing else reaches it.
    let (_, count, _) = rig.ask(Kind::ListVolumes, 0, 0, b"", 4096);
    assert_eq!(count, 0);
    for id in 0..20 {
        assert_ne!(rig.ask(Kind::WriteVolume, id, 0, &[0; 512], 0).0, Status::Ok);
        assert_ne!(rig.ask(Kind::DeleteVolume, id, 0, b"", 0).0, Status::Ok);
    }
    // Several at once.
    for id in 1..=5 {
        rig.start(id, Kind::AppendAudit, 0, 0, format!("{id}").as_bytes(), 0);
    }
    rig.work();
    let ends: Vec<_> =
        core::iter::from_fn(|| rig.keeper.finished()).map(|end| (end.id, end.answer.value)).collect();
    assert_eq!(ends.len(), 5);
    let texts = chain(&mut rig, 143);
    assert!(ends.iter().all(|(id, number)| texts.contains(&(*number, id.to_string().into_bytes()))));
}

#[test]
fn what_was_in_ram_moves_to_a_datastore_that_is_made() {
    let mut rig = Rig::without_store();
    for number in 1..=70 {
        assert_eq!(append(&mut rig, &pattern(4096, number)), u64::from(number));
    }
    let kept = chain(&mut rig, 1);
    assert!(kept.len() < 70 && kept.last().unwrap().0 == 70, "the oldest were forgotten");
    assert_eq!(rig.write("host:users", b"root"), Status::Ok);
    assert_eq!(rig.write("run:sessions", b"one"), Status::Ok);
    let volatile = rig.ask(Kind::InspectDatastore, 0, 0, b"", 128).2;
    assert_eq!(DatastoreRecord::from_bytes(&volatile.try_into().unwrap()).flags, VOLATILE);
    assert_eq!(rig.ask(Kind::CreateVolume, 0, 4096, &named("v", b""), 0).0, Status::NoDatastore);
    rig.make_store();
    rig.keeper.adopt();
    rig.work();
    assert!(rig.keeper.is_idle());
    assert_eq!(append(&mut rig, b"after"), 71);
    rig.cut();
    assert_eq!(rig.read("host:users"), Ok(b"root".to_vec()));
    assert_eq!(append(&mut rig, b"and after the cut"), 72);
    let all = chain(&mut rig, 1);
    assert_eq!(all[..kept.len()], kept);
    assert_eq!(all.len(), kept.len() + 2);
}

#[test]
fn a_disk_that_fails_now_and_then_leaves_nothing_half() {
    let mut rig = Rig::with_store();
    let (mut object, mut upload, mut last) = (b'0', 0, append(&mut rig, b"first"));
    assert_eq!(rig.write("file:a", &[object; 600]), Status::Ok);
    let mut failed = 0;
    for round in 0..60_u8 {
        rig.store.as_mut().unwrap().port().fails = u32::from(round % 4);
        match rig.write("file:a", &[round; 600]) {
            Status::Ok => object = round,
            status => failed += u32::from(status == Status::Io),
        }
        rig.store.as_mut().unwrap().port().fails = u32::from(round % 3);
        let piece = named("part:x", &pattern(100, round));
        let (status, size, _) = rig.ask(Kind::AppendObject, 0, upload, &piece, 0);
        failed += u32::from(status == Status::Io);
        upload = if status == Status::Ok { size } else { upload };
        rig.store.as_mut().unwrap().port().fails = u32::from(round % 4);
        let (status, number, _) = rig.ask(Kind::AppendAudit, 0, 0, b"again", 0);
        failed += u32::from(status == Status::Io);
        last = if status == Status::Ok { number } else { last };
        rig.store.as_mut().unwrap().port().fails = 0;
        if rig.store.as_ref().unwrap().read_only().is_some() {
            break;
        }
        assert_eq!(rig.read("file:a"), Ok(vec![object; 600]), "round {round}");
        assert_eq!(rig.read("part:x").map_or(0, |bytes| bytes.len() as u64), upload);
        assert_eq!(chain(&mut rig, 1).len() as u64, last);
    }
    assert!(failed > 10, "{failed}");
}

#[test]
fn a_disk_that_fails_always_is_said_and_can_be_read() {
    let mut rig = Rig::with_store();
    assert_eq!(rig.write("file:a", b"old"), Status::Ok);
    rig.store.as_mut().unwrap().port().fails = u32::MAX;
    while rig.write("file:a", b"new") == Status::Io {}
    rig.store.as_mut().unwrap().port().fails = 0;
    let record = rig.ask(Kind::InspectDatastore, 0, 0, b"", 128).2;
    assert_eq!(DatastoreRecord::from_bytes(&record.try_into().unwrap()).flags, READ_ONLY);
    assert_eq!(rig.write("file:a", b"new"), Status::ReadOnly);
    assert_eq!(rig.read("file:a"), Ok(b"old".to_vec()));
}

#[test]
fn any_requests_in_any_order_are_each_answered_once() {
    for seed in 0..50 {
        rig::script(&pattern(600, seed));
    }
}
