//! A host to look at: two VMs of a boot archive and one more; where wanted a datastore with volumes, images and VMs.

use abi::RequestKind;
use abi::record::NAME_BYTES;
use management::fake::RamVmkernel;
use management::port::{Request, Vmkernel};

const BOOTS: &str = "[vm.boot]\nkernel = \"vmlinuz\"\ninitrd = \"initrd.img\"\n";
const FIRMWARE: &str = "[vm.boot]\nfirmware = \"edk2.fd\"\n";

/// VMs; one runs.
pub fn put(vmkernel: &RamVmkernel) {
    for (name, vcpus, memory, boots) in
        [("dns", 1, "256MiB", true), ("web", 2, "512MiB", true), ("lab", 4, "2GiB", false)]
    {
        let disk = format!("image = \"{name}.img\"");
        let handle = put_vm(vmkernel, name, (vcpus, memory), BOOTS, &[&disk], boots);
        if name == "web" {
            vmkernel.power_on(handle);
        }
    }
}

/// A datastore, and what lives there; one more VM runs, and one is paused.
pub async fn put_datastore(vmkernel: &RamVmkernel) {
    let serial = abi::name::field::<NAME_BYTES>("FAKE0001");
    ask(vmkernel, RequestKind::MakeDatastore, 0, 0, &serial).await;
    for (name, gib) in [("db-system", 20), ("db-data", 100), ("router", 4)] {
        let field = abi::name::field::<64>(name);
        ask(vmkernel, RequestKind::CreateVolume, 0, gib << 30, &field).await;
    }
    for (name, bytes) in
        [("image:debian-13.raw", 3 << 20), ("iso:installer.iso", 5 << 20), ("firmware:edk2.fd", 2 << 20)]
    {
        vmkernel.put_object(name, &vec![0x5a; bytes]);
    }
    let disks = ["volume = \"db-system\"", "volume = \"db-data\""];
    let db = put_vm(vmkernel, "db", (2, "1GiB"), FIRMWARE, &disks, false);
    vmkernel.power_on(db);
    let router = put_vm(vmkernel, "router", (1, "128MiB"), FIRMWARE, &["volume = \"router\""], false);
    vmkernel.power_on(router);
    ask(vmkernel, RequestKind::Pause, router, 0, &[]).await;
}

fn put_vm(
    vmkernel: &RamVmkernel,
    name: &str,
    (vcpus, memory): (u32, &str),
    boot: &str,
    disks: &[&str],
    is_from_boot: bool,
) -> u64 {
    let head = format!("[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\n{boot}");
    let disks: String = disks.iter().map(|disk| format!("[[vm.disk]]\n{disk}\n")).collect();
    let document = format!("{head}{disks}[[vm.nic]]\n");
    vmkernel.put_vm(&document, is_from_boot).expect("a document that holds")
}

async fn ask(vmkernel: &RamVmkernel, kind: RequestKind, target: u64, argument: u64, send: &[u8]) {
    let request = Request { kind, target, argument, send: [send, &[]] };
    vmkernel.request(request, &mut []).await.expect("a request that holds");
}
