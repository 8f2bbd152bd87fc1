//! A host to look at: a datastore with images and volumes, two VMs of a boot archive, two of the datastore.

use abi::RequestKind;
use abi::record::NAME_BYTES;
use management::fake::RamVmkernel;
use management::port::{Request, Vmkernel};

/// Puts all of it there; three VMs run, one of them is paused.
pub async fn put(vmkernel: &RamVmkernel) {
    let serial = abi::name::field::<NAME_BYTES>("FAKE0001");
    ask(vmkernel, RequestKind::MakeDatastore, 0, 0, &serial).await;
    for (name, mib) in [("web", 8 << 10), ("lab-system", 20 << 10), ("lab-data", 100 << 10)] {
        let field = abi::name::field::<64>(name);
        ask(vmkernel, RequestKind::CreateVolume, 0, mib << 20, &field).await;
    }
    for (name, bytes) in [("image:debian-13.raw", 3 << 20), ("iso:installer.iso", 5 << 20)] {
        vmkernel.put_object(name, &vec![0x5a; bytes]);
    }
    let boots = "[vm.boot]\nkernel = \"vmlinuz\"\ninitrd = \"initrd.img\"\n";
    let firmware = "[vm.boot]\nfirmware = \"firmware:edk2\"\n";
    let image = |name: &str| format!("[[vm.disk]]\nimage = \"{name}.img\"\n");
    let volume = |name: &str| format!("[[vm.disk]]\nvolume = \"{name}\"\n");
    for (name, vcpus, memory, boot, disks, from_boot) in [
        ("dns", 1, "256MiB", boots, image("dns"), true),
        ("router", 1, "128MiB", boots, image("router"), true),
        ("web", 2, "512MiB", firmware, volume("web"), false),
        ("lab", 4, "2GiB", firmware, volume("lab-system") + &volume("lab-data"), false),
    ] {
        let head = format!("[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\n");
        let document = format!("{head}{boot}{disks}[[vm.nic]]\n");
        let handle = vmkernel.put_vm(&document, from_boot).expect("a document that holds");
        if name != "lab" {
            vmkernel.power_on(handle);
        }
        if name == "router" {
            ask(vmkernel, RequestKind::Pause, handle, 0, &[]).await;
        }
    }
}

async fn ask(vmkernel: &RamVmkernel, kind: RequestKind, target: u64, argument: u64, send: &[u8]) {
    let request = Request { kind, target, argument, send: [send, &[]] };
    vmkernel.request(request, &mut []).await.expect("a request that holds");
}
