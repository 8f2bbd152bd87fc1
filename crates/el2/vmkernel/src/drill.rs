//! Defects on purpose, by boot arguments: what the panic screen looks like, and that it comes.
//!
//! | argument | what |
//! |---|---|
//! | `bramble.panic` | a panic when the VMs were started |
//! | `bramble.panic=end` | a panic when the last VM is off: guests ran before |
//! | `bramble.panic=overflow` | then, the stack runs over |
//! | `bramble.panic=twice` | then, a panic while the screen shows the first |

use crate::host::Host;
use crate::start::has_argument;
use core::fmt;
use core::hint::black_box;

/// The VMs were started. Never inlined: the panic screen's test looks for this name, whatever the compiler joins elsewhere.
#[inline(never)]
pub fn at_start(host: &Host) {
    assert!(!has_argument(host, "bramble.panic"), "asked for by the boot argument bramble.panic");
}

/// The last VM is off. Never inlined, as above.
#[inline(never)]
pub fn at_end(host: &Host) {
    assert!(!has_argument(host, "bramble.panic=end"), "asked for by the boot argument bramble.panic=end");
    if has_argument(host, "bramble.panic=overflow") {
        sink(0);
    }
    assert!(!has_argument(host, "bramble.panic=twice"), "{}", Again);
}

/// Goes down until there is no more stack.
#[inline(never)]
fn sink(depth: u64) -> u64 {
    let mut frame = [depth; 32];
    black_box(&mut frame);
    let below = if black_box(true) { sink(depth.wrapping_add(1)) } else { 0 };
    frame.iter().fold(below, |sum, word| sum.wrapping_add(*word))
}

/// Can't be shown.
struct Again;

impl fmt::Display for Again {
    #[expect(clippy::panic, reason = "a defect on purpose")]
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        panic!("asked for by the boot argument bramble.panic=twice")
    }
}
