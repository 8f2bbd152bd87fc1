//! The image's header and entry (`head.s`), and the path from there to the program.
//!
//! Called by: the loader (arm64 boot protocol: x0 = device tree, MMU off), PSCI CPU_ON. Calls: the program's `main`.
//! The resource: the PE's state before Rust code may run. Invariant: `el1_start` runs once, on the first vCPU, before
//! any other vCPU is started.

use crate::{boot, console, gic, heap, mmu};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(include_str!("head.s"));

/// Names the program's two functions: `main`, which is given what the device tree says, and `interrupt`, which is
/// called with interrupts masked for each IRQ and talks to the GIC itself. A program may say how many bytes its heap has.
///
/// ```ignore
/// el1::program!(main, interrupt, heap: 8 << 20);
/// fn main(boot: &'static el1::Boot) { … }
/// fn interrupt() { … }
/// ```
#[macro_export]
macro_rules! program {
    ($main:path, $interrupt:path) => {
        $crate::program!($main, $interrupt, heap: 4 << 20);
    };
    ($main:path, $interrupt:path, heap: $heap:expr) => {
        #[unsafe(export_name = "el1_heap_bytes")]
        static __EL1_HEAP_BYTES: usize = $heap;

        #[unsafe(export_name = "el1_main")]
        extern "Rust" fn __el1_main(boot: &'static $crate::Boot) {
            $main(boot)
        }

        #[unsafe(export_name = "el1_interrupt")]
        extern "C" fn __el1_interrupt() {
            $interrupt()
        }
    };
}

unsafe extern "Rust" {
    // SAFETY: defined by `program!` with this signature; two definitions do not link.
    safe fn el1_main(boot: &'static boot::Boot);
}

/// x2 to x30 at the first instruction, then the physical count. Not in BSS: that is zeroed after they are stored.
#[unsafe(export_name = "entry_registers")]
// SAFETY: an ordinary section of writable data.
#[unsafe(link_section = ".data.entry")]
static ENTRY_REGISTERS: [AtomicU64; 30] = [const { AtomicU64::new(0) }; 30];

/// x2 to x30 as they were at the first instruction.
pub fn entry_registers() -> [u64; 29] {
    core::array::from_fn(|n| ENTRY_REGISTERS[n].load(Ordering::Relaxed))
}

/// CNTPCT_EL0 at the first instructions: with a counter that starts with the machine, how long that took to get here.
pub fn entry_count() -> u64 {
    ENTRY_REGISTERS[29].load(Ordering::Relaxed)
}

/// From `head.s`, on the first vCPU: MMU off, BSS zeroed, relocated, interrupts masked.
#[unsafe(no_mangle)]
extern "C" fn el1_start(device_tree: usize) {
    // SAFETY: the arm64 boot protocol puts the device tree's address in x0, and nothing writes to that memory: the
    // tree is left out of `Boot::spare` and of the heap.
    let boot = match unsafe { boot::read(device_tree) } {
        Ok(boot) => boot,
        Err(_) => return,
    };
    console::start(&boot);
    mmu::start(&boot);
    gic::remember(&boot);
    let boot = boot::publish(boot);
    heap::start(boot.heap.clone());
    el1_main(boot);
    crate::smccc::system_off();
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    // A world's supervisor keeps its last words; anyone else's go to the console.
    crate::world::last_words(info);
    console::break_lock();
    crate::println!("PANIC {info}");
    crate::smccc::system_off();
}
