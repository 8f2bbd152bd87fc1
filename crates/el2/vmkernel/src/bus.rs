//! Which device an address belongs to, and the access itself.
//!
//! The regions come from the plan. A hint per vCPU remembers the last: most accesses go where the one before went.

use crate::devices;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use machine::DeviceKind;
use ports::{MmioDevice, Width};
use specs::Ipa;

/// A device's registers.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Bytes; 0 for a hint that fits nothing.
    pub bytes: u64,
    /// Whose they are.
    pub device: DeviceKind,
}

impl Region {
    /// Fits nothing.
    pub const NONE: Self = Self { start: 0, bytes: 0, device: DeviceKind::Gicd };
}

/// One access to a device.
#[derive(Clone, Copy, Debug)]
pub struct Access {
    /// From the start of its region.
    pub offset: u64,
    /// How wide.
    pub width: Width,
}

/// The region of an address.
#[inline(always)]
pub fn find(vcpu: &mut Loaded, at: Ipa) -> Option<Region> {
    let hint = vcpu.hint;
    if at.0.wrapping_sub(hint.start) < hint.bytes {
        return Some(hint);
    }
    search(vcpu, at)
}

#[inline(never)]
fn search(vcpu: &mut Loaded, at: Ipa) -> Option<Region> {
    let found =
        vcpu.vm.regions.iter().copied().find(|region| at.0.wrapping_sub(region.start) < region.bytes)?;
    vcpu.hint = found;
    Some(found)
}

/// A guest's load.
#[inline(always)]
pub fn read(vcpu: &mut Loaded, device: DeviceKind, access: Access) -> u64 {
    let Access { offset, width } = access;
    match device {
        DeviceKind::Gicd | DeviceKind::Gicr if vgic::needs_fold(offset) => {
            read_folded(vcpu, device, offset, width)
        }
        DeviceKind::Gicd => vcpu.signals.vgic.gicd_read(vcpu.index, offset, width),
        DeviceKind::Gicr => vcpu.signals.vgic.gicr_read(vcpu.index, offset, width),
        DeviceKind::Uart if offset == specs::pl011::DR => read_typed(&vcpu.vm, width),
        DeviceKind::Uart => vcpu.vm.devices.uart.lock().read(offset, width),
        device => devices::read(&vcpu.vm, device, offset, width),
    }
}

/// A byte from the UART, which then has room for another.
#[inline(never)]
fn read_typed(vm: &Vm, width: Width) -> u64 {
    let mut uart = vm.devices.uart.lock();
    let value = uart.read(specs::pl011::DR, width);
    vm.streams[0].offer(None, |byte| uart.receive(byte));
    value
}

/// A load of pending or active state: what the list registers know is read back first.
#[inline(never)]
fn read_folded(vcpu: &mut Loaded, device: DeviceKind, offset: u64, width: Width) -> u64 {
    let vgic = &vcpu.signals.vgic;
    vcpu.signals.wake(crate::lists::fold(vgic, vcpu.index));
    match device {
        DeviceKind::Gicd => vgic.gicd_read(vcpu.index, offset, width),
        _ => vgic.gicr_read(vcpu.index, offset, width),
    }
}

/// A guest's store.
#[inline(always)]
pub fn write(pe: &mut Pe, vcpu: &mut Loaded, device: DeviceKind, access: Access, value: u64) {
    let Access { offset, width } = access;
    match device {
        DeviceKind::Gicd => {
            let set = vcpu.signals.vgic.gicd_write(vcpu.index, offset, width, value);
            vcpu.signals.wake(set);
        }
        DeviceKind::Gicr => {
            let set = vcpu.signals.vgic.gicr_write(vcpu.index, offset, width, value);
            vcpu.signals.wake(set);
        }
        DeviceKind::Uart => vcpu.vm.devices.uart.lock().write(offset, width, value),
        device => devices::write(pe, &vcpu.vm, device, offset, width, value),
    }
}
