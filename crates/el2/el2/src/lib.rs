//! THE unsafe frame of the vmkernel: boot, vectors, registers, tables, caches, GIC and timer hardware, vCPU entry and exit.
//!
//! Every module with unsafe starts by naming the resource it guards. What is safe to call here can't harm EL2's memory,
//! whatever the caller passes.
#![no_std]

extern crate alloc;

pub mod boot;
pub mod cache;
pub mod context;
mod copy;
pub mod dma;
pub mod features;
pub mod gic;
pub mod heap;
pub mod kernel;
pub mod memory;
mod mmio;
mod mmu;
pub mod pe;
pub mod ram;
pub mod regs;
pub mod screen;
pub mod tables;
pub mod timer;
pub mod vcpu;
pub mod vectors;

pub use mmio::DeviceRegisters;

/// Makes an image of a kernel: the symbols that boot code and vectors call. A second argument is the flat file of the
/// world that goes with it.
#[macro_export]
macro_rules! image {
    ($kernel:ty) => {
        $crate::image!($kernel, &[]);
    };
    ($kernel:ty, $world:expr) => {
        const _: () = {
            use $crate::kernel::Kernel;
            use $crate::vcpu::{Loaded, Vcpu};

            #[unsafe(export_name = "bramble_boot")]
            extern "C" fn boot(device_tree: *const u8) -> ! {
                // SAFETY: called by the boot code only, with x0 of the boot loader.
                unsafe { $crate::boot::boot::<$kernel>(device_tree, $world) }
            }

            #[unsafe(export_name = "bramble_synchronous")]
            extern "C" fn synchronous(frame: *mut Vcpu<$kernel>) -> *mut Vcpu<$kernel> {
                let syndrome = $crate::regs::syndrome();
                // SAFETY: called by the vectors only.
                unsafe {
                    $crate::vcpu::enter::<$kernel>(frame, syndrome, |pe, vcpu| {
                        <$kernel>::synchronous(pe, vcpu, syndrome)
                    })
                }
            }

            #[unsafe(export_name = "bramble_interrupt")]
            extern "C" fn interrupt(frame: *mut Vcpu<$kernel>) -> *mut Vcpu<$kernel> {
                // SAFETY: called by the vectors only.
                unsafe { $crate::vcpu::enter::<$kernel>(frame, $crate::pe::INTERRUPT, <$kernel>::interrupt) }
            }

            #[unsafe(export_name = "bramble_system_error")]
            extern "C" fn system_error(frame: *mut Vcpu<$kernel>) -> *mut Vcpu<$kernel> {
                let syndrome = $crate::regs::syndrome();
                // SAFETY: called by the vectors only.
                unsafe {
                    $crate::vcpu::enter::<$kernel>(frame, syndrome, |pe, vcpu| {
                        <$kernel>::system_error(pe, vcpu, syndrome)
                    })
                }
            }

            #[unsafe(export_name = "bramble_el2_exception")]
            extern "C" fn el2_exception(frame: &$crate::vectors::FatalFrame) -> ! {
                let [elr, address] = $crate::regs::fault();
                <$kernel>::fatal(frame, $crate::regs::syndrome(), address, elr)
            }
        };
    };
}
