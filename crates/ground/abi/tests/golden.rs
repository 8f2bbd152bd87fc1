//! The whole contract as text, against `golden/abi.txt` (rule `golden`).
//!
//! After a wanted change raise [`abi::VERSION`], run `BLESS=1 cargo test -p abi --test golden` and look at the difference.

#![allow(clippy::unwrap_used, clippy::panic)]

use abi::record::{
    AddressRecord, AuditRecord, CrashRecord, DatastoreRecord, DiskRecord, HostRecord, HostUse, ObjectRecord,
    PortRecord, SnapshotRecord, VmRecord, VmStatistics, VolumeRecord,
};
use abi::{Answer, Call, ExitReason, Request, RequestKind, Status, VmHandle};
use std::fmt::Write;
use std::path::Path;

fn table() -> String {
    let mut text =
        format!("version {}\n\ncalls: function id, name, bytes of the buffer at most\n", abi::VERSION);
    for (call, name) in Call::ALL {
        writeln!(text, "{:#010x} {name} {}", *call as u32, call.buffer_max()).unwrap();
    }
    text.push_str("\nrequests: number, name, bytes sent and received at most\n");
    for (kind, name) in RequestKind::ALL {
        writeln!(text, "{} {name} {} {}", *kind as u32, kind.send_max(), kind.receive_max()).unwrap();
    }
    text.push_str("\nstatus\n");
    for (status, name) in Status::ALL {
        writeln!(text, "{} {name}", *status as i64).unwrap();
    }
    text.push_str("\nreasons of a world's end\n");
    for (reason, name) in ExitReason::ALL {
        writeln!(text, "{} {name}", *reason as u32).unwrap();
    }
    let structs = [
        ("VmRecord", VmRecord::BYTES, VmRecord::LAYOUT),
        ("VmStatistics", VmStatistics::BYTES, VmStatistics::LAYOUT),
        ("HostUse", HostUse::BYTES, HostUse::LAYOUT),
        ("HostRecord", HostRecord::BYTES, HostRecord::LAYOUT),
        ("CrashRecord", CrashRecord::BYTES, CrashRecord::LAYOUT),
        ("DiskRecord", DiskRecord::BYTES, DiskRecord::LAYOUT),
        ("DatastoreRecord", DatastoreRecord::BYTES, DatastoreRecord::LAYOUT),
        ("ObjectRecord", ObjectRecord::BYTES, ObjectRecord::LAYOUT),
        ("VolumeRecord", VolumeRecord::BYTES, VolumeRecord::LAYOUT),
        ("SnapshotRecord", SnapshotRecord::BYTES, SnapshotRecord::LAYOUT),
        ("PortRecord", PortRecord::BYTES, PortRecord::LAYOUT),
        ("AddressRecord", AddressRecord::BYTES, AddressRecord::LAYOUT),
        ("AuditRecord", AuditRecord::BYTES, AuditRecord::LAYOUT),
        ("Request", Request::BYTES, Request::LAYOUT),
        ("Answer", Answer::BYTES, Answer::LAYOUT),
    ];
    for (name, bytes, layout) in structs {
        writeln!(text, "\n{name}, {bytes} bytes: offset, bytes, field").unwrap();
        for (field, offset, bytes) in layout {
            writeln!(text, "{offset:3} {bytes:3} {field}").unwrap();
        }
    }
    text
}

#[test]
fn the_whole_table_is_golden() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/abi.txt");
    let text = table();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(&path).unwrap(),
        "the contract of today differs from {}",
        path.display()
    );
}

#[test]
fn numbers_lead_back_to_what_they_name() {
    for (call, _) in Call::ALL {
        assert_eq!(Call::from_function_id(*call as u32), Some(*call));
    }
    for (kind, _) in RequestKind::ALL {
        assert_eq!(RequestKind::from_raw(*kind as u32), Some(*kind));
    }
    for (status, _) in Status::ALL {
        assert_eq!(Status::from_raw(*status as i64), Some(*status));
    }
    for (reason, _) in ExitReason::ALL {
        assert_eq!(ExitReason::from_raw(*reason as u32), Some(*reason));
    }
    assert_eq!(Call::from_function_id(abi::call::BASE + 0xffff), None);
    assert_eq!(RequestKind::from_raw(u32::MAX), None);
    assert_eq!(Status::from_raw(-1000), None);
    let handle = VmHandle { place: 7, generation: 0x8000_0001 };
    assert_eq!(VmHandle::from_raw(handle.to_raw()), handle);
}

#[test]
fn structs_survive_the_way() {
    let mut bytes = [0; CrashRecord::BYTES];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::try_from(at % 251).unwrap();
    }
    let crash = CrashRecord::from_bytes(&bytes);
    assert_eq!(crash.to_bytes(), bytes);
    assert_eq!(crash.reason.to_le_bytes(), bytes[4..8]);
    assert_eq!(crash.x[30].to_le_bytes(), bytes[272..280]);
    let request = Request { kind: 1, generation: 2, target: 3, argument: 4, reserved: 0 };
    assert_eq!(Request::from_bytes(&request.to_bytes()), request);
    // A struct fills its call's buffer, never more.
    assert_eq!(Call::InspectVm.buffer_max(), VmRecord::BYTES as u64);
    assert_eq!(Call::GetVmStatistics.buffer_max(), VmStatistics::BYTES as u64);
    assert_eq!(Call::GetHostUse.buffer_max(), HostUse::BYTES as u64);
    assert_eq!(Call::InspectHost.buffer_max(), HostRecord::BYTES as u64);
    assert_eq!(Call::ReadCrash.buffer_max(), CrashRecord::BYTES as u64);
}
