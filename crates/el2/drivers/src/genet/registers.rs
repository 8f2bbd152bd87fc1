//! Registers of GENET v5, by name. No behaviour.
//!
//! Source: Linux `drivers/net/ethernet/broadcom/genet/bcmgenet.h` and `bcmgenet.c` (hardware parameters of v5, ring
//! registers of v4 and later); U-Boot `drivers/net/bcmgenet.c`. docs/pi/registers.md names the use of each.

/// System: revision; major number 6 in bits 27:24 is v5.
pub const SYS_REV_CTRL: usize = 0x0000;
/// System: how the PHY is attached.
pub const SYS_PORT_CTRL: usize = 0x0004;
/// An external gigabit PHY.
pub const PORT_EXTERNAL_GPHY: u32 = 3;
/// System: flush of the receive buffer; bit 1 resets the MAC.
pub const SYS_RBUF_FLUSH_CTRL: usize = 0x0008;

/// RGMII: out-of-band control.
pub const EXT_RGMII_OOB_CTRL: usize = 0x008c;
/// RGMII: the link is up.
pub const RGMII_LINK: u32 = 1 << 4;
/// RGMII: no in-band status.
pub const OOB_DISABLE: u32 = 1 << 5;
/// RGMII: the block is on.
pub const RGMII_MODE_EN: u32 = 1 << 6;
/// RGMII: the MAC does not delay.
pub const ID_MODE_DIS: u32 = 1 << 16;

/// Interrupts, first instance: status.
pub const INTRL2_STATUS: usize = 0x0200;
/// Interrupts: clear.
pub const INTRL2_CLEAR: usize = 0x0208;
/// Interrupts: mask.
pub const INTRL2_MASK_SET: usize = 0x0210;
/// Interrupts: unmask.
pub const INTRL2_MASK_CLEAR: usize = 0x0214;
/// Interrupts, second instance (rings 0 to 15): mask.
pub const INTRL2_1_MASK_SET: usize = 0x0250;
/// Ring 16 received as many frames as its threshold, or its time-out passed.
pub const IRQ_RXDMA_MBDONE: u32 = 1 << 13;

/// Receive buffer: control.
pub const RBUF_CTRL: usize = 0x0300;
/// A status block of 64 bytes before each frame.
pub const RBUF_64B_EN: u32 = 1;
/// Two bytes before each frame, so that its IP header is aligned.
pub const RBUF_ALIGN_2B: u32 = 1 << 1;
/// Receive buffer: checksums.
pub const RBUF_CHK_CTRL: usize = 0x0314;
/// Check them.
pub const RBUF_RXCHK_EN: u32 = 1;
/// Receive buffer: energy.
pub const RBUF_ENERGY_CTRL: usize = 0x039c;
/// Receive and transmit buffer: EEE and power management.
pub const ENERGY_SAVING: u32 = 3;
/// Receive and transmit buffer sizes.
pub const RBUF_TBUF_SIZE_CTRL: usize = 0x03b4;
/// Transmit buffer: control; bit 0 is a status block of 64 bytes.
pub const TBUF_CTRL: usize = 0x0600;
/// Transmit buffer: energy.
pub const TBUF_ENERGY_CTRL: usize = 0x0614;

/// MAC: command.
pub const UMAC_CMD: usize = 0x0808;
/// MAC: transmit.
pub const CMD_TX_EN: u32 = 1;
/// MAC: receive.
pub const CMD_RX_EN: u32 = 1 << 1;
/// MAC: where the speed is.
pub const CMD_SPEED_SHIFT: u32 = 2;
/// MAC: take every frame: an uplink of a switch.
pub const CMD_PROMISC: u32 = 1 << 4;
/// MAC: do not obey PAUSE.
pub const CMD_RX_PAUSE_IGNORE: u32 = 1 << 8;
/// MAC: half duplex.
pub const CMD_HD_EN: u32 = 1 << 10;
/// MAC: reset.
pub const CMD_SW_RESET: u32 = 1 << 13;
/// MAC: local loop, during reset.
pub const CMD_LCL_LOOP_EN: u32 = 1 << 15;
/// MAC: do not send PAUSE.
pub const CMD_TX_PAUSE_IGNORE: u32 = 1 << 28;
/// MAC address, first four bytes, the first in bits 31:24.
pub const UMAC_MAC0: usize = 0x080c;
/// MAC address, last two bytes.
pub const UMAC_MAC1: usize = 0x0810;
/// Longest frame.
pub const UMAC_MAX_FRAME_LEN: usize = 0x0814;
/// EEE.
pub const UMAC_EEE_CTRL: usize = 0x0864;
/// Flush of what is to be sent.
pub const UMAC_TX_FLUSH: usize = 0x0b34;
/// Counters: good frames received.
pub const MIB_RX_GOOD: usize = 0x0c64;
/// Counters: frames with a wrong FCS.
pub const MIB_RX_FCS: usize = 0x0c38;
/// Counters: good frames sent.
pub const MIB_TX_GOOD: usize = 0x0cec;
/// Counters: reset; bits receive, runts, transmit.
pub const UMAC_MIB_CTRL: usize = 0x0d80;
/// MDIO.
pub const MDIO_CMD: usize = 0x0e14;
/// MDIO: go, and busy.
pub const MDIO_START_BUSY: u32 = 1 << 29;
/// MDIO: nobody answered.
pub const MDIO_READ_FAIL: u32 = 1 << 28;
/// MDIO: read.
pub const MDIO_READ: u32 = 2 << 26;
/// MDIO: write.
pub const MDIO_WRITE: u32 = 1 << 26;
/// MDIO: where the PHY's address is.
pub const MDIO_PHY_SHIFT: u32 = 21;
/// MDIO: where the register is.
pub const MDIO_REGISTER_SHIFT: u32 = 16;
/// Counters: frames lost for want of room in the receive buffer.
pub const UMAC_RBUF_OVFL_CNT: usize = 0x0e1c;
/// Filter by address.
pub const UMAC_MDF_CTRL: usize = 0x0e50;

/// Receive DMA: 256 descriptors of 12 bytes, then its registers.
pub const RDMA: usize = 0x2000;
/// Transmit DMA, likewise.
pub const TDMA: usize = 0x4000;
/// Bytes of a descriptor: length and status, address low, address high.
pub const DESCRIPTOR_BYTES: usize = 12;
/// Descriptors of each.
pub const DESCRIPTORS: u32 = 256;

/// From a DMA's base to the registers of ring 16, the default ring.
pub const RING_16: usize = 0x0c00 + 16 * 0x40;
/// Ring: the device's pointer, in words of descriptor memory.
pub const RING_DEVICE_POINTER: usize = 0x00;
/// Ring: index that the device moves (consumer of transmit, producer of receive).
pub const RING_DEVICE_INDEX: usize = 0x08;
/// Ring: index that we move.
pub const RING_OUR_INDEX: usize = 0x0c;
/// Ring: number of descriptors (31:16) and bytes of a buffer (15:0).
pub const RING_SIZE: usize = 0x10;
/// Ring: first word of descriptor memory.
pub const RING_START: usize = 0x14;
/// Ring: last word.
pub const RING_END: usize = 0x1c;
/// Ring: frames per interrupt.
pub const RING_DONE_THRESHOLD: usize = 0x24;
/// Ring: transmit rate, or receive flow control thresholds (XOFF 31:16, XON 15:0).
pub const RING_FLOW: usize = 0x28;
/// Ring: our pointer.
pub const RING_OUR_POINTER: usize = 0x2c;

/// From a DMA's base to its common registers.
pub const DMA: usize = 0x0c00 + 17 * 0x40;
/// DMA: which rings exist.
pub const DMA_RING_CFG: usize = 0x00;
/// DMA: control; bit 0 enables, bit n + 1 enables ring n.
pub const DMA_CTRL: usize = 0x04;
/// DMA: status; bit 0 is "disabled".
pub const DMA_STATUS: usize = 0x08;
/// DMA: burst size.
pub const DMA_SCB_BURST_SIZE: usize = 0x0c;
/// DMA, receive: ring 16's time-out in units of 8.192 µs.
pub const DMA_RING16_TIMEOUT: usize = 0x6c;
/// DMA: enable, with ring 16.
pub const DMA_ENABLE: u32 = 1 | 1 << 17;

/// Descriptor: where the length is.
pub const LENGTH_SHIFT: u32 = 16;
/// Descriptor: owned by the device.
pub const OWN: u32 = 0x8000;
/// Descriptor, received: the checksum is right.
pub const RX_CHECKED: u32 = 0x8000;
/// Descriptor: last of a frame.
pub const EOP: u32 = 0x4000;
/// Descriptor: first of a frame.
pub const SOP: u32 = 0x2000;
/// Descriptor, received: too long, misaligned, error, FCS, overflow.
pub const RX_ERRORS: u32 = 0x001f;
/// Descriptor, to send: add the FCS, and the queue tag that Linux and U-Boot give.
pub const TX_PLAIN: u32 = 0x0040 | 0x3f << 7;
/// Descriptor, to send: compute a checksum as the status block says.
pub const TX_CHECKSUM: u32 = 0x0010;

/// Status block: bytes.
pub const STATUS_BYTES: usize = 64;
/// Status block, to send: where the checksum information is.
pub const STATUS_TX_CHECKSUM: usize = 48;
/// Checksum information: valid.
pub const TX_CHECKSUM_VALID: u32 = 1 << 31;
/// Checksum information: UDP, where 0 becomes 0xffff.
pub const TX_CHECKSUM_UDP: u32 = 1 << 15;
