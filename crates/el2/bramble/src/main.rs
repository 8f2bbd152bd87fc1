//! The image that users get: the vmkernel on its frame, hostd inside, and the panic screen.
#![no_std]
#![no_main]

el2::image!(vmkernel::VmKernel, include_bytes!(env!("HOSTD")));

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    vmkernel::panic_screen::show(info)
}
