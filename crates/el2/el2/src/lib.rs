//! THE unsafe frame of the vmkernel: boot, vectors, registers, tables, caches, GIC and timer hardware, vCPU entry and exit.
//!
//! Every module with unsafe starts by naming the resource it guards. What is safe to call here can't harm EL2's memory,
//! whatever the caller passes. What needs no hardware is built and tested on a PC, too: `stage1`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod cache;
#[cfg(target_os = "none")]
pub mod checksum;
#[cfg(target_os = "none")]
pub mod context;
#[cfg(target_os = "none")]
mod copy;
#[cfg(target_os = "none")]
pub mod dma;
#[cfg(target_os = "none")]
pub mod features;
#[cfg(target_os = "none")]
pub mod gic;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod kernel;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(target_os = "none")]
mod mmio;
#[cfg(target_os = "none")]
pub mod mmu;
#[cfg(target_os = "none")]
pub mod page;
#[cfg(target_os = "none")]
pub mod pe;
#[cfg(any(test, target_os = "none"))]
mod pstate;
#[cfg(target_os = "none")]
pub mod ram;
#[cfg(target_os = "none")]
pub mod regs;
#[cfg(target_os = "none")]
pub mod screen;
#[cfg(any(test, target_os = "none"))]
mod stage1;
#[cfg(target_os = "none")]
pub mod tables;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod vcpu;
#[cfg(target_os = "none")]
pub mod vectors;
#[cfg(any(test, target_os = "none"))]
mod walks;

#[cfg(target_os = "none")]
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
                    $crate::vcpu::enter::<$kernel>(
                        frame,
                        syndrome,
                        |pe, vcpu| <$kernel>::synchronous(pe, vcpu, syndrome),
                        |pe, vcpu| {
                            <$kernel>::measured(pe, vcpu, |pe, vcpu| {
                                <$kernel>::synchronous(pe, vcpu, syndrome)
                            })
                        },
                    )
                }
            }

            #[unsafe(export_name = "bramble_interrupt")]
            extern "C" fn interrupt(frame: *mut Vcpu<$kernel>) -> *mut Vcpu<$kernel> {
                // SAFETY: called by the vectors only.
                unsafe {
                    $crate::vcpu::enter::<$kernel>(
                        frame,
                        $crate::pe::INTERRUPT,
                        |pe, vcpu| <$kernel>::interrupt(pe, vcpu),
                        |pe, vcpu| <$kernel>::measured(pe, vcpu, |pe, vcpu| <$kernel>::interrupt(pe, vcpu)),
                    )
                }
            }

            #[unsafe(export_name = "bramble_system_error")]
            extern "C" fn system_error(frame: *mut Vcpu<$kernel>) -> *mut Vcpu<$kernel> {
                let syndrome = $crate::regs::syndrome();
                // SAFETY: called by the vectors only.
                unsafe {
                    $crate::vcpu::enter::<$kernel>(
                        frame,
                        syndrome,
                        |pe, vcpu| <$kernel>::system_error(pe, vcpu, syndrome),
                        |pe, vcpu| <$kernel>::system_error(pe, vcpu, syndrome),
                    )
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
