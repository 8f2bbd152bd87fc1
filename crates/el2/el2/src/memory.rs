//! Guards: the machine's RAM: who owns each 2 MiB block.
//!
//! A block is EL2's heap's, or free, or prepared (zeroed and cleaned to the PoC), or a VM's. Free blocks form a list
//! through their own first words, so that taking one needs no heap. Power-on reserves a VM's blocks before it takes any;
//! idle PEs prepare blocks. Lock order: this lock is taken with the heap's held, never the other way round.

use crate::cache;
use drivers::board::PaRange;
use specs::Pa;
use spin::Mutex;

/// Bytes of a block: what a level-2 entry of stage 2 maps.
pub const BLOCK_BYTES: u64 = 2 << 20;
/// Prepared blocks that idle PEs keep: 16 MiB.
const PREPARED: usize = 8;
/// Zeroed at a time: some 3,300 instructions, for which an interrupt of an idle PE waits.
const STEP_BYTES: u64 = 64 << 10;
/// Ranges that may be RAM: board memory minus what is reserved.
const MAX_RANGES: usize = 80;
/// Blocks that the heap may take: 256 MiB.
const MAX_HEAP_BLOCKS: usize = 128;

struct Inventory {
    free_head: u64,
    free: usize,
    prepared: [u64; PREPARED],
    prepared_count: usize,
    reserved: usize,
    guest: [(u64, u64); MAX_RANGES],
    guest_count: usize,
    heap: [u64; MAX_HEAP_BLOCKS],
    heap_count: usize,
    /// A block that is being prepared, and how much of it is; it counts as free.
    preparing: Option<(u64, u64)>,
    /// A PE is zeroing a part of a block that it took out of `preparing`; it puts it back soon.
    busy: bool,
}

static INVENTORY: Mutex<Inventory> = Mutex::new(Inventory {
    free_head: 0,
    free: 0,
    prepared: [0; PREPARED],
    prepared_count: 0,
    reserved: 0,
    guest: [(0, 0); MAX_RANGES],
    guest_count: 0,
    heap: [0; MAX_HEAP_BLOCKS],
    heap_count: 0,
    preparing: None,
    busy: false,
});

impl Inventory {
    fn push_free(&mut self, block: u64) {
        // SAFETY: a free block is mapped RAM that nothing else refers to; its first word is the list's.
        unsafe { (block as *mut u64).write_volatile(self.free_head) };
        self.free_head = block;
        self.free += 1;
    }

    fn pop_free(&mut self) -> Option<u64> {
        let block = self.free_head;
        if block == 0 {
            return None;
        }
        // SAFETY: as in `push_free`, which wrote the word.
        self.free_head = unsafe { (block as *const u64).read_volatile() };
        self.free -= 1;
        Some(block)
    }

    /// A block from the list, or else the one in preparation with what is done of it. A reservation covers the call.
    fn take_unprepared(&mut self) -> (u64, u64) {
        if let Some(block) = self.pop_free() {
            return (block, 0);
        }
        let state = self.preparing.take().expect("a reservation without a block");
        self.free -= 1;
        state
    }

    fn unreserved(&self) -> usize {
        (self.free + self.prepared_count).saturating_sub(self.reserved)
    }
}

/// Gives a free range of RAM to the inventory: whole blocks to the list, larger leftovers to the heap.
///
/// # Safety
/// The range is mapped RAM that nothing uses.
pub(crate) unsafe fn give(range: PaRange) {
    let (start, end) = (range.start.0.max(4096), range.end().0);
    let first = start.next_multiple_of(BLOCK_BYTES);
    let last = end & !(BLOCK_BYTES - 1);
    let to_heap = |from: u64, to: u64| {
        if from < to && to - from >= 64 << 10 {
            // SAFETY: the caller's promise, for a part of the range that becomes no block.
            unsafe { crate::heap::give(from as *mut u8, (to - from) as usize) };
        }
    };
    if first >= last {
        return to_heap(start, end);
    }
    to_heap(start, first);
    to_heap(last, end);
    let mut inventory = INVENTORY.lock();
    let count = inventory.guest_count;
    if count == MAX_RANGES {
        // What is not listed no device could reach: it stays unused.
        return;
    }
    inventory.guest[count] = (first, last);
    inventory.guest_count = count + 1;
    // From the top, so that the lowest block is taken first.
    for index in (0..(last - first) / BLOCK_BYTES).rev() {
        inventory.push_free(first + index * BLOCK_BYTES);
    }
}

/// Takes a block for EL2's heap, for good.
pub(crate) fn take_for_heap() -> Option<u64> {
    let mut inventory = INVENTORY.lock();
    let count = inventory.heap_count;
    if inventory.unreserved() == 0 || count == MAX_HEAP_BLOCKS {
        return None;
    }
    let block = inventory.pop_free()?;
    inventory.heap[count] = block;
    inventory.heap_count = count + 1;
    Some(block)
}

/// How much RAM there is for guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Free {
    /// Bytes that a new VM may still reserve.
    pub bytes: u64,
}

/// RAM that could still be reserved.
pub fn free() -> Free {
    Free { bytes: INVENTORY.lock().unreserved() as u64 * BLOCK_BYTES }
}

/// A VM's right to `blocks` blocks that it has not taken yet.
#[derive(Debug)]
pub struct Reservation {
    blocks: usize,
}

impl Reservation {
    /// Reserves blocks for `bytes` bytes, or says what is free.
    pub fn new(bytes: u64) -> Result<Self, Free> {
        let blocks = bytes.div_ceil(BLOCK_BYTES) as usize;
        let mut inventory = INVENTORY.lock();
        let unreserved = inventory.unreserved();
        if blocks > unreserved {
            return Err(Free { bytes: unreserved as u64 * BLOCK_BYTES });
        }
        inventory.reserved += blocks;
        Ok(Self { blocks })
    }

    /// Reserves `blocks` blocks again that were just given back by the same VM.
    pub(crate) fn put_back(&mut self, blocks: usize) {
        INVENTORY.lock().reserved += blocks;
        self.blocks += blocks;
    }

    /// Takes a block, zeroed and cleaned to the PoC.
    pub fn take(&mut self) -> Option<Block> {
        self.blocks = self.blocks.checked_sub(1)?;
        let mut inventory = INVENTORY.lock();
        inventory.reserved -= 1;
        if let Some(last) = inventory.prepared_count.checked_sub(1) {
            inventory.prepared_count = last;
            cache::forget_code();
            return Some(Block(inventory.prepared[last]));
        }
        while inventory.free_head == 0 && inventory.preparing.is_none() {
            // The last free block is in another PE's hands for one step of its zeroing.
            drop(inventory);
            core::hint::spin_loop();
            inventory = INVENTORY.lock();
        }
        let (block, done) = inventory.take_unprepared();
        drop(inventory);
        // SAFETY: the block was just taken out of the inventory: nothing else refers to it.
        unsafe { cache::zero_to_poc((block + done) as usize, (BLOCK_BYTES - done) as usize) };
        cache::forget_code();
        Some(Block(block))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        INVENTORY.lock().reserved -= self.blocks;
    }
}

/// A block of a VM's RAM. Given back when dropped; no Rust reference ever points into it.
#[derive(Debug)]
pub struct Block(u64);

impl Block {
    /// Where it is.
    pub fn start(&self) -> Pa {
        Pa(self.0)
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        INVENTORY.lock().push_free(self.0);
    }
}

/// Zeroes and cleans a part of a block for the pool; whether there is more to do. For idle PEs.
///
/// Blocks that VMs gave back hold their data: it is zeroed here, or when a block is taken, before another VM sees it.
pub fn prepare_step() -> bool {
    let mut inventory = INVENTORY.lock();
    if inventory.busy || inventory.prepared_count == PREPARED {
        return false;
    }
    let Some((block, done)) = inventory.preparing.take().or_else(|| Some((inventory.pop_free()?, 0))) else {
        return false;
    };
    if done == 0 {
        inventory.free += 1;
    }
    inventory.busy = true;
    drop(inventory);
    // SAFETY: the block is out of the list, and `busy` keeps other PEs from it.
    unsafe { cache::zero_to_poc((block + done) as usize, STEP_BYTES as usize) };
    let mut inventory = INVENTORY.lock();
    inventory.busy = false;
    let done = done + STEP_BYTES;
    if done < BLOCK_BYTES {
        inventory.preparing = Some((block, done));
        return true;
    }
    inventory.free -= 1;
    let count = inventory.prepared_count;
    inventory.prepared[count] = block;
    inventory.prepared_count = count + 1;
    true
}

/// Whether `bytes` bytes at `start` lie in memory that spans may name: blocks for guests, never EL2's own memory.
pub(crate) fn is_guest_range(start: Pa, bytes: u64) -> bool {
    let Some(end) = start.0.checked_add(bytes) else { return false };
    let inventory = INVENTORY.lock();
    let heap = &inventory.heap[..inventory.heap_count];
    inventory.guest[..inventory.guest_count].iter().any(|(first, last)| start.0 >= *first && end <= *last)
        && !heap.iter().any(|block| start.0 < block + BLOCK_BYTES && end > *block)
}
