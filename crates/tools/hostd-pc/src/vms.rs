//! VMs to look at: two of a boot archive, one of the datastore.

use management::fake::RamVmkernel;

/// Puts them there; one runs.
pub fn put(vmkernel: &RamVmkernel) {
    for (name, vcpus, memory, boots) in
        [("dns", 1, "256MiB", true), ("web", 2, "512MiB", true), ("lab", 4, "2GiB", false)]
    {
        let document = format!(
            "[[vm]]\nname = \"{name}\"\nvcpus = {vcpus}\nmemory = \"{memory}\"\n\
             [vm.boot]\nkernel = \"vmlinuz\"\ninitrd = \"initrd.img\"\n\
             [[vm.disk]]\nimage = \"{name}.img\"\n[[vm.nic]]\n"
        );
        let handle = vmkernel.put_vm(&document, boots).expect("a document that holds");
        if name == "web" {
            vmkernel.power_on(handle);
        }
    }
}
