//! What hangs on what, where a board's device tree says it by phandles: the ACT LED's GPIO line, the Ethernet
//! controller's address and PHY.
//!
//! Called by [`super::Board::read`], once. What is missing or makes no sense is `None`; its user says what that means.
//! Source: Devicetree Specification 0.4, 2.3.3 "phandle"; Linux's bindings `leds/leds-gpio.yaml`,
//! `net/ethernet-controller.yaml`.

use super::{MAX_DEPTH, cells, strings, text};
use dtoolkit::Node;
use dtoolkit::Property;
use dtoolkit::fdt::FdtNode;

/// A LED on a line of the SoC's own GPIO controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LedNode {
    /// The line.
    pub line: u32,
    /// A low level lights it.
    pub active_low: bool,
}

/// What the tree says about the Ethernet controller beside its registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EthernetNode {
    /// `local-mac-address`, unless it is zero or a group's.
    pub mac: Option<[u8; 6]>,
    /// The PHY's address on MDIO, by `phy-handle`.
    pub phy_address: Option<u8>,
}

/// All of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wiring {
    /// The LED that shows activity.
    pub act_led: Option<LedNode>,
    /// The Ethernet controller's.
    pub ethernet: EthernetNode,
}

impl Wiring {
    pub(super) fn read(root: FdtNode<'_>) -> Self {
        let mut wiring = Self::default();
        visit(root, 0, &mut |node| {
            if is_a(node, "gpio-leds") {
                wiring.act_led = wiring.act_led.or_else(|| act_led(root, node));
            }
            if is_a(node, "brcm,bcm2711-genet-v5") {
                wiring.ethernet = ethernet(root, node);
            }
        });
        wiring
    }
}

fn visit<'a>(node: FdtNode<'a>, depth: usize, see: &mut dyn FnMut(FdtNode<'a>)) {
    see(node);
    if depth < MAX_DEPTH {
        node.children().for_each(|child| visit(child, depth.saturating_add(1), see));
    }
}

fn is_a(node: FdtNode<'_>, compatible: &str) -> bool {
    strings(node, "compatible").any(|name| name == compatible)
}

/// The node that a phandle in cell 0 of `property` names.
fn named_by<'a>(root: FdtNode<'a>, node: FdtNode<'a>, property: &str) -> Option<FdtNode<'a>> {
    let wanted = cells(node, property, 0, 1)?;
    let mut found = None;
    visit(root, 0, &mut |node| {
        if cells(node, "phandle", 0, 1) == Some(wanted) {
            found = Some(node);
        }
    });
    found
}

/// The first LED that is called ACT and hangs on the SoC's GPIO controller: `gpios = <&gpio LINE FLAGS>`.
fn act_led<'a>(root: FdtNode<'a>, leds: FdtNode<'a>) -> Option<LedNode> {
    let is_act =
        |led: &FdtNode<'_>| led.name().ends_with("act") || text(*led, "label").is_some_and(|l| l == "ACT");
    let led = leds.children().find(is_act)?;
    named_by(root, led, "gpios").filter(|gpio| is_a(*gpio, "brcm,bcm2711-gpio"))?;
    let line = u32::try_from(cells(led, "gpios", 1, 1)?).ok().filter(|line| *line < 58)?;
    let active_low = cells(led, "gpios", 2, 1).is_some_and(|flags| flags & 1 != 0);
    Some(LedNode { line, active_low })
}

fn ethernet<'a>(root: FdtNode<'a>, node: FdtNode<'a>) -> EthernetNode {
    let mac = node.property("local-mac-address").and_then(|mac| <[u8; 6]>::try_from(mac.value()).ok());
    let phy = named_by(root, node, "phy-handle").and_then(|phy| cells(phy, "reg", 0, 1));
    EthernetNode {
        mac: mac.filter(|mac| mac.first().is_some_and(|first| first & 1 == 0) && *mac != [0; 6]),
        phy_address: phy.and_then(|address| u8::try_from(address).ok()).filter(|address| *address < 32),
    }
}
