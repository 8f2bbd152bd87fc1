//! Which device an address belongs to, and the access itself.
//!
//! The regions come from the plan. A hint per vCPU remembers the last: most accesses go where the one before went.

use crate::devices;
use crate::vm::Vm;
use crate::{Loaded, Pe};
use machine::DeviceKind;
use ports::{MmioDevice, Width};
use specs::Ipa;
use vgic::VcpuSet;

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

/// Puts the region of an address into the hint; false where there is none.
#[inline(never)]
pub fn find(vcpu: &mut Loaded, at: Ipa) -> bool {
    let mut regions = vcpu.vm.regions.iter();
    let found = regions.find(|region| at.0.wrapping_sub(region.start) < region.bytes).copied();
    if let Some(region) = found {
        vcpu.hint = region;
    }
    found.is_some()
}

/// A load, in the region of the hint, of one of the registers that drivers read all the time.
#[inline(always)]
pub fn read_polled(vcpu: &Loaded, offset: u64, width: Width) -> Option<u64> {
    match vcpu.hint.device {
        DeviceKind::Gicd => vcpu.signals.vgic.gicd_read_constant(offset, width),
        DeviceKind::Gicr => vcpu.signals.vgic.gicr_read_constant(offset, width),
        DeviceKind::Uart if offset == specs::pl011::FR => {
            Some(vcpu.vm.devices.uart.lock().read(specs::pl011::FR, width))
        }
        _ => None,
    }
}

/// A guest's load in the region of the hint.
#[inline(always)]
pub fn read(vcpu: &mut Loaded, access: Access) -> u64 {
    let Access { offset, width } = access;
    match vcpu.hint.device {
        device @ (DeviceKind::Gicd | DeviceKind::Gicr) if vgic::needs_fold(offset) => {
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

/// A store, in the region of the hint, that is frequent and soon done; the vCPUs that it concerns.
#[inline(always)]
pub fn write_short(vcpu: &Loaded, access: Access, value: u64) -> Option<VcpuSet> {
    if vcpu.hint.device != DeviceKind::Gicd {
        return None;
    }
    vcpu.signals.vgic.gicd_write_short(vcpu.index, access.offset, access.width, value)
}

/// A guest's store in the region of the hint.
#[inline(always)]
pub fn write(pe: &mut Pe, vcpu: &mut Loaded, access: Access, value: u64) {
    let Access { offset, width } = access;
    match vcpu.hint.device {
        DeviceKind::Gicd => {
            let set = vcpu.signals.vgic.gicd_write(vcpu.index, offset, width, value);
            vcpu.signals.wake(set);
        }
        DeviceKind::Gicr => {
            let set = vcpu.signals.vgic.gicr_write(vcpu.index, offset, width, value);
            vcpu.signals.wake(set);
        }
        device => devices::write(pe, &vcpu.vm, device, offset, width, value),
    }
}
