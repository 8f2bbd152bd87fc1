//! virtio: registers, rings and device layouts as numbers and plain structs; no behaviour.
//!
//! Source: Virtual I/O Device (VIRTIO) Version 1.2 (OASIS committee specification 01). All fields are little-endian.

/// Device status bits. Source: 2.1 "Device Status Field".
pub mod status {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u32 = 2;
    /// The driver drives it.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed.
    pub const FEATURES_OK: u32 = 8;
    /// The device met an error that only a reset heals.
    pub const DEVICE_NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;
}

/// Feature bits of every device, as masks. Source: 6 "Reserved Feature Bits".
pub mod feature {
    /// Descriptors with INDIRECT are allowed.
    pub const INDIRECT_DESC: u64 = 1 << 28;
    /// `used_event` and `avail_event` are used.
    pub const EVENT_IDX: u64 = 1 << 29;
    /// Not a legacy device.
    pub const VERSION_1: u64 = 1 << 32;
}

/// Register offsets of the memory-mapped transport. Source: 4.2.2 "MMIO Device Register Layout".
pub mod mmio {
    /// Reads "virt". R
    pub const MAGIC_VALUE: u64 = 0x000;
    /// Reads 2. R
    pub const VERSION: u64 = 0x004;
    /// What device it is; 0: none. R
    pub const DEVICE_ID: u64 = 0x008;
    /// Who made it. R
    pub const VENDOR_ID: u64 = 0x00c;
    /// 32 of the device's feature bits. R
    pub const DEVICE_FEATURES: u64 = 0x010;
    /// Which 32. W
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    /// 32 of the driver's feature bits. W
    pub const DRIVER_FEATURES: u64 = 0x020;
    /// Which 32. W
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    /// The queue that the Queue registers mean. W
    pub const QUEUE_SEL: u64 = 0x030;
    /// The largest size, 0 where the queue is absent. R
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    /// The size in use. W
    pub const QUEUE_NUM: u64 = 0x038;
    /// 1: live. RW
    pub const QUEUE_READY: u64 = 0x044;
    /// There are buffers in the queue whose index is written. W
    pub const QUEUE_NOTIFY: u64 = 0x050;
    /// Why the interrupt is raised. R
    pub const INTERRUPT_STATUS: u64 = 0x060;
    /// Clears bits of InterruptStatus. W
    pub const INTERRUPT_ACK: u64 = 0x064;
    /// Device status; writing 0 resets. RW
    pub const STATUS: u64 = 0x070;
    /// Descriptor table, low half. W
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    /// Descriptor table, high half. W
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    /// Available ring, low half. W
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    /// Available ring, high half. W
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    /// Used ring, low half. W
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    /// Used ring, high half. W
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    /// First of the four registers of a shared memory region, which read as all ones where there is none. R
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    /// Last of them. R
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    /// Changes when the configuration space does. R
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    /// Start of the configuration space.
    pub const CONFIG: u64 = 0x100;
    /// Bytes of one transport on the guest machine.
    pub const REGION_BYTES: u64 = 0x200;

    /// What [`MAGIC_VALUE`] reads.
    pub const MAGIC: u32 = 0x7472_6976;
    /// What [`VERSION`] reads.
    pub const VERSION_2: u32 = 2;
    /// InterruptStatus: a used ring moved.
    pub const INTERRUPT_USED: u32 = 1;
    /// InterruptStatus: the configuration or the device status changed.
    pub const INTERRUPT_CONFIG: u32 = 2;
}

/// Device ids. Source: 5 "Device Types".
pub mod device_id {
    /// Network card.
    pub const NET: u32 = 1;
    /// Block device.
    pub const BLOCK: u32 = 2;
    /// Console.
    pub const CONSOLE: u32 = 3;
    /// Entropy source.
    pub const ENTROPY: u32 = 4;
}

/// The parts of a split virtqueue. Source: 2.7 "Split Virtqueues".
///
/// | part | offset | bytes | content |
/// |---|---|---|---|
/// | descriptor table | 0 | 16 × size | [`Descriptor`](super::Descriptor) |
/// | available ring | 0 | 2 | flags |
/// | | 2 | 2 | index |
/// | | 4 | 2 × size | heads |
/// | | 4 + 2 × size | 2 | `used_event` |
/// | used ring | 0 | 2 | flags |
/// | | 2 | 2 | index |
/// | | 4 | 8 × size | id u32, length u32 |
/// | | 4 + 8 × size | 2 | `avail_event` |
pub mod queue {
    /// The largest size of a queue.
    pub const SIZE_MAX: u16 = 32768;
    /// Bytes of a descriptor.
    pub const DESCRIPTOR_BYTES: u64 = 16;
    /// Bytes of an element of the used ring.
    pub const USED_BYTES: u64 = 8;
    /// Offset of the flags in either ring.
    pub const RING_FLAGS: u64 = 0;
    /// Offset of the index in either ring.
    pub const RING_INDEX: u64 = 2;
    /// Offset of the first element in either ring.
    pub const RING_ELEMENTS: u64 = 4;
    /// Alignment of the descriptor table.
    pub const DESCRIPTOR_ALIGN: u64 = 16;
    /// Alignment of the available ring.
    pub const AVAILABLE_ALIGN: u64 = 2;
    /// Alignment of the used ring.
    pub const USED_ALIGN: u64 = 4;

    /// Descriptor flag: the chain goes on at `next`.
    pub const NEXT: u16 = 1;
    /// Descriptor flag: the device writes the buffer, else it reads.
    pub const WRITE: u16 = 2;
    /// Descriptor flag: the buffer is a table of descriptors.
    pub const INDIRECT: u16 = 4;
    /// Flag of the available ring: no interrupts, please (a hint; without EVENT_IDX only).
    pub const NO_INTERRUPT: u16 = 1;
    /// Flag of the used ring: no notifications, please (a hint; without EVENT_IDX only).
    pub const NO_NOTIFY: u16 = 1;
}

/// A descriptor. Source: 2.7.5 "The Virtqueue Descriptor Table".
///
/// | offset | bytes | field |
/// |---|---|---|
/// | 0 | 8 | addr |
/// | 8 | 4 | len |
/// | 12 | 2 | flags |
/// | 14 | 2 | next |
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Descriptor {
    /// Guest-physical address of the buffer.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u32,
    /// `queue::{NEXT, WRITE, INDIRECT}`.
    pub flags: u16,
    /// Index of the next one, with NEXT.
    pub next: u16,
}

impl Descriptor {
    /// From the bytes of the table.
    #[inline]
    pub const fn from_bytes(raw: [u8; 16]) -> Self {
        let word = u128::from_le_bytes(raw);
        Self { addr: low64(word), len: low32(word >> 64), flags: low16(word >> 96), next: low16(word >> 112) }
    }

    /// The bytes of the table.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 16] {
        let word = self.addr as u128
            | (self.len as u128) << 64
            | (self.flags as u128) << 96
            | (self.next as u128) << 112;
        word.to_le_bytes()
    }
}

const _: () = assert!(core::mem::size_of::<Descriptor>() == 16);

/// Block device. Source: 5.2 "Block Device".
pub mod blk {
    /// Maximum size of a segment is in `size_max`.
    pub const F_SIZE_MAX: u64 = 1 << 1;
    /// Maximum number of segments in a request is in `seg_max`.
    pub const F_SEG_MAX: u64 = 1 << 2;
    /// The device is read-only.
    pub const F_RO: u64 = 1 << 5;
    /// `blk_size` is valid.
    pub const F_BLK_SIZE: u64 = 1 << 6;
    /// FLUSH is offered.
    pub const F_FLUSH: u64 = 1 << 9;
    /// `topology` is valid.
    pub const F_TOPOLOGY: u64 = 1 << 10;
    /// DISCARD is offered.
    pub const F_DISCARD: u64 = 1 << 13;
    /// WRITE_ZEROES is offered.
    pub const F_WRITE_ZEROES: u64 = 1 << 14;

    /// Read.
    pub const T_IN: u32 = 0;
    /// Write.
    pub const T_OUT: u32 = 1;
    /// Flush.
    pub const T_FLUSH: u32 = 4;
    /// Get the device's id string, 20 bytes.
    pub const T_GET_ID: u32 = 8;
    /// Discard.
    pub const T_DISCARD: u32 = 11;
    /// Write zeroes.
    pub const T_WRITE_ZEROES: u32 = 13;
    /// Bytes of the id string.
    pub const ID_BYTES: usize = 20;

    /// Done.
    pub const S_OK: u8 = 0;
    /// Failed.
    pub const S_IOERR: u8 = 1;
    /// Not offered.
    pub const S_UNSUPP: u8 = 2;

    /// Bytes of a request's header: type u32, reserved u32, sector u64.
    pub const HEADER_BYTES: usize = 16;
    /// Bytes of a discard or write-zeroes segment: sector u64, num_sectors u32, flags u32.
    pub const RANGE_BYTES: usize = 16;
    /// Flag of a write-zeroes segment: the range may be unmapped.
    pub const RANGE_UNMAP: u32 = 1;

    /// Offsets in the configuration space.
    pub mod config {
        /// u64, sectors.
        pub const CAPACITY: usize = 0;
        /// u32.
        pub const SIZE_MAX: usize = 8;
        /// u32.
        pub const SEG_MAX: usize = 12;
        /// u32.
        pub const BLK_SIZE: usize = 20;
        /// u8: physical block = 2^n logical blocks.
        pub const PHYSICAL_BLOCK_EXP: usize = 24;
        /// u16, in logical blocks.
        pub const MIN_IO_SIZE: usize = 26;
        /// u32, in logical blocks.
        pub const OPT_IO_SIZE: usize = 28;
        /// u32.
        pub const MAX_DISCARD_SECTORS: usize = 36;
        /// u32.
        pub const MAX_DISCARD_SEG: usize = 40;
        /// u32, in sectors.
        pub const DISCARD_SECTOR_ALIGNMENT: usize = 44;
        /// u32.
        pub const MAX_WRITE_ZEROES_SECTORS: usize = 48;
        /// u32.
        pub const MAX_WRITE_ZEROES_SEG: usize = 52;
        /// u8.
        pub const WRITE_ZEROES_MAY_UNMAP: usize = 56;
        /// Bytes of the space.
        pub const BYTES: usize = 60;
    }
}

/// Network device. Source: 5.1 "Network Device".
pub mod net {
    /// The device completes checksums of packets that it is given.
    pub const F_CSUM: u64 = 1 << 0;
    /// The driver takes packets with partial checksums.
    pub const F_GUEST_CSUM: u64 = 1 << 1;
    /// `mtu` is valid.
    pub const F_MTU: u64 = 1 << 3;
    /// `mac` is valid.
    pub const F_MAC: u64 = 1 << 5;
    /// The driver takes TSOv4.
    pub const F_GUEST_TSO4: u64 = 1 << 7;
    /// The driver takes TSOv6.
    pub const F_GUEST_TSO6: u64 = 1 << 8;
    /// The device takes TSOv4.
    pub const F_HOST_TSO4: u64 = 1 << 11;
    /// The device takes TSOv6.
    pub const F_HOST_TSO6: u64 = 1 << 12;
    /// The driver merges receive buffers.
    pub const F_MRG_RXBUF: u64 = 1 << 15;
    /// `status` is valid.
    pub const F_STATUS: u64 = 1 << 16;

    /// Queue index of receiveq1.
    pub const RECEIVE: u16 = 0;
    /// Queue index of transmitq1.
    pub const TRANSMIT: u16 = 1;

    /// Bytes of virtio_net_hdr with VERSION_1.
    ///
    /// | offset | bytes | field |
    /// |---|---|---|
    /// | 0 | 1 | flags |
    /// | 1 | 1 | gso_type |
    /// | 2 | 2 | hdr_len |
    /// | 4 | 2 | gso_size |
    /// | 6 | 2 | csum_start |
    /// | 8 | 2 | csum_offset |
    /// | 10 | 2 | num_buffers |
    pub const HEADER_BYTES: usize = 12;
    /// Offset of `num_buffers` in the header.
    pub const NUM_BUFFERS: usize = 10;
    /// Flag: `csum_start` and `csum_offset` are valid, the checksum is to be completed.
    pub const HDR_F_NEEDS_CSUM: u8 = 1;
    /// Flag: the checksum was found good.
    pub const HDR_F_DATA_VALID: u8 = 2;
    /// gso_type: one frame.
    pub const GSO_NONE: u8 = 0;
    /// gso_type: TCP over IPv4.
    pub const GSO_TCPV4: u8 = 1;
    /// gso_type: TCP over IPv6.
    pub const GSO_TCPV6: u8 = 4;
    /// `status`: the link is up.
    pub const S_LINK_UP: u16 = 1;

    /// Offsets in the configuration space.
    pub mod config {
        /// 6 bytes.
        pub const MAC: usize = 0;
        /// u16.
        pub const STATUS: usize = 6;
        /// u16.
        pub const MTU: usize = 10;
        /// Bytes of the space.
        pub const BYTES: usize = 12;
    }
}

/// Console device. Source: 5.3 "Console Device".
pub mod console {
    /// Queue index of receiveq(port 0).
    pub const RECEIVE: u16 = 0;
    /// Queue index of transmitq(port 0).
    pub const TRANSMIT: u16 = 1;
}

/// Entropy device. Source: 5.4 "Entropy Device".
pub mod entropy {
    /// Queue index of requestq.
    pub const REQUEST: u16 = 0;
}

#[allow(clippy::cast_possible_truncation, reason = "a field is cut out of the descriptor's word")]
const fn low64(word: u128) -> u64 {
    word as u64
}

#[allow(clippy::cast_possible_truncation, reason = "a field is cut out of the descriptor's word")]
const fn low32(word: u128) -> u32 {
    word as u32
}

#[allow(clippy::cast_possible_truncation, reason = "a field is cut out of the descriptor's word")]
const fn low16(word: u128) -> u16 {
    word as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_lies_as_the_table_says() {
        let descriptor =
            Descriptor { addr: 0x0807_0605_0403_0201, len: 0x0c0b_0a09, flags: 0x0e0d, next: 0x100f };
        let raw = descriptor.to_bytes();
        assert_eq!(raw, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        assert_eq!(Descriptor::from_bytes(raw), descriptor);
    }
}
